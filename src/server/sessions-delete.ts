// What a client says with a DELETE: metav1.DeleteOptions from the body, or from the query where there is none. Of a session only dryRun and the
// preconditions mean something; the rest is checked as kube-apiserver checks it and then let be, since kubectl always sends some of it.

import { isRecord } from '../kube/objects.ts';
import { badRequest, conflict, goJson, invalid, StatusError, unsupportedMediaType } from '../kube/status.ts';
import { getHeader, type RawHeaders } from '../protocol/raw-headers.ts';

import type { Answer } from './answer.ts';
import { type SessionObject, sessionsResource } from './sessions-object.ts';

export interface DeleteOptions {
  readonly isDryRun: boolean;
  /** What the object must have, if anything. */
  readonly uid: string | undefined;
  readonly resourceVersion: string | undefined;
}

const policies: readonly unknown[] = ['Orphan', 'Background', 'Foreground'];

/** @throws StatusError 400, 415, 422 */
export function readDeleteOptions(body: Buffer, headers: RawHeaders, query: URLSearchParams): DeleteOptions {
  const options = body.length === 0 ? optionsOfQuery(query) : optionsOfBody(body, headers);
  const dryRun = textsOf(options['dryRun']);
  const policy = options['propagationPolicy'] ?? '';
  const causes = [
    ...(dryRun.every((value) => value === 'All') ? [] : [unsupported('dryRun', JSON.stringify(dryRun), ['All'])]),
    ...(policy === '' || policies.includes(policy)
      ? []
      : [unsupported('propagationPolicy', JSON.stringify(policy), ['Background', 'Foreground', 'Orphan'])]),
  ];
  if (causes.length > 0) throw new StatusError(invalid({ group: 'meta.k8s.io', kind: 'DeleteOptions' }, '', causes));
  const preconditions = options['preconditions'] ?? {};
  // A condition that cannot be read must not be taken for none.
  if (!isRecord(preconditions)) throw new StatusError(badRequest('preconditions of DeleteOptions is no object'));
  return {
    isDryRun: dryRun.length > 0,
    uid: preconditionOf(preconditions, 'uid'),
    resourceVersion: preconditionOf(preconditions, 'resourceVersion'),
  };
}

function preconditionOf(preconditions: Readonly<Record<string, unknown>>, key: string): string | undefined {
  const value = preconditions[key] ?? undefined;
  if (value === undefined || typeof value === 'string') return value;
  throw new StatusError(badRequest(`preconditions.${key} of DeleteOptions is no string`));
}

/** @throws StatusError 409 in kube-apiserver's words, if the object is not the one that is meant. */
export function checkPreconditions({ metadata }: SessionObject, { uid, resourceVersion }: DeleteOptions): void {
  if (uid !== undefined && uid !== metadata.uid) {
    throw new StatusError(
      conflict(
        sessionsResource,
        metadata.name,
        `the UID in the precondition (${uid}) does not match the UID in record (${metadata.uid}). The object might have been deleted and then recreated`,
      ),
    );
  }
  if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion) {
    throw new StatusError(
      conflict(
        sessionsResource,
        metadata.name,
        `the ResourceVersion in the precondition (${resourceVersion}) does not match the ResourceVersion in record (${metadata.resourceVersion ?? ''}). The object might have been modified`,
      ),
    );
  }
}

/** A Status that says Success and what went; without a code, as kube-apiserver writes it. */
export function deletedAnswer({ metadata }: SessionObject): Answer {
  const { group, resource: kind } = sessionsResource;
  const status = {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: { name: metadata.name, group, kind, uid: metadata.uid },
  };
  return { status: 200, contentType: 'application/json', body: `${goJson(status)}\n` };
}

function optionsOfQuery(query: URLSearchParams): Record<string, unknown> {
  const grace = query.get('gracePeriodSeconds') ?? '';
  if (grace !== '' && !/^-?\d+$/.test(grace)) {
    throw new StatusError(badRequest(`strconv.ParseInt: parsing ${JSON.stringify(grace)}: invalid syntax`));
  }
  return { dryRun: query.getAll('dryRun'), propagationPolicy: query.get('propagationPolicy') ?? '' };
}

function optionsOfBody(body: Buffer, headers: RawHeaders): Record<string, unknown> {
  const [type = ''] = (getHeader(headers, 'Content-Type') ?? 'application/json').split(';');
  if (type.trim().toLowerCase() !== 'application/json') {
    throw new StatusError(unsupportedMediaType(['application/json']));
  }
  let options: unknown;
  try {
    options = JSON.parse(body.toString('utf8'));
  } catch (cause) {
    throw new StatusError(badRequest('the object provided is unrecognized (must be of type DeleteOptions)'), { cause });
  }
  const kind = isRecord(options) ? (options['kind'] ?? 'DeleteOptions') : undefined;
  if (isRecord(options) && kind === 'DeleteOptions') return options;
  throw new StatusError(badRequest('the object provided is unrecognized (must be of type DeleteOptions)'));
}

/** A list of texts without empty ones, as Go reads a `[]string`. @throws StatusError 400 */
function textsOf(value: unknown): string[] {
  const texts: unknown[] = Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
  return texts.flatMap((text) => {
    if (typeof text !== 'string') throw new StatusError(badRequest('dryRun of DeleteOptions is no list of strings'));
    return text === '' ? [] : [text];
  });
}

function unsupported(
  field: string,
  value: string,
  supported: readonly string[],
): { reason: string; message: string; field: string } {
  const values = supported.map((text) => JSON.stringify(text)).join(', ');
  const message = `Unsupported value: ${value}: supported values: ${values}`;
  return { reason: 'FieldValueNotSupported', message, field };
}
