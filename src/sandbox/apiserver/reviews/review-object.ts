// What all reviews share: reading the posted object, and the metadata kube-apiserver returns with it. Reviews are never stored, yet
// they pass the same create handler as stored objects and come back with managedFields.

import type { Clock } from '../../../base/clock.ts';
import {
  badRequest,
  failure,
  goJson,
  type StatusCause,
  StatusError,
  unsupportedMediaType,
} from '../../../kube/status.ts';
import type { ApiRequest } from '../chain/api-request.ts';
import { kubeTime } from '../objects/object.ts';
import { decodeProtobuf, protobufMediaType } from '../requests/protobuf.ts';

export type JsonObject = Record<string, unknown>;

/** The posted object as plain JSON. @throws StatusError 400 or 415. */
export async function readReview(request: ApiRequest, kind: string, groupVersion: string): Promise<JsonObject> {
  const type = request.header('content-type')?.split(';')[0]?.trim() ?? 'application/json';
  if (type !== 'application/json' && type !== protobufMediaType) {
    const accepted = ['application/json', 'application/yaml', protobufMediaType];
    throw new StatusError(unsupportedMediaType(accepted));
  }
  const body = await request.body();
  const object = type === protobufMediaType ? decodeProtobuf(body) : parseObject(body.toString('utf8'), kind);
  const sent = textAt(object, 'kind');
  if (sent !== '' && sent !== kind) {
    const message = `${sent} in version "${groupVersion.split('/').at(-1)}" cannot be handled as a ${kind}`;
    throw new StatusError(badRequest(message));
  }
  return object;
}

function parseObject(body: string, kind: string): JsonObject {
  try {
    const value: unknown = JSON.parse(body);
    if (isObject(value)) return value;
  } catch {
    // Refused below like any other body that is no object.
  }
  const problem = body.trim() === '' ? 'unexpected end of JSON input' : 'invalid character in the body';
  throw new StatusError(badRequest(`the object provided is unrecognized (must be of type ${kind}): ${problem}`));
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function objectAt(parent: JsonObject, key: string): JsonObject | undefined {
  const value = parent[key];
  return isObject(value) ? value : undefined;
}

export function textAt(parent: JsonObject | undefined, key: string): string {
  const value = parent?.[key];
  return typeof value === 'string' ? value : '';
}

export function textsAt(parent: JsonObject | undefined, key: string): string[] {
  const value = parent?.[key];
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : [];
}

/** The keys of an object in Go's field order, empty values left out as `omitempty` does. */
export function pick(from: JsonObject, keys: readonly string[]): JsonObject {
  const picked: JsonObject = {};
  for (const key of keys) if (!isEmpty(from[key])) picked[key] = from[key];
  return picked;
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === '' || value === 0 || value === false) return true;
  return Array.isArray(value) && value.length === 0;
}

/** Answers 201 with the review, its spec as understood and the managedFields of who posted it. */
export function answerReview(
  deps: { clock: Clock },
  request: ApiRequest,
  review: { kind: string; apiVersion: string; metadata?: JsonObject; spec: JsonObject; status: JsonObject },
): void {
  const manager = request.header('user-agent')?.split('/')[0]?.slice(0, 128) ?? '';
  const entry = {
    manager: manager === '' ? 'unknown' : manager,
    operation: 'Update',
    apiVersion: review.apiVersion,
    time: kubeTime(deps.clock.now()),
    fieldsType: 'FieldsV1',
    fieldsV1: { 'f:spec': fieldsOf(review.spec) },
  };
  const answer = {
    kind: review.kind,
    apiVersion: review.apiVersion,
    metadata: { ...review.metadata, managedFields: [entry] },
    spec: review.spec,
    status: review.status,
  };
  request.send(201, 'application/json', `${goJson(answer)}\n`);
}

/** The FieldsV1 of what a client set: lists here are atomic, objects below the spec carry a `.` of their own. */
function fieldsOf(object: JsonObject): JsonObject {
  const fields: JsonObject = {};
  for (const key of Object.keys(object).sort()) {
    const value = object[key];
    fields[`f:${key}`] = isObject(value) ? { '.': {}, ...fieldsOf(value) } : {};
  }
  return fields;
}

/** A 422 as strategies of reviews give it: their kind is not known to them, so the message begins with a dot. */
export function invalidReview(
  group: string,
  field: string,
  message: string,
  reason = 'FieldValueInvalid',
): StatusError {
  const causes: StatusCause[] = [{ reason, message, field }];
  return new StatusError(failure(422, 'Invalid', `.${group} "" is invalid: ${field}: ${message}`, { group, causes }));
}
