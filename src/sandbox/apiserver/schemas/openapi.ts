// OpenAPI documents of the served kinds: version 3 for each group version, which kubectl explain, apply and --dry-run read, and version
// 2 as one document. Built from definitions.json and the catalog when first asked for.

import { unreachable } from '../../../base/unreachable.ts';
import {
  groupVersionText,
  type GroupVersion,
  type ResourceDefinition,
  resourceDefinitions,
} from '../resources/catalog.ts';
import type { Json } from '../objects/fields.ts';
import { definitionName, type Field, findDefinition, type ScalarName, type Schema } from './definitions.ts';
import { isAtomicType, retainsKeys } from './list-keys.ts';

const metaPackage = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const quantityName = 'io.k8s.apimachinery.pkg.api.resource.Quantity';
const intOrStringName = 'io.k8s.apimachinery.pkg.util.intstr.IntOrString';
const timeName = `${metaPackage}.Time`;
const microTimeName = `${metaPackage}.MicroTime`;

const specialSchemas: Readonly<Record<string, Json>> = {
  [timeName]: {
    description:
      'Time is a wrapper around time.Time which supports correct marshaling to YAML and JSON.  Wrappers are provided for many of the factory methods that the time package offers.',
    format: 'date-time',
    type: 'string',
  },
  [microTimeName]: {
    description: 'MicroTime is version of Time with microsecond level precision.',
    format: 'date-time',
    type: 'string',
  },
  [quantityName]: {
    description: 'Quantity is a fixed-point representation of a number.',
    oneOf: [{ type: 'string' }, { type: 'number' }],
  },
  [intOrStringName]: {
    description: 'IntOrString is a type that can hold an int32 or a string.',
    format: 'int-or-string',
    oneOf: [{ type: 'integer' }, { type: 'string' }],
  },
};

const scalarReferences: Partial<Readonly<Record<ScalarName, string>>> = {
  time: timeName,
  microtime: microTimeName,
  quantity: quantityName,
  intorstring: intOrStringName,
};

const scalarTypes: Partial<Readonly<Record<ScalarName, Json>>> = {
  string: { type: 'string' },
  boolean: { type: 'boolean' },
  int32: { type: 'integer', format: 'int32' },
  int64: { type: 'integer', format: 'int64' },
  number: { type: 'number', format: 'double' },
  bytes: { type: 'string', format: 'byte' },
};

/** Collects the schemas that a document refers to. */
class SchemaWriter {
  readonly schemas: Record<string, Json> = {};
  readonly #prefix: string;

  /** @param prefix of references: `#/components/schemas/` or `#/definitions/`. */
  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  reference(name: string): Json {
    this.#add(name);
    return { $ref: this.#prefix + name };
  }

  extend(name: string, extra: Json): void {
    this.#add(name);
    this.schemas[name] = { ...this.schemas[name], ...extra };
  }

  put(name: string, schema: Json): void {
    this.schemas[name] = schema;
  }

  #add(name: string): void {
    if (this.schemas[name] !== undefined) return;
    const special = specialSchemas[name];
    if (special !== undefined) {
      this.schemas[name] = special;
      return;
    }
    const definition = findDefinition(name);
    if (definition === undefined) return;
    const schema: Json = { description: definition.description, type: 'object' };
    this.schemas[name] = schema; // before its fields, which may refer back to it
    const required: string[] = [];
    const properties: Json = {};
    for (const [field, it] of definition.fields) {
      properties[field] = this.#property(definition.shortName, field, it);
      if (it.isRequired) required.push(field);
    }
    schema['properties'] = properties;
    if (required.length > 0) schema['required'] = required;
    if (isAtomicType(definition.shortName)) schema['x-kubernetes-map-type'] = 'atomic';
  }

  #property(owner: string, name: string, { schema, description, merge }: Field): Json {
    const property: Json = { description, ...this.#type(schema) };
    if (merge !== undefined) {
      if (merge.mergeKey !== '') property['x-kubernetes-patch-merge-key'] = merge.mergeKey;
      property['x-kubernetes-patch-strategy'] = merge.retainsKeys ? 'merge,retainKeys' : 'merge';
      if (merge.mapKeys === undefined) property['x-kubernetes-list-type'] = 'atomic';
      else if (merge.mapKeys.length === 0) property['x-kubernetes-list-type'] = 'set';
      else {
        property['x-kubernetes-list-type'] = 'map';
        property['x-kubernetes-list-map-keys'] = merge.mapKeys;
      }
    } else if (schema.type === 'list') property['x-kubernetes-list-type'] = 'atomic';
    if (retainsKeys(owner, name)) property['x-kubernetes-patch-strategy'] = 'retainKeys';
    return property;
  }

