// Every line kexer logs, as a named function: the message is constant, what varies is in fields, and the level follows one policy: 5xx and
// what an operator must repair is an error, 4xx and a client that left is information, what goes well and often is debug. No token and no
// command of a user is ever a field.

import { codeOf } from '../base/errors.ts';

import type { Logger } from './logger.ts';

/** How a request went, whoever answered it. */
export interface RequestEnd {
  readonly id: string;
  readonly method: string;
  /** Path without the query: a query may carry a command or a secret. */
  readonly path: string;
  /** 499 when the client left before an answer. */
  readonly status: number;
  readonly durationMs: number;
  readonly user: string | undefined;
  readonly remoteAddress: string;
  readonly auditId: string;
  readonly err?: unknown;
}

export function requestEnded(log: Logger, end: RequestEnd): void {
  const { err, ...fields } = end;
  const line = err === undefined ? fields : { ...fields, err };
  // A call refused because kexer stops is no failure: its client goes elsewhere.
  if (end.status >= 500 && codeOf(err) !== 'draining') log.error(line, 'request failed');
  else if (end.status >= 400) log.info(line, 'request refused');
  else log.debug(line, 'request served');
}

export function serving(
  log: Logger,
  fields: { address: string; port: number; version: string; startMs: number },
): void {
  log.info(fields, 'serving');
}

/** What kexer must read first has been read; /readyz says ok from now on. */
export function ready(log: Logger): void {
  log.info('ready');
}

export function stopping(log: Logger, fields: { reason: string }): void {
  log.info(fields, 'stopping');
}

/** Readiness is gone and new calls are refused; what runs goes on. */
export function refusing(log: Logger, counts: { sessions: number; calls: number; watches: number }): void {
  log.info(counts, 'refusing new calls');
}

/** Sessions that did not end within the grace period, or for which there is none. */
export function endingSessions(log: Logger, fields: { sessions: number; reason: string }): void {
  log.warn(fields, 'ending sessions');
}

export function stopped(log: Logger): void {
  log.info('stopped');
}

export function certificateReloaded(log: Logger): void {
  log.info('serving certificate reloaded');
}

export function certificateNotReloaded(log: Logger, err: unknown): void {
  log.error({ err }, 'cannot reload the serving certificate; the old one stays in use');
}

export function selfSignedPairUsed(log: Logger, fields: { dir: string }): void {
  log.warn(fields, 'no serving certificate given: using a self-signed one');
}

/** What needs a token of this account is refused until it works; one in hand is used while it lives. */
export function requestedTokenFailed(log: Logger, fields: { account: string; err: unknown }): void {
  log.error(fields, 'no token of a service account; trying again');
}

/** What an informer could not do; it goes on trying. */
export function informerFailed(log: Logger, fields: { informer: string; err: unknown }): void {
  log.warn(fields, 'informer failed; trying again');
}

/** Sessions of deleted pods then end only when their kubelet ends them. */
export function podWatchForbidden(log: Logger, err: unknown): void {
  log.warn({ err }, 'may not watch pods: sessions are not ended when their pod is deleted');
}

/** A part of the ConfigMap with the authorities that cannot be used: callers it would admit are refused. */
export function trustProblem(log: Logger, fields: { problem: string }): void {
  log.error(fields, 'cannot use a part of extension-apiserver-authentication');
}

/** It would name the cluster kexer runs in, which no Secret can. */
export function clusterSecretIgnored(log: Logger, fields: { namespace: string }): void {
  log.warn(fields, 'ignored a cluster Secret named local');
}

export function kubeletCertificateNotReloaded(log: Logger, err: unknown): void {
  log.error({ err }, 'cannot reload the kubelet client certificate; the old one stays in use');
}

/** What a session is, as far as a line tells it: no command and no token. */
interface LoggedSession {
  readonly id: string;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationMs: number;
  readonly subject: {
    readonly kind: string;
    readonly user: { readonly name: string };
    readonly clusterNamespace: string;
    readonly cluster: string;
    readonly namespace: string;
    readonly pod: string;
    readonly container: string;
    readonly node: string;
    readonly clientProtocol: string;
    readonly remoteAddress: string;
    readonly auditId: string;
    readonly detour?: string;
  };
}

interface LoggedEnd {
  readonly cause: string;
  readonly message: string;
  readonly exitCode?: number;
}

/** The lines of every session's start and end. */
export function sessionLines(log: Logger): {
  sessionStarted(session: LoggedSession): void;
  sessionEnded(session: LoggedSession, end: LoggedEnd): void;
} {
  return {
    sessionStarted: (session) => log.info(sessionFields(session), 'session started'),
    sessionEnded: (session, end) => {
      const { bytesIn, bytesOut, durationMs } = session;
      const fields = { ...sessionFields(session), ...end, bytesIn, bytesOut, durationMs: Math.round(durationMs) };
      if (end.cause === 'internal') log.error(fields, 'session ended');
      else log.info(fields, 'session ended');
    },
  };
}

