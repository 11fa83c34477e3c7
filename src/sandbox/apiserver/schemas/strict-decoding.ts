// From a client's JSON to an object of its kind, as kube-apiserver's decoder makes it: a value of a wrong type is an error with Go's
// text, null counts as absent, and fields the kind does not have are dropped and reported, so that the caller may warn or refuse.

import { unreachable } from '../../../base/unreachable.ts';
import { isRecord, type Json } from '../objects/fields.ts';
import { fieldsOf, findDefinition, type ScalarName, type Schema } from './definitions.ts';

export interface Decoded {
  readonly value: Json;
  /** `unknown field "spec.nope"`, in the order found. */
  readonly strictErrors: readonly string[];
}

/** What the decoder says of a value that does not fit; the caller puts it into its 400. */
export class DecodeError extends Error {}

interface Place {
  /** The innermost struct's name, and the names of fields from the root: how Go names a field in an error. */
  readonly struct: string;
  readonly names: readonly string[];
  /** As strict errors spell it: `spec.containers[0].image`. */
  readonly path: string;
}

const goScalars: Readonly<Record<ScalarName, string>> = {
  string: 'string',
  boolean: 'bool',
  int32: 'int32',
  int64: 'int64',
  number: 'float64',
  time: 'v1.Time',
  microtime: 'v1.MicroTime',
  bytes: '[]uint8',
  quantity: 'resource.Quantity',
  intorstring: 'intstr.IntOrString',
};

function goTypeName(schema: Schema): string {
  switch (schema.type) {
    case 'scalar':
      return goScalars[schema.scalar];
    case 'any':
      return 'runtime.RawExtension';
    case 'list':
      return `[]${goTypeName(schema.items)}`;
    case 'map':
      return `map[string]${goTypeName(schema.values)}`;
    case 'object':
      return `v1.${findDefinition(schema.definition)?.shortName ?? ''}`;
    default:
      return unreachable(schema);
  }
}

function jsonTypeName(value: unknown): string {
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'boolean') return 'bool';
  return typeof value;
}

function misfit(value: unknown, schema: Schema, place: Place): DecodeError {
  const found = typeof value === 'number' && schema.type === 'scalar' ? `number ${value}` : jsonTypeName(value);
  // Go names the number only where an integer would have fit the JSON type.
  const isIntegerMisfit = schema.type === 'scalar' && (schema.scalar === 'int32' || schema.scalar === 'int64');
  const what = typeof value === 'number' && !isIntegerMisfit ? 'number' : found;
  return new DecodeError(
    `json: cannot unmarshal ${what} into Go struct field ${place.struct}.${place.names.join('.')} of type ${goTypeName(schema)}`,
  );
}

const rfc3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;
const quantityShape = /^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$/;

function decodeScalar(value: unknown, scalar: ScalarName, place: Place): unknown {
  const schema: Schema = { type: 'scalar', scalar };
  switch (scalar) {
    case 'string':
    case 'bytes':
      if (typeof value !== 'string') throw misfit(value, schema, place);
      return value;
    case 'boolean':
      if (typeof value !== 'boolean') throw misfit(value, schema, place);
      return value;
    case 'int32':
    case 'int64':
      if (typeof value !== 'number' || !Number.isInteger(value)) throw misfit(value, schema, place);
      if (scalar === 'int32' && Math.abs(value) > 2 ** 31) throw misfit(value, schema, place);
      return value;
    case 'number':
      if (typeof value !== 'number') throw misfit(value, schema, place);
      return value;
    case 'time':
    case 'microtime':
      if (typeof value !== 'string') throw misfit(value, schema, place);
      if (!rfc3339.test(value)) {
        throw new DecodeError(
          `parsing time ${JSON.stringify(value)} as "2006-01-02T15:04:05Z07:00": cannot parse ${JSON.stringify(value)} as "2006"`,
        );
      }
      return value;
    case 'quantity':
      if (typeof value === 'number') return String(value);
      if (typeof value !== 'string') throw misfit(value, schema, place);
      if (!quantityShape.test(value)) {
        throw new DecodeError(
          "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        );
      }
      return value;
    case 'intorstring':
      if (typeof value !== 'string' && typeof value !== 'number') throw misfit(value, schema, place);
      return value;
    default:
      return unreachable(scalar);
  }
}

function decodeValue(value: unknown, schema: Schema, place: Place, strictErrors: string[]): unknown {
  switch (schema.type) {
    case 'any':
      return value;
    case 'scalar':
      return decodeScalar(value, schema.scalar, place);
    case 'list': {
      if (!Array.isArray(value)) throw misfit(value, schema, place);
      return value.map((item, index) => {
        // Go has a zero value for a null item.
        if (item === null) return schema.items.type === 'scalar' ? '' : {};
        return decodeValue(item, schema.items, { ...place, path: `${place.path}[${index}]` }, strictErrors);
      });
    }
    case 'map': {
      if (!isRecord(value)) throw misfit(value, schema, place);
      const decoded: Json = {};
      for (const [key, item] of Object.entries(value)) {
        if (key === '__proto__') continue; // assigning it would change the object's prototype
        if (item === null)
          decoded[key] = schema.values.type === 'scalar' && schema.values.scalar === 'string' ? '' : item;
        else decoded[key] = decodeValue(item, schema.values, { ...place, path: `${place.path}.${key}` }, strictErrors);
      }
      return decoded;
    }
    case 'object': {
      if (!isRecord(value)) throw misfit(value, schema, place);
      const fields = fieldsOf(schema);
      const struct = findDefinition(schema.definition)?.shortName ?? place.struct;
      const decoded: Json = {};
      for (const [key, item] of Object.entries(value)) {
        const path = place.path === '' ? key : `${place.path}.${key}`;
        const field = fields?.get(key);
        if (field === undefined) strictErrors.push(`unknown field ${JSON.stringify(path)}`);
        else if (item !== null && item !== undefined) {
          const inner = { struct, names: [...place.names, key], path };
          decoded[key] = decodeValue(item, field.schema, inner, strictErrors);
        }
      }
      return decoded;
    }
    default:
      return unreachable(schema);
  }
}

/** @throws DecodeError if a value does not fit its field. */
export function decodeObject(value: Json, schema: Schema): Decoded {
  const strictErrors: string[] = [];
  const decoded = decodeValue(value, schema, { struct: '', names: [], path: '' }, strictErrors);
  return { value: isRecord(decoded) ? decoded : {}, strictErrors };
}
