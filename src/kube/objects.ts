// Kubernetes objects as JSON: the few checks that everybody needs before looking further.

import { KexerError } from '../base/errors.ts';

/** An object as JSON gives it; the fields that every reader needs are checked. */
export interface KubeObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly resourceVersion?: string;
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
}

export function isKubeObject(value: unknown): value is KubeObject {
  if (!isRecord(value) || !isRecord(value['metadata'])) return false;
  const { name, namespace, resourceVersion } = value['metadata'];
  return typeof name === 'string' && name !== '' && isTextOrAbsent(namespace) && isTextOrAbsent(resourceVersion);
}

/** `name`, or `namespace/name`. */
export function keyOf({ metadata }: KubeObject): string {
  return metadata.namespace === undefined || metadata.namespace === ''
    ? metadata.name
    : `${metadata.namespace}/${metadata.name}`;
}

export interface ListPage {
  readonly items: readonly KubeObject[];
  readonly resourceVersion: string;
  /** The token of the next page; '' on the last. */
  readonly next: string;
}

/** A page of a list. @throws KexerError badGateway if it is none: half a list must not look like a whole one. */
export function readList(value: unknown): ListPage {
  if (!isRecord(value) || !isRecord(value['metadata'])) throw notAList('it has no metadata');
  const { resourceVersion, continue: next } = value['metadata'];
  // Go writes an empty list as null in some old types.
  const items = value['items'] ?? [];
  if (!Array.isArray(items) || !items.every(isKubeObject)) throw notAList('items are no objects');
  if (typeof resourceVersion !== 'string') throw notAList('it has no resourceVersion');
  return { items, resourceVersion, next: typeof next === 'string' ? next : '' };
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isTextOrAbsent(value: unknown): boolean {
  return value === undefined || typeof value === 'string';
}

function notAList(reason: string): KexerError {
  return new KexerError('badGateway', `Cannot use the apiserver's list: ${reason}`);
}
