// metav1.ListOptions from the query of a list or watch: selectors, paging, where to start. Values that Go could not parse are 400
// with Go's text.

import { Buffer } from 'node:buffer';
import { parseFieldSelector, type SelectableFields } from './field-selector.ts';
import { parseLabelSelector } from './label-selector.ts';
import { isRecord } from './objects.ts';
import { isTrue } from './request-info.ts';
import { badRequest, failure, invalid, StatusError } from './status.ts';

export type ObjectPredicate<T> = (object: T) => boolean;

/** What is read of an object besides the fields of its kind. */
export interface Labelled {
  readonly metadata: { readonly labels?: Readonly<Record<string, string>> };
}

/** What a server knows of a resource, by which a query is judged. */
export interface ListRules<T> {
  readonly fields: SelectableFields<T>;
  readonly isWatch: boolean;
  /** Whether a watch may begin with what is there, in the place of a list (WatchList). */
  readonly hasWatchList: boolean;
}

export interface ListOptions<T> {
  /** undefined: everything matches. */
  readonly matches: ObjectPredicate<T> | undefined;
  readonly limit: number;
  readonly continueToken: ContinueToken | undefined;
  /** As sent; '' if absent. */
  readonly resourceVersion: string;
  readonly timeoutSeconds: number | undefined;
  readonly isWatch: boolean;
  readonly allowsBookmarks: boolean;
  /** undefined if absent. */
  readonly sendsInitialEvents: boolean | undefined;
}

/** Where a paged list goes on: after the key `start`, in the state of `revision` (-1: in whatever state is there now). */
export interface ContinueToken {
  readonly revision: number;
  readonly start: string;
}

/** The token as apiserver's storage makes it: `start` is the last key with a NUL behind it. */
export function encodeContinue({ revision, start }: ContinueToken): string {
  const token = { v: 'meta.k8s.io/v1', rv: revision, start: `/${start}\0` };
  return Buffer.from(JSON.stringify(token)).toString('base64url');
}

function decodeContinue(token: string): ContinueToken {
  const refuse = (reason: string): StatusError => new StatusError(badRequest(`continue key is not valid: ${reason}`));
  let decoded: unknown;
  try {
    decoded = JSON.parse(Buffer.from(token, 'base64url').toString());
  } catch (error) {
    throw refuse(error instanceof Error ? error.message : '');
  }
  if (!isRecord(decoded) || decoded['v'] !== 'meta.k8s.io/v1')
    throw refuse('server does not recognize this encoded version ""');
  const { rv, start } = decoded;
  if (typeof rv !== 'number' || typeof start !== 'string' || !start.startsWith('/')) throw refuse('incorrect encoding');
  return { revision: rv, start: start.slice(1).replace(/\0$/, '') };
}

function parseInteger(query: URLSearchParams, name: string): number | undefined {
  const value = query.get(name);
  if (value === null || value === '') return undefined;
  if (!/^[-+]?\d+$/.test(value)) {
    throw new StatusError(badRequest(`strconv.ParseInt: parsing ${JSON.stringify(value)}: invalid syntax`));
  }
  return Number(value);
}

function checkVersions(
  query: URLSearchParams,
  { isWatch, hasWatchList }: Pick<ListRules<never>, 'isWatch' | 'hasWatchList'>,
): void {
  const version = query.get('resourceVersion') ?? '';
  const match = query.get('resourceVersionMatch') ?? '';
  const initial = query.get('sendInitialEvents');
  const refuse = (field: string, message: string): StatusError =>
    new StatusError(
      invalid({ group: 'meta.k8s.io', kind: 'ListOptions' }, '', [
        { reason: 'FieldValueForbidden', message: `Forbidden: ${message}`, field },
      ]),
    );
  if (version !== '' && !/^\d+$/.test(version)) {
    throw new StatusError(
      invalid({ group: 'meta.k8s.io', kind: 'ListOptions' }, '', [
        {
          reason: 'FieldValueInvalid',
          message: `Invalid value: ${JSON.stringify(version)}: strconv.ParseUint: parsing ${JSON.stringify(version)}: invalid syntax`,
          field: 'resourceVersion',
        },
      ]),
    );
  }
  if (initial !== null && isWatch) {
    if (match !== 'NotOlderThan') {
      throw refuse('resourceVersionMatch', 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan');
    }
    if (hasWatchList) return;
    // By this a client knows that it has to list.
    throw refuse(
      'sendInitialEvents',
      'sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled',
    );
  }
  if (match === '') return;
  if (isWatch)
    throw refuse(
      'resourceVersionMatch',
      'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided',
    );
  if (version === '')
    throw refuse('resourceVersionMatch', 'resourceVersionMatch is forbidden unless resourceVersion is provided');
}

/** @throws StatusError 400 or 422. */
export function parseListOptions<T extends Labelled>(query: URLSearchParams, rules: ListRules<T>): ListOptions<T> {
  const { isWatch } = rules;
  const labels = parseLabelSelector(query.get('labelSelector'));
  const fields = parseFieldSelector(query.get('fieldSelector'), rules.fields);
  checkVersions(query, rules);
  const token = query.get('continue') ?? '';
  const resourceVersion = query.get('resourceVersion') ?? '';
  if (token !== '' && resourceVersion !== '' && resourceVersion !== '0') {
    throw new StatusError(badRequest('specifying resource version is not allowed when using continue'));
  }
  const initial = query.get('sendInitialEvents');
  return {
    matches:
      labels === undefined && fields === undefined
        ? undefined
        : (object) => (labels?.(object.metadata.labels ?? {}) ?? true) && (fields?.(object) ?? true),
    limit: parseInteger(query, 'limit') ?? 0,
    continueToken: token === '' ? undefined : decodeContinue(token),
    resourceVersion,
    timeoutSeconds: parseInteger(query, 'timeoutSeconds'),
    isWatch,
    allowsBookmarks: isTrue(query.get('allowWatchBookmarks')),
    sendsInitialEvents: initial === null ? undefined : isTrue(initial),
  };
}

/** The answer to a version that lies in the future. */
export function tooLargeVersion(wanted: string, current: string): StatusError {
  const message = `Timeout: Too large resource version: ${wanted}, current: ${current}`;
  return new StatusError(
    failure(504, 'Timeout', message, {
      causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
      retryAfterSeconds: 1,
    }),
  );
}
