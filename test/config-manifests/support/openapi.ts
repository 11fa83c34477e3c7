// Holds an object against Kubernetes' OpenAPI as the models of @kubernetes/client-node carry it: a field the kind does not have, and a
// value of another type than its field's, is a complaint. What is required is asked of the sandbox's schemas, since the models do not say.

import * as models from '@kubernetes/client-node';

import { findKind } from '../../../src/sandbox/apiserver/resources/catalog.ts';
import { fieldsOf, schemaOfKind, type Schema } from '../../../src/sandbox/apiserver/schemas/definitions.ts';
import { customKinds } from './custom-kinds.ts';
import type { Manifest } from './manifests.ts';

interface Attribute {
  readonly baseName: string;
  readonly type: string;
  readonly format: string;
}

interface Model {
  getAttributeTypeMap(): readonly Attribute[];
}

/** One sentence each; none: it is valid. */
export function complaintsAbout(manifest: Manifest): string[] {
  const { apiVersion, kind } = manifest;
  const name = `${apiVersion} ${kind}`;
  const custom = customKinds.get(name);
  if (custom !== undefined) return custom(manifest);
  const definition = findKind(apiVersion, kind);
  if (definition === undefined) return [`${name}: there is no such kind`];
  const { metadata } = manifest;
  const complaints = checkValue(manifest, `V1${kind}`, '', kind);
  if (typeof metadata.name !== 'string' || metadata.name === '') complaints.push(`${kind}: it has no name`);
  if (definition.isNamespaced !== (metadata.namespace !== undefined)) {
    complaints.push(
      `${kind} ${metadata.name}: ${definition.isNamespaced ? 'it needs' : 'it must not have'} a namespace`,
    );
  }
  complaints.push(...checkRequired(manifest, schemaOfKind(definition), kind));
  return complaints;
}

function checkValue(value: unknown, type: string, format: string, path: string): string[] {
  const refuse = (wanted: string): string[] => [`${path}: it is ${JSON.stringify(value)}, want ${wanted}`];
  const list = /^Array<(.+)>$/.exec(type);
  if (list !== null) {
    if (!Array.isArray(value)) return refuse('a list');
    return value.flatMap((item, index) => checkValue(item, list[1] ?? '', format, `${path}[${index}]`));
  }
  const map = /^\{ \[key: string\]: (.+); \}$/.exec(type);
  if (map !== null) {
    if (!isRecord(value)) return refuse('a map');
    return Object.entries(value).flatMap(([key, item]) => checkValue(item, map[1] ?? '', format, `${path}.${key}`));
  }
  switch (type) {
    case 'any':
      return [];
    case 'string':
      if (typeof value !== 'string') return refuse('a string');
      return format === 'byte' && !isBase64(value) ? refuse('base64') : [];
    case 'number':
      return Number.isInteger(value) || format === 'double' ? [] : refuse('a whole number');
    case 'boolean':
      return typeof value === 'boolean' ? [] : refuse('true or false');
    case 'IntOrString':
      return typeof value === 'string' || Number.isInteger(value) ? [] : refuse('a number or a string');
    case 'Date':
      return typeof value === 'string' && !Number.isNaN(Date.parse(value)) ? [] : refuse('a time');
    default:
      return checkObject(value, type, path);
  }
}

function checkObject(value: unknown, type: string, path: string): string[] {
  const model: unknown = Object.entries(models).find(([name]) => name === type)?.[1];
  if (!isModel(model)) return [`${path}: there is no model ${type}`];
  if (!isRecord(value)) return [`${path}: it is ${JSON.stringify(value)}, want ${type}`];
  const attributes = new Map(model.getAttributeTypeMap().map((attribute) => [attribute.baseName, attribute]));
  return Object.entries(value).flatMap(([key, item]) => {
    const attribute = attributes.get(key);
    if (attribute === undefined) return [`${path}.${key}: ${type} has no such field`];
    return checkValue(item, attribute.type, attribute.format, `${path}.${key}`);
  });
}

function checkRequired(value: unknown, schema: Schema, path: string): string[] {
  if (schema.type === 'list' && Array.isArray(value)) {
    return value.flatMap((item, index) => checkRequired(item, schema.items, `${path}[${index}]`));
  }
  if (schema.type === 'map' && isRecord(value)) {
    return Object.entries(value).flatMap(([key, item]) => checkRequired(item, schema.values, `${path}.${key}`));
  }
  const fields = fieldsOf(schema);
  if (fields === undefined || !isRecord(value)) return [];
  return [...fields].flatMap(([name, field]) => {
    if (value[name] !== undefined) return checkRequired(value[name], field.schema, `${path}.${name}`);
    return field.isRequired ? [`${path}.${name}: it is required`] : [];
  });
}

function isModel(value: unknown): value is Model {
  return typeof value === 'function' && 'getAttributeTypeMap' in value;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isBase64(text: string): boolean {
  return Buffer.from(text, 'base64').toString('base64') === text;
}
