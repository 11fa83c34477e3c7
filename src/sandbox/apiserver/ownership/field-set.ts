// Sets of fields, as managedFields' FieldsV1 writes them: a tree whose edges are `f:NAME` (field or map key), `k:{…}` (list item by
// its keys) and `v:VALUE` (item of a set), and whose nodes may be members themselves (`.`). Also how two versions of an object
// compare as such sets, following the types' list and map kinds (structured-merge-diff).

import { unreachable } from '../../../base/unreachable.ts';
import { isRecord, type Json } from '../objects/fields.ts';
import { isJsonEqual } from '../objects/object.ts';
import { type Field, fieldsOf, findDefinition, type Schema } from '../schemas/definitions.ts';
import { isAtomicMap, isAtomicType } from '../schemas/list-keys.ts';

export class FieldSet {
  isMember = false;
  readonly children = new Map<string, FieldSet>();

  get isEmpty(): boolean {
    return !this.isMember && this.children.size === 0;
  }

  child(edge: string): FieldSet {
    let found = this.children.get(edge);
    if (found === undefined) {
      found = new FieldSet();
      this.children.set(edge, found);
    }
    return found;
  }

  /** Adds every member of `other`. */
  add(other: FieldSet): this {
    if (other.isMember) this.isMember = true;
    for (const [edge, set] of other.children) this.child(edge).add(set);
    return this;
  }

  /** Takes out every member of `other`; a member that stands above members stays. */
  subtract(other: FieldSet): this {
    if (other.isMember) this.isMember = false;
    for (const [edge, set] of other.children) {
      const own = this.children.get(edge);
      if (own === undefined) continue;
      own.subtract(set);
      if (own.isEmpty) this.children.delete(edge);
    }
    return this;
  }

  intersection(other: FieldSet): FieldSet {
    const common = new FieldSet();
    common.isMember = this.isMember && other.isMember;
    for (const [edge, set] of this.children) {
      const theirs = other.children.get(edge);
      if (theirs === undefined) continue;
      const both = set.intersection(theirs);
      if (!both.isEmpty) common.children.set(edge, both);
    }
    return common;
  }

  /** Paths of all members as conflict messages show them: `.data.a`, `.spec.containers[name="x"].image`. */
  paths(prefix = ''): string[] {
    const own = this.isMember && prefix !== '' ? [prefix] : [];
    return [...own, ...[...this.children].flatMap(([edge, set]) => set.paths(prefix + edgeText(edge)))];
  }

  toJson(): Json {
    const json: Json = {};
    if (this.isMember && this.children.size > 0) json['.'] = {};
    for (const [edge, set] of [...this.children].sort(([a], [b]) => (a < b ? -1 : 1))) json[edge] = set.toJson();
    return json;
  }

  static fromJson(json: unknown, isRoot = true): FieldSet {
    const set = new FieldSet();
    if (!isRecord(json)) return set;
    const entries = Object.entries(json);
    set.isMember = !isRoot && entries.length === 0;
    for (const [edge, inner] of entries) {
      if (edge === '.') set.isMember = true;
      else set.children.set(edge, FieldSet.fromJson(inner, false));
    }
    return set;
  }
}

function edgeText(edge: string): string {
  if (edge.startsWith('f:')) return `.${edge.slice(2)}`;
  if (edge.startsWith('v:')) return `[=${edge.slice(2)}]`;
  const keys: unknown = JSON.parse(edge.slice(2));
  const pairs = isRecord(keys) ? Object.entries(keys).map(([key, value]) => `${key}=${JSON.stringify(value)}`) : [];
  return `[${pairs.join(',')}]`;
}

/** What a value is for ownership: something with parts, or one whole. */
export type Shape =
  | { readonly kind: 'struct'; readonly fields: ReadonlyMap<string, Field>; readonly name: string }
  | { readonly kind: 'map'; readonly values: Schema }
  | { readonly kind: 'items'; readonly keys: readonly string[]; readonly items: Schema }
  | { readonly kind: 'set' }
  | { readonly kind: 'whole' };

const whole: Shape = { kind: 'whole' };

/** @param owner name of the type that has the field, `''` for items and map values. */
export function shapeOf(
  schema: Schema,
  field?: { readonly name: string; readonly owner: string; readonly it: Field },
): Shape {
  switch (schema.type) {
    case 'scalar':
    case 'any':
      return whole;
    case 'map':
      return field !== undefined && isAtomicMap(field.owner, field.name)
        ? whole
        : { kind: 'map', values: schema.values };
    case 'list': {
      const keys = field?.it.merge?.mapKeys;
      if (keys === undefined) return whole;
      return keys.length === 0 ? { kind: 'set' } : { kind: 'items', keys, items: schema.items };
    }
    case 'object': {
      const name = findDefinition(schema.definition)?.shortName ?? '';
      const fields = fieldsOf(schema);
      return isAtomicType(name) || fields === undefined ? whole : { kind: 'struct', fields, name };
    }
    default:
      return unreachable(schema);
  }
}