function sessionFields({ id, subject }: LoggedSession): Record<string, string> {
  const { kind, user, cluster, namespace, pod, container, node, clientProtocol, remoteAddress, auditId } = subject;
  const { detour, clusterNamespace } = subject;
  return {
    session: id,
    kind,
    user: user.name,
    // The local cluster is the same one under every namespace.
    cluster: cluster === 'local' ? cluster : `${clusterNamespace}/${cluster}`,
    namespace,
    pod,
    container,
    node,
    clientProtocol,
    remoteAddress,
    auditId,
    ...(detour === undefined ? {} : { detour }),
  };
}

/** By `kubectl delete session` and its like; the session's own line says when it was over. */
export function sessionDeleted(log: Logger, fields: Record<DeletedField, string> & { originalUser?: string }): void {
  log.info(fields, 'session ended by a user');
}

type DeletedField =
  | 'session'
  | 'kind'
  | 'owner'
  | 'namespace'
  | 'pod'
  | 'user'
  | 'replica'
  | 'remoteAddress'
  | 'auditId';

/** As {@link sessionDeleted}, at the kexer that had the session; the other one has judged the user's rights. */
export function sessionEndedForPeer(
  log: Logger,
  fields: { session: string; user: string; originalUser?: string; remoteAddress: string; auditId: string },
): void {
  log.info(fields, 'session ended by a user of another kexer');
}

/** Once until it answers again. @param fields.peer '' if it is not known who the others are. */
export function peerNotAsked(log: Logger, fields: { peer: string; err: unknown }): void {
  log.warn(fields, 'cannot ask another kexer for its sessions');
}

/** What a session stands on: a user, and what they may do. */
interface LoggedRight {
  readonly user: { readonly name: string };
  readonly question: {
    readonly verb: string;
    readonly apiGroup: string;
    readonly resource: string;
    readonly subresource: string;
    readonly namespace: string;
    readonly name: string;
  };
  /** Absent: in kexer's own cluster. */
  readonly there?: { readonly cluster: string };
}

/** The lines about the rights of running sessions; what ends by them has its own line. */
export function rightsLines(log: Logger): {
  unverified(right: LoggedRight, reason: unknown): void;
  refused(right: LoggedRight, sessions: number): void;
} {
  return {
    unverified: (right, err) =>
      log.warn({ ...rightFields(right), err }, 'cannot verify the rights of sessions; they go on'),
    refused: (right, sessions) =>
      log.warn({ ...rightFields(right), sessions }, 'the right of sessions was refused; asking once more'),
  };
}

function rightFields({ user, question, there }: LoggedRight): Record<string, string> {
  const { verb, apiGroup, resource, subresource, namespace, name } = question;
  const where = there === undefined ? {} : { cluster: there.cluster };
  return { ...where, user: user.name, verb, apiGroup, resource, subresource, namespace, name };
}

/** A stream goes by kube-apiserver's own streaming instead of straight to the kubelet. */
export function streamDetoured(log: Logger, fields: Record<DetourField, string>): void {
  log.info(fields, 'stream takes the detour by kube-apiserver');
}

type DetourField =
  | 'id'
  | 'kind'
  | 'reason'
  | 'detail'
  | 'user'
  | 'cluster'
  | 'namespace'
  | 'pod'
  | 'remoteAddress'
  | 'auditId';

/** Audit events that no record has. */
export function auditDropped(log: Logger, fields: { sink: string; count: number; reason: string }): void {
  log.error(fields, 'audit events dropped');
}

/** Events are kept and tried again. */
export function auditFailing(log: Logger, fields: { sink: string; err: unknown }): void {
  log.error(fields, 'cannot deliver audit events');
}

export function auditRotationFailed(log: Logger, err: unknown): void {
  log.error({ err }, 'cannot rotate the audit log; the file stays in use');
}

/** By --audit-strict. */
export function auditRefused(log: Logger, err: unknown): void {
  log.error({ err }, 'session refused: its audit record cannot be written');
}

/** Patterns of audit.redact took too long for a command, of which nothing is shown then. */
export function redactionTooSlow(log: Logger): void {
  log.warn('redaction patterns took too long; the command is not shown');
}

export function connectionFailed(log: Logger, fields: { remoteAddress: string | undefined; err: unknown }): void {
  log.debug(fields, 'connection failed before a request');
}

/** A defect of kexer: something threw where nothing may throw. The process goes on. */
export function defect(log: Logger, fields: { where: string; err: unknown }): void {
  log.error(fields, 'unexpected error');
}
