// metav1.Status: what every Kubernetes error looks like on the wire, with the texts of k8s.io/apimachinery/pkg/api/errors. The one
// place that turns an error of ours into an answer. Key order is Go's field order, so that bytes equal kube-apiserver's.

import { codeOf, describeError, type ErrorCode } from '../base/errors.ts';
import { goJson } from '../base/go-json.ts';
import type { UserInfo } from './user.ts';

export interface StatusCause {
  readonly reason?: string;
  readonly message?: string;
  readonly field?: string;
}

export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly StatusCause[];
  readonly retryAfterSeconds?: number;
}

/** A Failure (or, rarely, Success) as kube-apiserver writes it; `code` is the HTTP status. */
export interface Status {
  readonly kind: 'Status';
  readonly apiVersion: 'v1';
  readonly metadata: Record<string, unknown>;
  readonly status: 'Success' | 'Failure';
  readonly message?: string;
  readonly reason?: string;
  readonly details?: StatusDetails;
  readonly code: number;
}

/** A failure with fields in wire order; absent ones are left out, as Go's `omitempty` does. */
export function failure(code: number, reason: string, message: string, details?: StatusDetails): Status {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    ...(message === '' ? {} : { message }),
    ...(reason === '' ? {} : { reason }),
    ...(details === undefined ? {} : { details }),
    code,
  };
}

/** What a resource is called in messages: `pods`, or `deployments.apps` when it has a group (schema.GroupResource.String). */
export interface GroupResource {
  readonly group: string;
  readonly resource: string;
}

function groupResourceText({ group, resource }: GroupResource): string {
  return group === '' ? resource : `${resource}.${group}`;
}

function detailsOf({ group, resource }: GroupResource, name?: string, extra?: Partial<StatusDetails>): StatusDetails {
  return {
    ...(name === undefined || name === '' ? {} : { name }),
    ...(group === '' ? {} : { group }),
    ...(resource === '' ? {} : { kind: resource }),
    ...extra,
  };
}

export function badRequest(message: string): Status {
  return failure(400, 'BadRequest', message);
}

export function unauthorized(): Status {
  return failure(401, 'Unauthorized', 'Unauthorized');
}

/** `RESOURCE "NAME" is forbidden: REASON`; without a name `RESOURCE is forbidden: REASON` (errors.NewForbidden). */
export function forbidden(what: GroupResource, name: string, reason: string): Status {
  const resource = groupResourceText(what);
  const subject =
    resource === '' ? 'forbidden' : name === '' ? `${resource} is forbidden` : `${resource} "${name}" is forbidden`;
  return failure(403, 'Forbidden', `${subject}: ${reason}`, detailsOf(what, name));
}

/** What the authorizer refused, in the terms of RequestInfo. */
export interface DeniedAction {
  readonly isResourceRequest: boolean;
  readonly path: string;
  readonly verb: string;
  readonly apiGroup: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
}

/** The 403 of the authorization filter: responsewriters.Forbidden and forbiddenMessage. `reason` is the authorizer's, may be ''. */
export function forbiddenAction(user: UserInfo, action: DeniedAction, reason = ''): Status {
  const who = `User "${user.name}" cannot ${action.verb}`;
  const why = reason === '' ? '' : `: ${reason}`;
  if (!action.isResourceRequest) {
    return failure(403, 'Forbidden', `forbidden: ${who} path "${action.path}"${why}`, {});
  }
  const resource = action.subresource === '' ? action.resource : `${action.resource}/${action.subresource}`;
  const scope = action.namespace === '' ? 'at the cluster scope' : `in the namespace "${action.namespace}"`;
  return forbidden(
    { group: action.apiGroup, resource: action.resource },
    action.name,
    `${who} resource "${resource}" in API group "${action.apiGroup}" ${scope}${why}`,
  );
}

export function notFound(what: GroupResource, name: string): Status {
  return failure(404, 'NotFound', `${groupResourceText(what)} "${name}" not found`, detailsOf(what, name));
}

/** For a path or resource that is not served, with the body kube-apiserver gives inside a known group version. */
export function unknownResource(): Status {
  return failure(404, 'NotFound', 'the server could not find the requested resource', {});
}

