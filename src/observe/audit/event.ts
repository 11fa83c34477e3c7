// An audit.k8s.io/v1 Event as JSON, keys in Go's order, so that whatever reads kube-apiserver's audit log reads kexer's. What is kexer's
// own stands in annotations under `backup.cv.io/`. Pure: everything secret has been taken out of the facts before, by redact.ts.

import type { RequestInfo } from '../../kube/request-info.ts';
import type { Status } from '../../kube/status.ts';
import { goJson } from '../../base/go-json.ts';
import type { UserInfo } from '../../kube/user.ts';
import type { AuditStage } from './policy.ts';

/** Prefix of kexer's annotations. */
export const annotationPrefix = 'backup.cv.io/';

/** What an answer was: its code, and the Status where kexer knows one. */
export interface ResponseFacts {
  readonly code: number;
  readonly status?: Status;
}

/** Everything an event tells; gathered by whoever saw the request. */
export interface EventFacts {
  readonly auditId: string;
  readonly stage: AuditStage;
  /** As received, secrets taken out. */
  readonly requestUri: string;
  readonly method: string;
  readonly info: RequestInfo | undefined;
  readonly user: UserInfo | undefined;
  /** Only one whom kube-apiserver has accepted. */
  readonly impersonatedUser: UserInfo | undefined;
  readonly sourceIps: readonly string[];
  readonly userAgent: string;
  readonly response: ResponseFacts | undefined;
  /** Wall time in milliseconds. */
  readonly receivedAtMs: number;
  readonly stageAtMs: number;
  /** Whole names. */
  readonly annotations: ReadonlyMap<string, string>;
}

/** As kube-apiserver bounds it (maxUserAgentLength). */
const maxUserAgentLength = 1024;
const truncatedSuffix = '...TRUNCATED';

/** One line without its newline. */
export function eventJson(facts: EventFacts): string {
  const { info, user, impersonatedUser, response, annotations } = facts;
  const userAgent = boundedUserAgent(facts.userAgent);
  return goJson({
    kind: 'Event',
    apiVersion: 'audit.k8s.io/v1',
    level: 'Metadata',
    auditID: facts.auditId,
    stage: facts.stage,
    requestURI: facts.requestUri,
    verb: info?.verb ?? facts.method.toLowerCase(),
    user: user === undefined ? {} : userJson(user),
    ...(impersonatedUser === undefined ? {} : { impersonatedUser: userJson(impersonatedUser) }),
    ...(facts.sourceIps.length === 0 ? {} : { sourceIPs: facts.sourceIps }),
    ...(userAgent === '' ? {} : { userAgent }),
    ...(info?.isResourceRequest === true ? { objectRef: objectRef(info) } : {}),
    ...(response === undefined ? {} : { responseStatus: responseStatus(response) }),
    requestReceivedTimestamp: microTime(facts.receivedAtMs),
    stageTimestamp: microTime(facts.stageAtMs),
    ...(annotations.size === 0 ? {} : { annotations: sorted(annotations) }),
  });
}

function userJson(user: UserInfo): object {
  return {
    username: user.name,
    ...(user.uid === '' ? {} : { uid: user.uid }),
    ...(user.groups.length === 0 ? {} : { groups: user.groups }),
    ...(user.extra.size === 0 ? {} : { extra: sorted(user.extra) }),
  };
}

function objectRef(info: RequestInfo): object {
  return {
    resource: info.resource,
    ...(info.namespace === '' ? {} : { namespace: info.namespace }),
    ...(info.name === '' ? {} : { name: info.name }),
    ...(info.apiGroup === '' ? {} : { apiGroup: info.apiGroup }),
    apiVersion: info.apiVersion,
    ...(info.subresource === '' ? {} : { subresource: info.subresource }),
  };
}

function responseStatus({ code, status }: ResponseFacts): object {
  if (status === undefined) return { metadata: {}, code };
  const { message, reason, details } = status;
  return {
    metadata: {},
    status: status.status,
    ...(message === undefined ? {} : { message }),
    ...(reason === undefined ? {} : { reason }),
    ...(details === undefined ? {} : { details }),
    code,
  };
}

/** metav1.MicroTime; the clock counts milliseconds. */
function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}

function boundedUserAgent(userAgent: string): string {
  return userAgent.length <= maxUserAgentLength
    ? userAgent
    : `${userAgent.slice(0, maxUserAgentLength)}${truncatedSuffix}`;
}

/** Go writes maps by the order of their keys. */
function sorted<V>(map: ReadonlyMap<string, V>): Record<string, V> {
  return Object.fromEntries([...map].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
