// From a request's body to an object of the kind the URL names: media type, JSON or YAML, kind and version, strict decoding. What
// ?fieldValidation asks for decides whether unknown fields are refused, warned of, or dropped in silence.

import type { Buffer } from 'node:buffer';
import { badRequest, StatusError, unsupportedMediaType } from '../../../kube/status.ts';
import { findKind, groupVersionText, type GroupVersionKind } from '../resources/catalog.ts';
import { isRecord, type Json, record, stringMap, text } from '../objects/fields.ts';
import type { KubeObject } from '../objects/object.ts';
import { type Schema, schemaOfKind } from '../schemas/definitions.ts';
import { DecodeError, decodeObject } from '../schemas/strict-decoding.ts';
import { GoJsonError, parseGoJson } from './go-json.ts';
import { decodeProtobuf, protobufMediaType } from './protobuf.ts';

export type FieldValidation = 'Ignore' | 'Warn' | 'Strict';

export interface DecodedBody {
  readonly object: KubeObject;
  /** Texts for `Warning` headers. */
  readonly warnings: readonly string[];
}

/** @throws StatusError 422 for an unknown value. */
export function parseFieldValidation(query: URLSearchParams): FieldValidation {
  const value = query.get('fieldValidation') ?? '';
  if (value === '' || value === 'Warn') return 'Warn';
  if (value === 'Ignore' || value === 'Strict') return value;
  const message = `fieldValidation: Unsupported value: ${JSON.stringify(value)}: supported values: "Ignore", "Strict", "Warn"`;
  throw new StatusError(badRequest(message));
}

const acceptedTypes = ['application/json', 'application/yaml', protobufMediaType];

/** The media type without parameters, in lower case. */
export function mediaTypeOf(contentType: string | undefined): string {
  return (contentType ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

/** summarizeData: text that starts like JSON as it is, anything else in hex; at most 30 bytes. */
function summarize(body: Buffer): string {
  const maxBytes = 30;
  if (body.length === 0) return '<empty>';
  const part = body.subarray(0, maxBytes);
  const shown = body[0] === 0x7b /* { */ ? part.toString() : part.toString('hex');
  return body.length > maxBytes ? `${shown} ...` : shown;
}

function kindText(apiVersion: string, kind: string): string {
  const version = apiVersion.slice(apiVersion.lastIndexOf('/') + 1);
  return `${kind} in version ${JSON.stringify(version)}`;
}

/** Go's decoder checks base64 where the type is bytes; Node's is forgiving, so the first bad character is looked for here. */
function checkBase64(data: unknown): void {
  for (const value of Object.values(stringMap(data))) {
    const bad = /[^A-Za-z0-9+/=\r\n]/.exec(value);
    if (bad !== null) throw new DecodeError(`illegal base64 data at input byte ${bad.index}`);
    const digits = value.replaceAll(/[\r\n]/g, '');
    if (digits.length % 4 !== 0)
      throw new DecodeError(`illegal base64 data at input byte ${digits.length - (digits.length % 4)}`);
  }
}

/** Parses YAML or JSON as a record. @throws GoJsonError. */
export async function parseYaml(body: Buffer): Promise<unknown> {
  const { parse } = await import('yaml'); // loaded when first needed: kubectl sends JSON
  try {
    return parse(body.toString()) as unknown;
  } catch (error) {
    throw new GoJsonError(`error converting YAML to JSON: ${error instanceof Error ? error.message : ''}`, {
      cause: error,
    });
  }
}

/** Turns parsed JSON into an object of that kind. @throws StatusError 400. */
export function decodeAs(
  value: Json,
  kind: GroupVersionKind,
  validation: FieldValidation,
  schema?: Schema,
): DecodedBody {
  const apiVersion = text(value['apiVersion']) || groupVersionText(kind);
  const found = text(value['kind']) || kind.kind;
  const expected = groupVersionText(kind);
  const cannot = (reason: string): StatusError =>
    new StatusError(badRequest(`${kindText(apiVersion, found)} cannot be handled as a ${kind.kind}: ${reason}`));
  if (found !== kind.kind) {
    if (findKind(apiVersion, found) === undefined) {
      throw cannot(
        `no kind ${JSON.stringify(found)} is registered for version ${JSON.stringify(apiVersion)} in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"`,
      );
    }
    const internal = kind.group === '' ? 'core' : (kind.group.split('.')[0] ?? '');
    throw cannot(`converting (v1.${found}) to (${internal}.${kind.kind}): unknown conversion`);
  }
  if (apiVersion !== expected) {
    throw new StatusError(
      badRequest(`the API version in the data (${apiVersion}) does not match the expected API version (${expected})`),
    );
  }
  try {
    const decoded = decodeObject(value, schema ?? schemaOfKind(kind));
    if (kind.kind === 'Secret') checkBase64(decoded.value['data']);
    if (validation === 'Strict' && decoded.strictErrors.length > 0) {
      throw cannot(`strict decoding error: ${decoded.strictErrors.join(', ')}`);
    }
    const { apiVersion: _apiVersion, kind: _kind, metadata, ...rest } = decoded.value;
    const object: KubeObject = {
      kind: kind.kind,
      apiVersion: expected,
      metadata: { ...record(metadata), name: text(record(metadata)['name']) },
      ...rest,
    };
    return { object, warnings: validation === 'Warn' ? decoded.strictErrors : [] };
  } catch (error) {
    if (error instanceof DecodeError) throw cannot(error.message);
    throw error;
  }
}

/** @throws StatusError 415 for a media type that is not read, 400 for a body that is not such an object. */
export async function decodeBody(
  body: Buffer,
  contentType: string | undefined,
  kind: GroupVersionKind,
  validation: FieldValidation,
): Promise<DecodedBody> {
  const mediaType = mediaTypeOf(contentType);
  if (mediaType === protobufMediaType) return decodeAs(decodeProtobuf(body), kind, validation);
  if (mediaType !== '' && !acceptedTypes.includes(mediaType))
    throw new StatusError(unsupportedMediaType(acceptedTypes));
  let value: unknown;
  try {
    value = mediaType === 'application/yaml' ? await parseYaml(body) : parseGoJson(body.toString());
  } catch (error) {
    if (!(error instanceof GoJsonError)) throw error;
    const message = `the object provided is unrecognized (must be of type ${kind.kind}): couldn't get version/kind; json parse error: ${error.message} (${summarize(body)})`;
    throw new StatusError(badRequest(message), { cause: error });
  }
  if (!isRecord(value)) {
    const found = Array.isArray(value) ? 'array' : typeof value;
    const message = `the object provided is unrecognized (must be of type ${kind.kind}): couldn't get version/kind; json parse error: json: cannot unmarshal ${found} into Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" } (${summarize(body)})`;
    throw new StatusError(badRequest(message));
  }
  return decodeAs(value, kind, validation);
}
