// A PATCH request: which kind of patch its media type names, and how it changes an object. Server-side apply is not here: it needs
// the fields' owners (ownership/apply.ts).

import { badRequest, failure, invalid, type Status, StatusError } from '../../../kube/status.ts';
import { isRecord, type Json } from '../objects/fields.ts';
import { GoJsonError, parseGoJson } from '../requests/go-json.ts';
import type { Schema } from '../schemas/definitions.ts';
import { applyJsonPatch, JsonPatchError } from './json-patch.ts';
import { applyMergePatch } from './merge-patch.ts';
import { applyStrategicMerge, StrategicPatchError } from './strategic-merge.ts';

export type PatchType = 'json' | 'merge' | 'strategic' | 'apply';

const patchTypes: Readonly<Record<string, PatchType>> = {
  'application/json-patch+json': 'json',
  'application/merge-patch+json': 'merge',
  'application/strategic-merge-patch+json': 'strategic',
  'application/apply-patch+yaml': 'apply',
};

/** @throws StatusError 415. */
export function patchTypeOf(mediaType: string): PatchType {
  const type = patchTypes[mediaType];
  if (type === undefined) {
    throw new StatusError(failure(415, 'UnsupportedMediaType', '415: Unsupported Media Type', {}));
  }
  return type;
}

/** A patch that is well formed and does not fit the object: the client learns no more than this, as from kube-apiserver. */
function rejected(): Status {
  return failure(422, 'Invalid', 'the server rejected our request due to an error in our request', {});
}

/** The 422 of a patch whose result is no object of the kind. */
export function invalidPatch(patchText: string, reason: string): StatusError {
  const message = `Invalid value: ${JSON.stringify(patchText)}: ${reason}`;
  return new StatusError(
    invalid({ group: '', kind: '' }, '', [{ reason: 'FieldValueInvalid', message, field: 'patch' }]),
  );
}

/** A function that applies the patch to an object as plain JSON. @throws StatusError 400 if the body is no such patch. */
export function parsePatch(type: Exclude<PatchType, 'apply'>, body: string, schema: Schema): (document: Json) => Json {
  let patch: unknown;
  try {
    patch = parseGoJson(body);
  } catch (error) {
    if (!(error instanceof GoJsonError)) throw error;
    throw new StatusError(badRequest(type === 'merge' ? 'Invalid JSON Patch' : error.message), { cause: error });
  }
  if (type === 'json') {
    if (!Array.isArray(patch)) {
      const found = isRecord(patch) ? 'object' : typeof patch;
      throw new StatusError(badRequest(`json: cannot unmarshal ${found} into Go value of type jsonpatch.Patch`));
    }
    const operations: readonly unknown[] = patch;
    return (document) => toRecord(guard(() => applyJsonPatch(document, operations)));
  }
  if (!isRecord(patch)) {
    const found = Array.isArray(patch) ? 'array' : typeof patch;
    const message =
      type === 'merge'
        ? 'Invalid JSON Patch'
        : `json: cannot unmarshal ${found} into Go value of type map[string]interface {}`;
    throw new StatusError(badRequest(message));
  }
  const changes = patch;
  if (type === 'merge') return (document) => applyMergePatch(document, changes);
  return (document) => guard(() => applyStrategicMerge(document, changes, schema));
}

function guard<T>(apply: () => T): T {
  try {
    return apply();
  } catch (error) {
    if (error instanceof JsonPatchError) throw new StatusError(rejected(), { cause: error });
    if (error instanceof StrategicPatchError) throw new StatusError(badRequest(error.message), { cause: error });
    throw error;
  }
}

function toRecord(value: unknown): Json {
  if (!isRecord(value)) throw new StatusError(rejected());
  return value;
}
