// The audit record of one request, from its arrival to its end: gathers what the filters and the code that serves the call find out, and
// writes an event at each stage that the policy wants. Ordinary requests have RequestReceived (once the user is known) and
// ResponseComplete, sessions ResponseStarted and ResponseComplete, refusals ResponseComplete. Never refuses a request but by the one
// rule of --audit-strict, and never makes anybody wait otherwise.

import { isIP } from 'node:net';

import { AccessRefused } from '../auth/authorize.ts';
import type { Clock } from '../base/clock.ts';
import type { RequestInfo } from '../kube/request-info.ts';
import { parseStatus } from '../kube/status-parse.ts';
import { type Status, statusOf } from '../kube/status.ts';
import type { UserInfo } from '../kube/user.ts';
import type { AuditLog } from '../observe/audit/audit-log.ts';
import {
  type CallAudit,
  type SessionEndFacts,
  type SessionFacts,
  type SessionRecord,
} from '../observe/audit/call-audit.ts';
import { annotationPrefix, type EventFacts, type ResponseFacts } from '../observe/audit/event.ts';
import type { AuditStage } from '../observe/audit/policy.ts';
import { getAllHeaders, getHeader, trimSpace } from '../protocol/raw-headers.ts';

import type { RequestContext } from './request-context.ts';

/** What the client never waited for; written as the log writes it. */
const clientGoneCode = 499;
/** A command may be as long as a request's head; one line of a log need not. */
const maxAnnotationLength = 8192;

export interface RequestAuditDeps {
  readonly clock: Clock;
  readonly log: AuditLog;
}

export class RequestAudit implements CallAudit {
  readonly #clock: Clock;
  readonly #log: AuditLog;
  readonly #context: RequestContext;
  readonly #receivedAtMs: number;
  readonly #annotations: Map<string, string>;
  #requestUri: string | undefined;
  #answer: ResponseFacts | undefined;
  #isSession: boolean;
  #isRefused: boolean;
  #isComplete: boolean;

  constructor(deps: RequestAuditDeps, context: RequestContext) {
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#context = context;
    this.#receivedAtMs = deps.clock.now();
    this.#annotations = new Map();
    this.#requestUri = undefined;
    this.#answer = undefined;
    this.#isSession = false;
    this.#isRefused = false;
    this.#isComplete = false;
    const { exchange } = context;
    if (exchange.kind === 'request') exchange.response.once('close', () => this.#responseClosed());
  }

  /** The user is known. */
  received(): void {
    this.#record('RequestReceived', undefined);
  }

  async sessionStarting(session: SessionFacts): Promise<SessionRecord> {
    this.#isSession = true;
    const response: ResponseFacts = { code: session.code };
    const annotations = this.#sessionAnnotations(session);
    const facts = this.#factsOf('ResponseStarted', response, annotations);
    try {
      if (facts !== undefined) await this.#log.recordStart(facts);
    } catch (error) {
      this.#isSession = false;
      throw error;
    }
    // A policy that does not want the start may want the end: the record is asked again then.
    return { ended: (end) => this.#sessionEnded(response, annotations, end) };
  }

  answered({ status: code, body }: { readonly status: number; readonly body: Buffer }): void {
    const status = code >= 400 ? parseStatus(body.toString('utf8')) : undefined;
    this.#isRefused = code >= 400;
    this.#answer = status === undefined ? { code } : { code, status: this.#redacted(status) };
    this.#completeUpgrade();
  }

  failed(error: unknown): void {
    const status = this.#context.arrival.signal.aborted ? undefined : statusOf(error);
    const code = status?.code ?? clientGoneCode;
    this.#isRefused = code !== clientGoneCode;
    this.#answer = status === undefined || !this.#isRefused ? { code } : { code, status: this.#redacted(status) };
    if (this.#isRefused) this.#annotate('refused-by', this.#context.stage);
    if (error instanceof AccessRefused) {
      this.#annotations.set('authorization.k8s.io/decision', 'forbid');
      this.#annotations.set('authorization.k8s.io/reason', error.reason);
    }
    this.#completeUpgrade();
  }

  /** An upgrade that was refused has no response that would close. */
  #completeUpgrade(): void {
    if (this.#context.exchange.kind === 'upgrade') this.#complete(this.#answer);
  }

  #responseClosed(): void {
    const { exchange } = this.#context;
    if (this.#isSession || exchange.kind !== 'request') return;
    const { response } = exchange;
    this.#complete(this.#answer ?? { code: response.headersSent ? response.statusCode : clientGoneCode });
  }

  #sessionEnded(response: ResponseFacts, start: ReadonlyMap<string, string>, end: SessionEndFacts): void {
    const annotations = new Map(start);
    const set = (name: string, value: string): void => void annotations.set(`${annotationPrefix}${name}`, value);
    set('end-cause', end.cause);
    set('end-message', end.message);
    if (end.exitCode !== undefined) set('exit-code', String(end.exitCode));
    set('bytes-in', String(end.bytesIn));
    set('bytes-out', String(end.bytesOut));
    set('duration-seconds', (end.durationMs / 1000).toFixed(3));
    this.#complete(response, annotations);
  }

  #sessionAnnotations(session: SessionFacts): Map<string, string> {
    const annotations = new Map<string, string>();
    const command = this.#log.redactor.command(session.command);
    const values: readonly (readonly [name: string, value: string])[] = [
      ['session', session.id],
      ['session-kind', session.kind],
      ['pod-uid', session.podUid],
      ['node', session.node],
      ['container', session.container],
      ['command', command.length === 0 ? '' : bounded(JSON.stringify(command))],
      ['client-protocol', session.clientProtocol],
      ['kubelet-protocol', session.kubeletProtocol],
      ['detour', session.detour ?? ''],
    ];
    for (const [name, value] of values) if (value !== '') annotations.set(`${annotationPrefix}${name}`, value);
    return annotations;
  }

  /** A refusal may quote what it refuses. */
  #redacted(status: Status): Status {
    const { redactor } = this.#log;
    const { message, details, ...rest } = status;
    const causes = details?.causes?.map((cause) =>
      cause.message === undefined ? cause : { ...cause, message: redactor.text(cause.message) },
    );
    return {
      ...rest,
      ...(message === undefined ? {} : { message: redactor.text(message) }),
      ...(details === undefined ? {} : { details: { ...details, ...(causes === undefined ? {} : { causes }) } }),
    };
  }

