// What metrics and traces learn of each request: begins with its arrival, sees who calls, which stages it goes through, whether it becomes a
// session, and how it ends. One object a request; nothing is done a byte. What a request is answered by code that takes its socket over is
// learnt where the audit log learns it.

import type { Caller } from '../auth/caller.ts';
import type { Clock } from '../base/clock.ts';
import { statusOf } from '../kube/status.ts';
import type { CallAudit } from '../observe/audit/call-audit.ts';
import type { RequestFacts, RequestMetrics, RunningRequest } from '../observe/metrics/request-metrics.ts';
import type { SessionMetrics } from '../observe/metrics/session-metrics.ts';
import { RequestStages, type StageEnd, type StageName, type StageObserver } from '../observe/stages.ts';
import type { OpenSpan, Tracer } from '../observe/traces/trace.ts';
import { getHeader, type RawHeaders, withoutHeaders } from '../protocol/raw-headers.ts';
import { streamKindOf } from '../streams/kind.ts';

import type { RequestContext } from './request-context.ts';
import { isLongRunning } from './request-limits.ts';

/** A client that left before its answer, as nginx and Caddy write it. */
const clientGoneStatus = 499;

export interface RequestObserverDeps {
  readonly clock: Clock;
  readonly requests: RequestMetrics;
  readonly sessions: SessionMetrics;
  /** Undefined: tracing is off. */
  readonly tracer: Tracer | undefined;
}

export class RequestObserver implements StageObserver {
  readonly #deps: RequestObserverDeps;

  constructor(deps: RequestObserverDeps) {
    this.#deps = deps;
  }

  begin(context: RequestContext): ObservedRequest {
    const { clock, requests, sessions, tracer } = this.#deps;
    const trace = tracer?.begin(context.arrival.headers);
    const stages = new RequestStages({ clock, observer: this, trace });
    return new ObservedRequest({ clock, requests, sessions }, context, stages);
  }

  connectionFailed(): void {
    this.#deps.requests.connectionFailed();
  }

  stageEnded(stage: StageName, durationMs: number, end: StageEnd): void {
    const { requests, sessions } = this.#deps;
    const error = end.isOk ? undefined : end.error;
    if (stage === 'authn') requests.authenticated(durationMs, error);
    else if (stage === 'authz') requests.authorized(durationMs, error);
    else sessions.stageEnded(stage, end);
  }
}

export class ObservedRequest {
  readonly stages: RequestStages;
  readonly #deps: Omit<RequestObserverDeps, 'tracer'>;
  readonly #context: RequestContext;
  /** Of the answer, if code that took the request over gave it. */
  #status: number | undefined;
  #session: OpenSpan | undefined;
  #refusal: { readonly status: number; readonly error: unknown } | undefined;
  #isEnded: boolean;

  constructor(deps: Omit<RequestObserverDeps, 'tracer'>, context: RequestContext, stages: RequestStages) {
    this.stages = stages;
    this.#deps = deps;
    this.#context = context;
    this.#status = undefined;
    this.#session = undefined;
    this.#refusal = undefined;
    this.#isEnded = false;
  }

  /** Somebody was authenticated. */
  identified(caller: Caller): void {
    const leftMs =
      caller.via === 'certificate' && caller.expiresAtMs !== undefined
        ? caller.expiresAtMs - this.#deps.clock.now()
        : undefined;
    this.#deps.requests.user(caller.user.name, leftMs);
    this.stages.trace?.identified(caller.user);
  }

  /** What goes on to the cluster's apiserver: with tracing on, as part of this request's trace and of no other. */
  headers(inbound: RawHeaders): RawHeaders {
    const { trace } = this.stages;
    return trace === undefined
      ? inbound
      : [...withoutHeaders(inbound, 'Traceparent', 'Tracestate'), ...trace.headers()];
  }

  /** How it was refused by the code that serves calls; undefined if it was not, or elsewhere. */
  get refusal(): { readonly status: number; readonly error: unknown } | undefined {
    return this.#refusal;
  }

  /** What is told to the audit record is told here too. */
  audit(record: CallAudit): CallAudit {
    return {
      answered: (answer) => {
        this.#status = answer.status;
        this.#refusal = { status: answer.status, error: undefined };
        record.answered(answer);
      },
      failed: (error) => {
        this.failed(error);
        this.#refusal = { status: this.#status ?? clientGoneStatus, error };
        record.failed(error);
      },
      sessionStarting: async (session) => {
        const recorded = await record.sessionStarting(session);
        this.#sessionStarted(session);
        return {
          ended: (end) => {
            this.#session?.end({ attributes: { 'kexer.session.end': end.cause } });
            recorded.ended(end);
          },
        };
      },
    };
  }

  failed(error: unknown): void {
    this.#status = this.#context.arrival.signal.aborted ? clientGoneStatus : statusOf(error).code;
  }

  /** The response or the socket has closed. @param status of the response; undefined for an upgrade. */
  ended(status: number | undefined): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const { arrival } = this.#context;
    const facts = requestFacts(this.#context);
    const final = status ?? this.#status ?? clientGoneStatus;
    const durationMs = this.#deps.clock.monotonic() - arrival.receivedAtMs;
    this.#deps.requests.ended({ ...facts, status: final, durationMs });
    this.stages.trace?.end(spanName(facts), {
      status: final,
      attributes: {
        'http.request.method': arrival.method,
        'network.protocol.version': arrival.httpVersion,
        'audit-id': arrival.auditId,
        'kexer.request.id': arrival.id,
      },
    });
  }

  #sessionStarted({ id, kind, code }: { readonly id: string; readonly kind: string; readonly code: number }): void {
    this.#status = code;
    this.#deps.sessions.started(
      this.stages.durationsMs,
      this.#deps.clock.monotonic() - this.#context.arrival.receivedAtMs,
    );
    this.#session = this.stages.trace?.begin('session', { 'kexer.session.id': id, 'kexer.session.kind': kind });
  }
}

/** What metrics see of a request that runs. */
export function runningRequest(context: RequestContext): RunningRequest {
  const facts = requestFacts(context);
  return { ...facts, isLongRunning: facts.isStream || (facts.info !== undefined && isLongRunning(facts.info)) };
}

function requestFacts({ arrival, exchange, pathIfKnown: path }: RequestContext): RequestFacts {
  const { method, headers } = arrival;
  return {
    method,
    info: path?.kind === 'cluster' ? path.inner.info : path?.info,
    rawQuery: path?.kind === 'cluster' ? path.inner.rawQuery : '',
    contentType: getHeader(headers, 'Content-Type') ?? '',
    isStream:
      exchange.kind === 'upgrade' ||
      (path?.kind === 'cluster' && streamKindOf({ method, inner: path.inner }) !== undefined),
  };
}

/** As kube-apiserver names its own: the method and the path without names. */
function spanName({ method, info }: RequestFacts): string {
  if (info?.isResourceRequest !== true) return method;
  const { apiPrefix, apiGroup, apiVersion, namespace, resource, name, subresource } = info;
  const parts = [
    apiPrefix,
    apiGroup,
    apiVersion,
    ...(namespace === '' ? [] : ['namespaces', '{:namespace}']),
    resource,
    name === '' ? '' : '{:name}',
    subresource,
  ];
  return `${method} /${parts.filter((part) => part !== '').join('/')}`;
}
