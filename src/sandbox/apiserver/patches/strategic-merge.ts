// Strategic merge patch, as apimachinery/pkg/util/strategicpatch applies it: like a merge patch, but lists of objects merge by a key
// that the type declares (schemas/list-keys.ts), and directives say the rest:
//   `$patch: replace | delete`           on an object, or on an item of a list
//   `$retainKeys: [names]`               the only keys of the object that stay
//   `$deleteFromPrimitiveList/FIELD`     values taken from a list of scalars
//   `$setElementOrder/FIELD`             the order of the items that the patch knows

import { isJsonEqual } from '../objects/object.ts';
import { array, isRecord, type Json, records } from '../objects/fields.ts';
import { type Field, fieldsOf, type Schema } from '../schemas/definitions.ts';

/** The patch is not one that can be read. */
export class StrategicPatchError extends Error {}

const deletePrefix = '$deleteFromPrimitiveList/';
const orderPrefix = '$setElementOrder/';

/** The value of a patch where there was none before: without directives and nulls. */
function bare(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.filter((item) => !(isRecord(item) && item['$patch'] === 'delete')).map((item: unknown) => bare(item));
  }
  if (!isRecord(value)) return value;
  if (value['$patch'] === 'delete') return {};
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, item]) => !key.startsWith('$') && item !== null)
      .map(([key, item]) => [key, bare(item)]),
  );
}

function isSame(a: unknown, b: unknown, mergeKey: string): boolean {
  if (mergeKey === '') return isJsonEqual(a, b);
  return isRecord(a) && isRecord(b) && a[mergeKey] !== undefined && isJsonEqual(a[mergeKey], b[mergeKey]);
}

function indexIn(list: readonly unknown[], item: unknown, mergeKey: string): number {
  return list.findIndex((other) => isSame(other, item, mergeKey));
}

/** Puts the items the patch knows into its order; the others keep their place among them as far as the server's order tells. */
function reorder(
  merged: unknown[],
  order: readonly unknown[],
  before: readonly unknown[],
  mergeKey: string,
): unknown[] {
  const known = order.flatMap((item) => merged.filter((candidate) => isSame(candidate, item, mergeKey)));
  const others = merged.filter((candidate) => indexIn(order, candidate, mergeKey) === -1);
  const result: unknown[] = [];
  while (known.length > 0 && others.length > 0) {
    const left = indexIn(before, known[0], mergeKey);
    const right = indexIn(before, others[0], mergeKey);
    result.push(left >= 0 && right >= 0 && left < right ? known.shift() : others.shift());
  }
  return [...result, ...known, ...others];
}

function mergeListByKey(
  before: readonly unknown[],
  patch: readonly unknown[],
  items: Schema,
  mergeKey: string,
): unknown[] {
  if (patch.some((item) => isRecord(item) && item['$patch'] === 'replace')) {
    return patch.filter((item) => !(isRecord(item) && item['$patch'] === 'replace')).map(bare);
  }
  let result = [...before];
  for (const item of records(patch)) {
    if (item[mergeKey] === undefined) {
      throw new StrategicPatchError(`map: map[] does not contain declared merge key: ${mergeKey}`);
    }
    if (item['$patch'] === 'delete') {
      result = result.filter((other) => !isSame(other, item, mergeKey));
      continue;
    }
    const index = indexIn(result, item, mergeKey);
    if (index === -1) result.push(bare(item));
    else result[index] = mergeObject(result[index], item, items);
  }
  return result;
}

function mergeField(before: unknown, value: unknown, field: Field | undefined): unknown {
  if (isRecord(value)) {
    if (value['$patch'] === 'replace' || !isRecord(before)) return bare(value);
    const schema = field?.schema;
    return mergeObject(before, value, schema?.type === 'map' ? schema.values : schema);
  }
  const mergeKey = field?.merge?.mergeKey;
  if (!Array.isArray(value) || !Array.isArray(before) || field?.schema.type !== 'list' || mergeKey === undefined) {
    return bare(value);
  }
  if (mergeKey !== '') return mergeListByKey(before, value, field.schema.items, mergeKey);
  if (field.merge?.mapKeys === undefined || field.merge.mapKeys.length > 0) return bare(value);
  const known: unknown[] = before;
  return [...known, ...value.filter((item) => !known.includes(item))];
}

function mergeObject(before: unknown, patch: Json, schema: Schema | undefined): Json {
  if (patch['$patch'] === 'delete') return {};
  const original: Json = isRecord(before) ? before : {};
  const result: Json = { ...original };
  const fields = fieldsOf(schema);
  const retained = patch['$retainKeys'];
  if (retained !== undefined) {
    if (!Array.isArray(retained)) throw new StrategicPatchError('invalid patch format of retainKeys');
    for (const key of Object.keys(result)) if (!retained.includes(key)) delete result[key];
  }
  for (const [key, value] of Object.entries(patch)) {
    if (key === '__proto__') continue; // assigning it would change the result's prototype
    if (key.startsWith(deletePrefix)) {
      const name = key.slice(deletePrefix.length);
      if (!Array.isArray(value)) throw new StrategicPatchError('invalid patch format of primitive list');
      if (result[name] !== undefined) result[name] = array(result[name]).filter((item) => !value.includes(item));
    } else if (!key.startsWith('$')) {
      if (value === null) delete result[key];
      else if (result[key] === undefined) result[key] = bare(value);
      else result[key] = mergeField(result[key], value, fields?.get(key));
    }
  }
  for (const [key, order] of Object.entries(patch)) {
    if (!key.startsWith(orderPrefix)) continue;
    const name = key.slice(orderPrefix.length);
    if (!Array.isArray(order)) throw new StrategicPatchError('invalid patch format of setElementOrder list');
    const merged = result[name];
    if (Array.isArray(merged)) {
      result[name] = reorder([...merged], order, array(original[name]), fields?.get(name)?.merge?.mergeKey ?? '');
    }
  }
  return result;
}

/** A patched copy; neither argument is changed. @throws StrategicPatchError. */
export function applyStrategicMerge(document: Json, patch: Json, schema: Schema): Json {
  return structuredClone(mergeObject(document, patch, schema));
}