  #annotate(name: string, value: string): void {
    this.#annotations.set(`${annotationPrefix}${name}`, value);
  }

  /** Once. */
  #complete(response: ResponseFacts | undefined, annotations?: ReadonlyMap<string, string>): void {
    if (this.#isComplete) return;
    this.#isComplete = true;
    this.#record('ResponseComplete', response, annotations);
  }

  #record(stage: AuditStage, response: ResponseFacts | undefined, annotations?: ReadonlyMap<string, string>): void {
    const facts = this.#factsOf(stage, response, annotations ?? new Map());
    if (facts !== undefined) this.#log.record(facts);
  }

  /** Undefined: the policy does not want it. */
  #factsOf(
    stage: AuditStage,
    response: ResponseFacts | undefined,
    annotations: ReadonlyMap<string, string>,
  ): EventFacts | undefined {
    const { arrival, callerIfKnown: caller } = this.#context;
    const info = this.#info();
    const decision = this.#log.decide({
      user: caller?.user,
      info,
      isOwn: this.#context.pathIfKnown?.kind === 'own',
      isSession: this.#isSession,
      isRefused: this.#isRefused,
    });
    // No policy takes the start of a session away where there is to be none without it.
    const isNeeded = stage === 'ResponseStarted' && this.#log.isStrict;
    if (!decision.isRecorded || (decision.omitStages.has(stage) && !isNeeded)) return undefined;
    const { impersonated, requested } = this.#effective(response);
    const all = new Map([...this.#annotations, ...annotations]);
    const cluster = this.#cluster();
    if (cluster !== undefined) all.set(`${annotationPrefix}cluster`, cluster);
    if (requested !== undefined) all.set(`${annotationPrefix}requested-user`, requested.name);
    this.#requestUri ??= this.#log.redactor.target(arrival.rawTarget);
    return {
      auditId: arrival.auditId,
      stage,
      requestUri: this.#requestUri,
      method: arrival.method,
      info,
      user: caller?.user,
      impersonatedUser: impersonated,
      sourceIps: this.#sourceIps(),
      userAgent: getHeader(arrival.headers, 'User-Agent') ?? '',
      response,
      receivedAtMs: this.#receivedAtMs,
      stageAtMs: this.#clock.now(),
      annotations: all,
    };
  }

  /** Of the inner path for a call on a cluster, so that rules and readers find what they know from kube-apiserver. */
  #info(): RequestInfo | undefined {
    const path = this.#context.pathIfKnown;
    return path?.kind === 'cluster' ? path.inner.info : path?.info;
  }

  #cluster(): string | undefined {
    const path = this.#context.pathIfKnown;
    return path?.kind === 'cluster' ? `${path.namespace}/${path.cluster}` : undefined;
  }

  /** Whom the caller became, or only asked to become: of a token's caller nobody knows it until kube-apiserver has taken the call. */
  #effective(response: ResponseFacts | undefined): { impersonated?: UserInfo; requested?: UserInfo } {
    const { identity, acting, callerIfKnown: caller } = this.#context;
    if (acting !== undefined) return acting.isProven ? { impersonated: acting.user } : { requested: acting.user };
    if (identity === undefined || identity.effectiveUser === caller?.user) return {};
    const isTaken = identity.isEffectiveProven || (response !== undefined && response.code < 400);
    return isTaken ? { impersonated: identity.effectiveUser } : { requested: identity.effectiveUser };
  }

  /**
   * The client, then the front proxy. Only the proxy's own word counts: what stands before the last entry came from the client, who may
   * write there what it likes.
   */
  #sourceIps(): string[] {
    const { arrival, callerIfKnown: caller } = this.#context;
    const { remoteAddress } = arrival;
    const peer = remoteAddress === '' ? [] : [remoteAddress];
    if (caller?.via !== 'frontProxy') return peer;
    const last = getAllHeaders(arrival.headers, 'X-Forwarded-For').at(-1)?.split(',').at(-1);
    const client = last === undefined ? '' : trimSpace(last);
    return isIP(client) === 0 || client === remoteAddress ? peer : [client, ...peer];
  }
}

function bounded(text: string): string {
  return text.length <= maxAnnotationLength ? text : `${text.slice(0, maxAnnotationLength)}…`;
}

/** Begins records. */
export class RequestAudits {
  readonly #deps: RequestAuditDeps;

  constructor(deps: RequestAuditDeps) {
    this.#deps = deps;
  }

  /** The first call for a context counts; none does when nothing is recorded at all. */
  begin(context: RequestContext): void {
    if (this.#deps.log.isEnabled) context.audit ??= new RequestAudit(this.#deps, context);
  }
}