/** A key that a list item leaves out has its default; `protocol` is the only one with one. */
const keyDefaults: Readonly<Record<string, string>> = { protocol: 'TCP' };

function itemEdge(item: unknown, keys: readonly string[]): string {
  const holder = isRecord(item) ? item : {};
  const found = [...keys].sort().map((key): [string, unknown] => [key, holder[key] ?? keyDefaults[key] ?? null]);
  return `k:${JSON.stringify(Object.fromEntries(found))}`;
}

function valueEdge(value: unknown): string {
  return `v:${JSON.stringify(value)}`;
}

/** Every part of a value with its edge and its shape; none for a whole. */
export function partsOf(
  value: unknown,
  shape: Shape,
): { edge: string; value: unknown; shape: Shape; isRequired: boolean }[] {
  switch (shape.kind) {
    case 'struct':
      return Object.entries(isRecord(value) ? value : {}).flatMap(([name, inner]) => {
        const it = shape.fields.get(name);
        if (it === undefined || inner === undefined) return [];
        const innerShape = shapeOf(it.schema, { name, owner: shape.name, it });
        return [{ edge: `f:${name}`, value: inner, shape: innerShape, isRequired: it.isRequired }];
      });
    case 'map':
      return Object.entries(isRecord(value) ? value : {}).map(([name, inner]) => ({
        edge: `f:${name}`,
        value: inner,
        shape: shapeOf(shape.values),
        isRequired: false,
      }));
    case 'items':
      return (Array.isArray(value) ? value : []).map((item: unknown) => ({
        edge: itemEdge(item, shape.keys),
        value: item,
        shape: shapeOf(shape.items),
        isRequired: false,
      }));
    case 'set':
      return (Array.isArray(value) ? value : []).map((item: unknown) => ({
        edge: valueEdge(item),
        value: item,
        shape: whole,
        isRequired: false,
      }));
    case 'whole':
      return [];
    default:
      return unreachable(shape);
  }
}

/**
 * All fields a value has. An update owns maps and lists themselves besides what is in them; an apply only what it names, and items.
 * A required list exists, as null, before anybody fills it, so nobody owns it.
 */
export function collect(value: unknown, shape: Shape, by: 'update' | 'apply', isRequired = false): FieldSet {
  const set = new FieldSet();
  const parts = partsOf(value, shape);
  if (parts.length === 0 || (by === 'update' && shape.kind !== 'struct' && !isRequired)) set.isMember = true;
  for (const part of parts) {
    const inner = set.child(part.edge);
    inner.add(collect(part.value, part.shape, by, part.isRequired));
    if (shape.kind === 'items') inner.isMember = true;
  }
  return set;
}

export interface Comparison {
  readonly added: FieldSet;
  readonly removed: FieldSet;
  readonly modified: FieldSet;
}

function compareInto(before: unknown, after: unknown, shape: Shape, out: Comparison): void {
  if (shape.kind === 'whole') {
    if (!isJsonEqual(before, after)) out.modified.isMember = true;
    return;
  }
  const old = new Map(partsOf(before, shape).map((part) => [part.edge, part]));
  for (const part of partsOf(after, shape)) {
    const previous = old.get(part.edge);
    old.delete(part.edge);
    if (previous === undefined) {
      const added = out.added.child(part.edge).add(collect(part.value, part.shape, 'update', part.isRequired));
      if (shape.kind === 'items') added.isMember = true;
      continue;
    }
    const inner: Comparison = { added: new FieldSet(), removed: new FieldSet(), modified: new FieldSet() };
    compareInto(previous.value, part.value, part.shape, inner);
    if (!inner.added.isEmpty) out.added.child(part.edge).add(inner.added);
    if (!inner.removed.isEmpty) out.removed.child(part.edge).add(inner.removed);
    if (!inner.modified.isEmpty) out.modified.child(part.edge).add(inner.modified);
  }
  for (const [edge, part] of old) {
    const removed = out.removed.child(edge).add(collect(part.value, part.shape, 'update'));
    if (shape.kind === 'items') removed.isMember = true;
  }
}

/** What changed between two versions of a value of that type. */
export function compare(before: unknown, after: unknown, schema: Schema): Comparison {
  const out: Comparison = { added: new FieldSet(), removed: new FieldSet(), modified: new FieldSet() };
  compareInto(before, after, shapeOf(schema), out);
  return out;
}