export function methodNotAllowed(): Status {
  return failure(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', {});
}

export function notAcceptable(accepted: readonly string[]): Status {
  const message = `only the following media types are accepted: ${accepted.join(', ')}`;
  return failure(406, 'NotAcceptable', message, {});
}

export function alreadyExists(what: GroupResource, name: string): Status {
  return failure(409, 'AlreadyExists', `${groupResourceText(what)} "${name}" already exists`, detailsOf(what, name));
}

export function conflict(what: GroupResource, name: string, reason: string): Status {
  const message = `Operation cannot be fulfilled on ${groupResourceText(what)} "${name}": ${reason}`;
  return failure(409, 'Conflict', message, detailsOf(what, name));
}

export function expired(message: string): Status {
  return failure(410, 'Expired', message);
}

export function tooLarge(message: string): Status {
  return failure(413, 'RequestEntityTooLarge', message);
}

export function unsupportedMediaType(accepted: readonly string[]): Status {
  const message = `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`;
  return failure(415, 'UnsupportedMediaType', message);
}

/** 422; `causes` carry the field errors, the message joins them as field.ErrorList does. */
export function invalid(what: { group: string; kind: string }, name: string, causes: readonly StatusCause[]): Status {
  const kind = what.group === '' ? what.kind : `${what.kind}.${what.group}`;
  const texts = causes.map((cause) => (cause.field === undefined ? cause.message : `${cause.field}: ${cause.message}`));
  const joined = texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`;
  return failure(422, 'Invalid', `${kind} "${name}" is invalid: ${joined}`, {
    ...(name === '' ? {} : { name }),
    ...(what.group === '' ? {} : { group: what.group }),
    ...(what.kind === '' ? {} : { kind: what.kind }),
    causes,
  });
}

export function tooManyRequests(message: string, retryAfterSeconds: number): Status {
  return failure(429, 'TooManyRequests', message, { retryAfterSeconds });
}

export function internalError(text: string): Status {
  return failure(500, 'InternalError', `Internal error occurred: ${text}`, { causes: [{ message: text }] });
}

/** A bad gateway has no reason of its own in metav1; like kube-apiserver's dial errors it has none. */
export function badGateway(message: string): Status {
  return failure(502, '', message);
}

export function serviceUnavailable(message: string, retryAfterSeconds?: number): Status {
  return failure(
    503,
    'ServiceUnavailable',
    message,
    retryAfterSeconds === undefined ? undefined : { retryAfterSeconds },
  );
}

export function timeout(message: string): Status {
  return failure(504, 'Timeout', `Timeout: ${message}`);
}

/** Seconds a client is asked to wait when an upstream or kexer itself is away for the moment. */
const awayRetryAfterSeconds = 1;

const statusMakers: Record<ErrorCode, (message: string) => Status> = {
  badRequest,
  unauthenticated: unauthorized,
  forbidden: (message) => failure(403, 'Forbidden', message),
  notFound: (message) => failure(404, 'NotFound', message),
  clientGone: (message) => failure(499, '', message), // logged, never sent: nobody is there
  overLimit: (message) => tooManyRequests(message, awayRetryAfterSeconds),
  tooLarge,
  protocol: badRequest,
  unreachable: (message) => serviceUnavailable(message, awayRetryAfterSeconds),
  tls: badGateway,
  badGateway,
  timeout,
  cut: badGateway,
  draining: (message) => serviceUnavailable(message, awayRetryAfterSeconds),
  config: internalError,
  internal: internalError,
};

/** An error that already is an answer: thrown where the right Status is known, sent as it is. */
export class StatusError extends Error {
  readonly status: Status;

  constructor(status: Status, options?: ErrorOptions) {
    super(status.message ?? status.reason ?? `status ${status.code}`, options);
    this.name = 'StatusError';
    this.status = status;
  }
}

/** The answer for any thrown value. Text of errors that are not ours stays out of it: it may name files or addresses. */
export function statusOf(error: unknown): Status {
  if (error instanceof StatusError) return error.status;
  const code = codeOf(error);
  if (code === 'internal' || code === 'config') return internalError('see the log of kexer for the cause');
  return statusMakers[code](describeError(error));
}

/** The body bytes of a Status as kube-apiserver writes them: compact JSON, Go's HTML escapes, and a newline. */
export function encodeStatus(status: Status): Buffer {
  return Buffer.from(`${goJson(status)}\n`);
}

export { goJson };
