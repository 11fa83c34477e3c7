// The types of the served kinds: fields, their types and descriptions, from definitions.json (made by
// test/sandbox/apiserver/schemas/generate-definitions.ts). Everything that must know the shape of an object asks here: strict
// decoding, strategic merge, managedFields, OpenAPI, and the descriptions of table columns.

import type { GroupVersionKind } from '../resources/catalog.ts';
import rawDefinitions from './definitions.json' with { type: 'json' };
import { type ListMerge, listMergeOf } from './list-keys.ts';

export type ScalarName =
  | 'string'
  | 'boolean'
  | 'int32'
  | 'int64'
  | 'number'
  | 'time'
  | 'microtime'
  | 'bytes'
  | 'quantity'
  | 'intorstring';

export type Schema =
  | { readonly type: 'scalar'; readonly scalar: ScalarName }
  | { readonly type: 'any' }
  | { readonly type: 'list'; readonly items: Schema }
  | { readonly type: 'map'; readonly values: Schema }
  | { readonly type: 'object'; readonly definition: string };

export interface Field {
  readonly schema: Schema;
  readonly description: string;
  readonly isRequired: boolean;
  /** Set for lists that merge. */
  readonly merge: ListMerge | undefined;
}

export interface Definition {
  /** Full OpenAPI name: `io.k8s.api.core.v1.PodSpec`. */
  readonly name: string;
  /** The last part of it: `PodSpec`. */
  readonly shortName: string;
  readonly description: string;
  readonly fields: ReadonlyMap<string, Field>;
}

type RawField = readonly (string | number)[];
type RawDefinitions = Readonly<Record<string, { readonly d: string; readonly p: Readonly<Record<string, RawField>> }>>;

const raw: RawDefinitions = rawDefinitions;

const scalarNames: Readonly<Record<string, ScalarName>> = {
  string: 'string',
  boolean: 'boolean',
  'integer:int32': 'int32',
  'integer:int64': 'int64',
  number: 'number',
  time: 'time',
  microtime: 'microtime',
  bytes: 'bytes',
  quantity: 'quantity',
  intorstring: 'intorstring',
};

function parseSchema(type: string): Schema {
  if (type.startsWith('[]')) return { type: 'list', items: parseSchema(type.slice(2)) };
  if (type.startsWith('map ')) return { type: 'map', values: parseSchema(type.slice(4)) };
  const scalar = scalarNames[type];
  if (scalar !== undefined) return { type: 'scalar', scalar };
  return raw[type] === undefined ? { type: 'any' } : { type: 'object', definition: type };
}

function parseDefinition(name: string): Definition | undefined {
  const source = raw[name];
  if (source === undefined) return undefined;
  const shortName = name.slice(name.lastIndexOf('.') + 1);
  const fields = new Map<string, Field>();
  for (const [field, [type = '', description = '', required]] of Object.entries(source.p)) {
    fields.set(field, {
      schema: parseSchema(String(type)),
      description: String(description),
      isRequired: required === 1,
      merge: listMergeOf(shortName, field),
    });
  }
  return { name, shortName, description: source.d, fields };
}

/** Parsed ones; definitions never change, so this is a cache and no state. */
const parsed = new Map<string, Definition | undefined>();

export function findDefinition(name: string): Definition | undefined {
  if (!parsed.has(name)) parsed.set(name, parseDefinition(name));
  return parsed.get(name);
}

/** The fields of an object type; none if it is not known. */
export function fieldsOf(schema: Schema | undefined): ReadonlyMap<string, Field> | undefined {
  return schema?.type === 'object' ? findDefinition(schema.definition)?.fields : undefined;
}

export function allDefinitionNames(): readonly string[] {
  return Object.keys(raw);
}

const groupPackages: Readonly<Record<string, string>> = {
  '': 'io.k8s.api.core',
  'apiregistration.k8s.io': 'io.k8s.kube-aggregator.pkg.apis.apiregistration',
};

/** The OpenAPI name of a kind: group `rbac.authorization.k8s.io` lives in the package `io.k8s.api.rbac`. */
export function definitionName({ group, version, kind }: GroupVersionKind): string {
  return `${groupPackages[group] ?? `io.k8s.api.${group.split('.')[0]}`}.${version}.${kind}`;
}

/** The schema of a kind; `any` for kinds without one. */
export function schemaOfKind(gvk: GroupVersionKind): Schema {
  return parseSchema(definitionName(gvk));
}

/** A field's description, as columns of tables show it. `type` is a name without package, of core or meta unless it is unique. */
export function describeField(definition: string, field: string): string {
  return findDefinition(definition)?.fields.get(field)?.description ?? '';
}
