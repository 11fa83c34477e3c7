// The audit log: audit.k8s.io/v1 Events of level Metadata as JSON lines, in the stages kube-apiserver writes with its usual
// policy. Written synchronously, so that a test that got its answer finds the line.

import { closeSync, openSync, writeSync } from 'node:fs';

import type { Clock } from '../../../base/clock.ts';
import type { RequestInfo } from '../../../kube/request-info.ts';
import { goJson } from '../../../kube/status.ts';
import type { UserInfo } from '../../../kube/user.ts';
import { kubeMicroTime } from '../objects/object.ts';
import type { Answer, ApiRequest } from './api-request.ts';
import { sortedRecord } from './sorted-record.ts';

export type AuditStage = 'RequestReceived' | 'ResponseStarted' | 'ResponseComplete';

/** Requests that may live long: only these have a ResponseStarted, as in the real one. */
export function isLongRunning(info: RequestInfo): boolean {
  if (!info.isResourceRequest) return false;
  return info.verb === 'watch' || info.verb === 'proxy' || longRunningSubresources.has(info.subresource);
}

const longRunningSubresources = new Set(['attach', 'exec', 'proxy', 'log', 'portforward']);

/** One request's event; the chain fills it in as it learns more. */
export class AuditEvent {
  user: UserInfo | undefined;
  impersonated: UserInfo | undefined;
  constraint = '';
  readonly annotations = new Map<string, string>();
  readonly #log: AuditLog;
  readonly #request: ApiRequest;
  readonly #userAgent: string;

  constructor(log: AuditLog, request: ApiRequest) {
    this.#log = log;
    this.#request = request;
    this.#userAgent = request.header('user-agent') ?? '';
  }

  received(): void {
    this.#write('RequestReceived', undefined);
  }

  started(answer: Answer): void {
    this.#write('ResponseStarted', answer);
  }

  completed(answer: Answer | undefined): void {
    this.#write('ResponseComplete', answer ?? { code: 0 });
  }

  #write(stage: AuditStage, answer: Answer | undefined): void {
    this.#log.write(stage, (nowMs) => this.#json(stage, answer, nowMs));
  }

  #json(stage: AuditStage, answer: Answer | undefined, nowMs: number): unknown {
    const request = this.#request;
    return {
      kind: 'Event',
      apiVersion: 'audit.k8s.io/v1',
      level: 'Metadata',
      auditID: request.auditId,
      stage,
      requestURI: request.rawUrl,
      verb: request.info.verb,
      user: userJson(this.user),
      ...(this.impersonated === undefined ? {} : { impersonatedUser: userJson(this.impersonated) }),
      ...(this.constraint === '' ? {} : { authenticationMetadata: { impersonationConstraint: this.constraint } }),
      sourceIPs: sourceIps(request),
      ...(this.#userAgent === '' ? {} : { userAgent: this.#userAgent }),
      ...(request.info.isResourceRequest ? { objectRef: objectRef(request.info) } : {}),
      ...(answer === undefined ? {} : { responseStatus: responseStatus(answer) }),
      requestReceivedTimestamp: kubeMicroTime(request.receivedAtMs),
      stageTimestamp: kubeMicroTime(nowMs),
      ...(this.annotations.size === 0 ? {} : { annotations: sortedRecord(this.annotations) }),
    };
  }
}

export class AuditLog {
  readonly #clock: Clock;
  readonly #omitted: ReadonlySet<AuditStage>;
  #file: number | undefined;

  constructor(deps: { clock: Clock }, options: { file: string; omitStages?: readonly AuditStage[] }) {
    this.#clock = deps.clock;
    this.#omitted = new Set(options.omitStages);
    this.#file = openSync(options.file, 'a');
  }

  begin(request: ApiRequest): AuditEvent {
    return new AuditEvent(this, request);
  }

  write(stage: AuditStage, build: (nowMs: number) => unknown): void {
    if (this.#file === undefined || this.#omitted.has(stage)) return;
    writeSync(this.#file, `${goJson(build(this.#clock.now()))}\n`);
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}

function userJson(user: UserInfo | undefined): object {
  if (user === undefined) return {};
  return {
    username: user.name,
    ...(user.uid === '' ? {} : { uid: user.uid }),
    ...(user.groups.length === 0 ? {} : { groups: user.groups }),
    ...(user.extra.size === 0 ? {} : { extra: sortedRecord(user.extra) }),
  };
}

/** utilnet.SourceIPs: what X-Forwarded-For and X-Real-Ip say, then the peer, without the repeated last one. */
function sourceIps(request: ApiRequest): string[] {
  const forwarded = request
    .headerValues('x-forwarded-for')
    .flatMap((value) => value.split(','))
    .map((value) => value.trim())
    .filter((value) => value !== '');
  const real = request.header('x-real-ip');
  const ips = [...forwarded, ...(forwarded.length === 0 && real !== undefined ? [real] : [])];
  return ips.at(-1) === request.remoteAddress ? ips : [...ips, request.remoteAddress];
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

function responseStatus({ code, status }: Answer): object {
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
