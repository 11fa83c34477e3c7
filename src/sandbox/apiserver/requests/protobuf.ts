// Request bodies in protobuf, which kubectl's typed clients send for built-in kinds (`create namespace`, `auth can-i`, evictions): the
// envelope `k8s\0` + runtime.Unknown, and in it one message, turned into the JSON object it stands for. Answers are always JSON, which
// those clients accept too.
//
// Go writes every field that is no pointer, zero or not; JSON leaves zeros out. The wire does not tell the two apart, so zeros are
// dropped but for the few fields where a zero is an order.

import { badRequest, StatusError } from '../../../kube/status.ts';
import { protobufFields } from './protobuf-fields.ts';

type Json = Record<string, unknown>;

interface Field {
  readonly name: string;
  readonly type: string;
  readonly form: 'one' | 'list' | 'map';
}

type Schema = ReadonlyMap<string, ReadonlyMap<number, Field>>;

/** Wire types of the protobuf encoding; groups (3, 4) are not used by Kubernetes. */
const varintType = 0;
const fixed64Type = 1;
const bytesType = 2;
const fixed32Type = 5;

const magic = Buffer.from('k8s\0', 'latin1');
export const protobufMediaType = 'application/vnd.kubernetes.protobuf';

/** Fields whose zero means something. */
const meaningfulZeros = new Set([
  'backoffLimit',
  'completions',
  'gracePeriodSeconds',
  'parallelism',
  'replicas',
  'runAsUser',
  'terminationGracePeriodSeconds',
  'ttlSecondsAfterFinished',
]);

/** The object a body stands for, with apiVersion and kind. @throws StatusError 400 */
export function decodeProtobuf(body: Buffer): Json {
  if (!body.subarray(0, magic.length).equals(magic)) fail('provided data does not appear to be a protobuf message');
  const envelope = readFields(body.subarray(magic.length));
  const types = readFields(bytesOf(envelope, 1));
  const apiVersion = bytesOf(types, 1).toString('utf8');
  const kind = bytesOf(types, 2).toString('utf8');
  const schema = parseSchema(protobufFields);
  const name = messageName(apiVersion, kind);
  if (!schema.has(name))
    fail(`no kind ${JSON.stringify(kind)} is registered for version ${JSON.stringify(apiVersion)} in protobuf`);
  return { kind, apiVersion, ...decodeMessage(schema, name, bytesOf(envelope, 2)) };
}

function fail(message: string): never {
  throw new StatusError(badRequest(message));
}

/** `apps/v1 Deployment` is `apps.Deployment`, `v1 Pod` is `Pod`; delete options are the same in every group. */
function messageName(apiVersion: string, kind: string): string {
  if (kind === 'DeleteOptions') return kind;
  const [group = '', version = ''] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion];
  const prefix = group.split('.')[0] ?? '';
  if (prefix === '') return kind;
  return prefix === 'autoscaling' && version === 'v2' ? `${prefix}.v2.${kind}` : `${prefix}.${kind}`;
}

function parseSchema(text: string): Schema {
  const schema = new Map<string, Map<number, Field>>();
  for (const line of text.trim().split('\n')) {
    const [name = '', list = ''] = line.split(': ');
    const fields = new Map<number, Field>();
    for (const entry of list.split(', ')) {
      const [number = '', field = '', type = ''] = entry.split(' ');
      const form = type.startsWith('*') ? 'list' : type.startsWith('%') ? 'map' : 'one';
      fields.set(Number(number), { name: field, type: type.replace(/^[*%]/, ''), form });
    }
    schema.set(name, fields);
  }
  return schema;
}

interface RawField {
  readonly number: number;
  readonly value: bigint | Buffer;
}

/** The fields of one message. @throws StatusError 400 */
function readFields(bytes: Buffer): RawField[] {
  const fields: RawField[] = [];
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at];
      if (byte === undefined) break;
      at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return fail('proto: unexpected EOF');
  };
  const take = (length: number): Buffer => {
    if (length > bytes.length - at) fail('proto: unexpected EOF');
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = varint();
    const number = Number(tag >> 3n);
    switch (Number(tag & 7n)) {
      case varintType:
        fields.push({ number, value: varint() });
        break;
      case fixed64Type:
        fields.push({ number, value: take(8) });
        break;
      case bytesType:
        fields.push({ number, value: take(Number(varint())) });
        break;
      case fixed32Type:
        fields.push({ number, value: take(4) });
        break;
      default:
        fail('proto: illegal wireType');
    }
  }
  return fields;
}

function bytesOf(fields: readonly RawField[], number: number): Buffer {
  const value = fields.findLast((field) => field.number === number)?.value;
  return Buffer.isBuffer(value) ? value : Buffer.alloc(0);
}

function decodeMessage(schema: Schema, name: string, bytes: Buffer): Json {
  const known = schema.get(name);
  const object: Json = {};
  for (const { number, value } of readFields(bytes)) {
    const field = known?.get(number);
    if (field === undefined) continue; // a newer or an ignored field
    if (field.form === 'map') {
      const entry = readFields(Buffer.isBuffer(value) ? value : Buffer.alloc(0));
      const map = (object[field.name] ??= {}) as Json;
      const mapped = entry.findLast((part) => part.number === 2)?.value ?? Buffer.alloc(0);
      map[bytesOf(entry, 1).toString('utf8')] = decodeValue(schema, field.type, mapped);
      continue;
    }
    const decoded = decodeValue(schema, field.type, value);
    if (field.form === 'list') ((object[field.name] ??= []) as unknown[]).push(decoded);
    else if (field.name === '^') Object.assign(object, decoded);
    else if (!isZero(field.name, decoded)) object[field.name] = decoded;
  }
  return object;
}

function isZero(name: string, value: unknown): boolean {
  if (value === 0) return !meaningfulZeros.has(name);
  return value === '' || value === false || value === undefined;
}

function decodeValue(schema: Schema, type: string, value: bigint | Buffer): unknown {
  if (!Buffer.isBuffer(value)) return type === 'bool' ? value !== 0n : Number(BigInt.asIntN(64, value));
  switch (type) {
    case 'string':
      return value.toString('utf8');
    case 'bytes':
      return value.toString('base64');
    case 'Time':
    case 'MicroTime':
      return decodeTime(readFields(value), type);
    case 'Quantity':
      return bytesOf(readFields(value), 1).toString('utf8');
    case 'IntOrString':
      return decodeIntOrString(readFields(value));
    case 'Items':
      return readFields(value).map((item) => item.value.toString());
    case 'FieldsV1':
    case 'Raw':
      return JSON.parse(bytesOf(readFields(value), 1).toString('utf8')) as unknown;
    default:
      return decodeMessage(schema, type, value);
  }
}

function numberOf(fields: readonly RawField[], number: number): bigint {
  const value = fields.findLast((field) => field.number === number)?.value;
  return typeof value === 'bigint' ? BigInt.asIntN(64, value) : 0n;
}

/** An unset time is an empty message. */
function decodeTime(fields: readonly RawField[], type: 'Time' | 'MicroTime'): string | undefined {
  if (fields.length === 0) return undefined;
  const text = new Date(Number(numberOf(fields, 1)) * 1000).toISOString().slice(0, 19);
  if (type === 'Time') return `${text}Z`;
  const micros = String(numberOf(fields, 2) / 1000n).padStart(6, '0');
  return `${text}.${micros}Z`;
}

function decodeIntOrString(fields: readonly RawField[]): number | string {
  return numberOf(fields, 1) === 0n ? Number(numberOf(fields, 2)) : bytesOf(fields, 3).toString('utf8');
}
