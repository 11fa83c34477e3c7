// JSON Patch (RFC 6902) on plain JSON. Any operation that does not apply makes the whole patch fail; what the caller says of that is
// the same for all of them, as in kube-apiserver.

import { isJsonEqual } from '../objects/object.ts';
import { isRecord, type Json } from '../objects/fields.ts';

/** The patch cannot be applied to this document, or is none. */
export class JsonPatchError extends Error {}

function segmentsOf(pointer: unknown): string[] {
  if (typeof pointer !== 'string') throw new JsonPatchError('Unable to parse path');
  if (pointer === '') return [];
  if (!pointer.startsWith('/')) throw new JsonPatchError(`Invalid path ${pointer}`);
  return pointer
    .slice(1)
    .split('/')
    .map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function indexOf(list: readonly unknown[], segment: string, isInsert: boolean): number {
  if (segment === '-' && isInsert) return list.length;
  const index = /^(0|[1-9]\d*)$/.test(segment) ? Number(segment) : -1;
  if (index < 0 || index > list.length || (index === list.length && !isInsert)) {
    throw new JsonPatchError(`Unable to access invalid index: ${segment}`);
  }
  return index;
}

function read(document: unknown, segments: readonly string[]): unknown {
  let current = document;
  for (const segment of segments) {
    if (Array.isArray(current)) current = (current as unknown[])[indexOf(current, segment, false)];
    else if (isRecord(current) && Object.hasOwn(current, segment)) current = current[segment];
    else throw new JsonPatchError(`missing path ${segment}`);
  }
  return current;
}

function add(document: unknown, segments: readonly string[], value: unknown): unknown {
  const last = segments.at(-1);
  if (last === undefined) return value;
  const parent = read(document, segments.slice(0, -1));
  if (Array.isArray(parent)) parent.splice(indexOf(parent, last, true), 0, value);
  else if (isRecord(parent) && last !== '__proto__') parent[last] = value;
  else throw new JsonPatchError(`cannot add to ${last}`);
  return document;
}

function remove(document: unknown, segments: readonly string[]): void {
  const last = segments.at(-1);
  if (last === undefined) throw new JsonPatchError('cannot remove the document');
  const parent = read(document, segments.slice(0, -1));
  if (Array.isArray(parent)) parent.splice(indexOf(parent, last, false), 1);
  else if (isRecord(parent) && Object.hasOwn(parent, last)) delete parent[last];
  else throw new JsonPatchError(`Unable to remove nonexistent key: ${last}`);
}

/** A patched copy; `document` stays as it is. @throws JsonPatchError. */
export function applyJsonPatch(document: Json, patch: readonly unknown[]): unknown {
  let result: unknown = structuredClone(document);
  for (const operation of patch) {
    if (!isRecord(operation)) throw new JsonPatchError('Unexpected kind: unknown');
    const path = segmentsOf(operation['path']);
    switch (operation['op']) {
      case 'add':
        result = add(result, path, structuredClone(operation['value']));
        break;
      case 'remove':
        remove(result, path);
        break;
      case 'replace':
        read(result, path);
        if (path.length > 0) remove(result, path);
        result = add(result, path, structuredClone(operation['value']));
        break;
      case 'move': {
        const from = segmentsOf(operation['from']);
        const value = read(result, from);
        remove(result, from);
        result = add(result, path, value);
        break;
      }
      case 'copy':
        result = add(result, path, structuredClone(read(result, segmentsOf(operation['from']))));
        break;
      case 'test':
        if (!isJsonEqual(read(result, path), operation['value'])) throw new JsonPatchError(`testing value failed`);
        break;
      default:
        throw new JsonPatchError('Unexpected kind: unknown');
    }
  }
  return result;
}