  #type(schema: Schema): Json {
    switch (schema.type) {
      case 'any':
        return { type: 'object' };
      case 'scalar': {
        const name = scalarReferences[schema.scalar];
        return name === undefined ? { ...scalarTypes[schema.scalar] } : { allOf: [this.reference(name)] };
      }
      case 'list':
        return { type: 'array', items: this.#type(schema.items) };
      case 'map':
        return { type: 'object', additionalProperties: this.#type(schema.values) };
      case 'object':
        return { allOf: [this.reference(schema.definition)], default: {} };
      default:
        return unreachable(schema);
    }
  }
}

function parameter(name: string, description: string, type = 'string'): Json {
  return { name, in: 'query', description, schema: { type, uniqueItems: true } };
}

const writeParameters: readonly Json[] = [
  parameter(
    'dryRun',
    'When present, indicates that modifications should not be persisted. An invalid or unrecognized dryRun directive will result in an error response and no further processing of the request. Valid values are: - All: all dry run stages will be processed',
  ),
  parameter(
    'fieldManager',
    'fieldManager is a name associated with the actor or entity that is making these changes. The value must be less than or 128 characters long, and only contain printable characters, as defined by https://golang.org/pkg/unicode/#IsPrint.',
  ),
  parameter(
    'fieldValidation',
    'fieldValidation instructs the server on how to handle objects in the request (POST/PUT/PATCH) containing unknown or duplicate fields.',
  ),
];

const patchTypes = [
  'application/apply-patch+yaml',
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
];

function operations(definition: ResourceDefinition, kindReference: Json, isItem: boolean): Json {
  const { group, version, kind, verbs } = definition;
  const gvk = { group, kind, version };
  const jsonBody = { content: { 'application/json': { schema: kindReference } } };
  const responses = { '200': { description: 'OK', content: { 'application/json': { schema: kindReference } } } };
  const operation = (action: string, extra: Json = {}): Json => ({
    tags: [group === '' ? 'core_v1' : `${group.split('.')[0]}_${version}`],
    description: `${action} ${kind}`,
    ...extra,
    responses,
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': gvk,
  });
  const item: Json = {};
  if (isItem) {
    if (verbs.includes('get')) item['get'] = operation('get');
    if (verbs.includes('update'))
      item['put'] = operation('put', { parameters: writeParameters, requestBody: jsonBody });
    if (verbs.includes('patch')) {
      const patchBody = {
        content: Object.fromEntries(patchTypes.map((type) => [type, { schema: { type: 'object' } }])),
      };
      const force = parameter('force', 'Force is going to "force" Apply requests.', 'boolean');
      item['patch'] = operation('patch', { parameters: [...writeParameters, force], requestBody: patchBody });
    }
    if (verbs.includes('delete')) item['delete'] = operation('delete', { parameters: writeParameters.slice(0, 1) });
    return item;
  }
  if (verbs.includes('list')) item['get'] = operation('list');
  if (verbs.includes('create'))
    item['post'] = operation('post', { parameters: writeParameters, requestBody: jsonBody });
  if (verbs.includes('deletecollection')) item['delete'] = operation('deletecollection');
  return item;
}

function writePaths(definitions: readonly ResourceDefinition[], writer: SchemaWriter): Json {
  const paths: Json = {};
  for (const definition of definitions) {
    const { group, version, kind, resource } = definition;
    const name = definitionName(definition);
    if (findDefinition(name) === undefined) continue;
    const reference = writer.reference(name);
    writer.extend(name, { 'x-kubernetes-group-version-kind': [{ group, kind, version }] });
    const listName = `${name}List`;
    if (definition.verbs.includes('list')) {
      writer.put(listName, {
        description: `${kind}List is a list of ${kind}.`,
        type: 'object',
        required: ['items'],
        properties: {
          apiVersion: { type: 'string' },
          kind: { type: 'string' },
          metadata: { allOf: [writer.reference(`${metaPackage}.ListMeta`)], default: {} },
          items: { type: 'array', items: { allOf: [reference], default: {} } },
        },
        'x-kubernetes-group-version-kind': [{ group, kind: `${kind}List`, version }],
      });
    }
    const root = group === '' ? `/api/${version}` : `/apis/${groupVersionText(definition)}`;
    const base = definition.isNamespaced ? `${root}/namespaces/{namespace}/${resource}` : `${root}/${resource}`;
    paths[base] = operations(definition, reference, false);
    if (definition.isStored) paths[`${base}/{name}`] = operations(definition, reference, true);
  }
  return paths;
}

/** The document of `/openapi/v3/api/v1` or `/openapi/v3/apis/GROUP/VERSION`. */
export function openApiV3({ group, version }: GroupVersion, serverVersion: string): Json {
  const writer = new SchemaWriter('#/components/schemas/');
  const definitions = resourceDefinitions.filter((it) => it.group === group && it.version === version);
  const paths = writePaths(definitions, writer);
  writer.reference(`${metaPackage}.DeleteOptions`);
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: serverVersion },
    paths,
    components: { schemas: writer.schemas },
  };
}

/** The document of `/openapi/v2`: the same types; the paths say no more than which kinds there are. */
export function openApiV2(serverVersion: string): Json {
  const writer = new SchemaWriter('#/definitions/');
  for (const definition of resourceDefinitions) {
    const { group, version, kind } = definition;
    const name = definitionName(definition);
    if (findDefinition(name) === undefined) continue;
    writer.extend(name, { 'x-kubernetes-group-version-kind': [{ group, kind, version }] });
  }
  return {
    swagger: '2.0',
    info: { title: 'Kubernetes', version: serverVersion },
    paths: {},
    definitions: writer.schemas,
  };
}
