// The trace of one request: a span for the request, one for each of its stages, one for the session it became. Whose trace it is part of is known
// only after authentication, as on kube-apiserver: a caller's traceparent is continued for system:masters and system:monitoring alone, who may
// decide what is sampled; of anybody else's the span here only keeps a link. Spans of a request that is not sampled cost their ids.

import { randomBytes } from 'node:crypto';

import type { Clock } from '../../base/clock.ts';
import { codeOf } from '../../base/errors.ts';
import { statusOf } from '../../kube/status.ts';
import { groupMasters, type UserInfo } from '../../kube/user.ts';
import type { RawHeaders } from '../../protocol/raw-headers.ts';

import { readTraceContext, type TraceContext, writeTraceContext } from './trace-context.ts';

const groupMonitoring = 'system:monitoring';

export type SpanKind = 'internal' | 'server' | 'client';
export type Attributes = Readonly<Record<string, string | number | boolean>>;

/** A span that has ended. Times are milliseconds since the epoch, fractions included. */
export interface FinishedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** '' for the first of its trace. */
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: SpanKind;
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Attributes;
  readonly isError: boolean;
  /** Of a caller that is not trusted with the trace itself. */
  readonly link: TraceContext | undefined;
}

export interface TracerDeps {
  readonly clock: Clock;
  /** Must not throw. */
  readonly onSpan: (span: FinishedSpan) => void;
  /** For tests: so many random bytes. */
  readonly random?: (size: number) => Buffer;
}

export interface TracerOptions {
  /** Of a million requests that are not part of a trusted caller's trace, how many are sampled. */
  readonly samplingRatePerMillion: number;
}

export class Tracer {
  readonly #deps: Required<TracerDeps>;
  readonly #options: TracerOptions;

  constructor(deps: TracerDeps, options: TracerOptions) {
    this.#deps = { random: randomBytes, ...deps };
    this.#options = options;
  }

  /** The trace of a request that has just arrived. */
  begin(headers: RawHeaders): RequestTrace {
    return new RequestTrace(this.#deps, this.#options, readTraceContext(headers));
  }
}

/** What came of a span. */
export interface SpanEnd {
  readonly status?: number | undefined;
  readonly error?: unknown;
  readonly attributes?: Attributes;
}

/** A span under way. */
export interface OpenSpan {
  /** What tells the next server that its work is part of this span. */
  headers(): RawHeaders;
  /** The first call counts. */
  end(end: SpanEnd): void;
}

/** Where the request's span stands. */
interface Place {
  /** As the next server is to see it. */
  readonly context: TraceContext;
  /** '' for the first of its trace. */
  readonly parentSpanId: string;
  readonly link: TraceContext | undefined;
}

/** Traces of which the first eight bytes are below this share of 2^64 are sampled: every service of a trace comes to the same answer. */
const ratioBase = 1_000_000n;

export class RequestTrace {
  readonly #deps: Required<TracerDeps>;
  readonly #options: TracerOptions;
  readonly #inbound: TraceContext | undefined;
  readonly #startMs: number;
  readonly #startMonotonicMs: number;
  readonly #spanId: string;
  #place: Place | undefined;
  /** Ended before it was known whose trace this is. */
  #waiting: Omit<FinishedSpan, 'traceId' | 'parentSpanId'>[];
  #isEnded: boolean;

  constructor(deps: Required<TracerDeps>, options: TracerOptions, inbound: TraceContext | undefined) {
    this.#deps = deps;
    this.#options = options;
    this.#inbound = inbound;
    this.#startMs = deps.clock.now();
    this.#startMonotonicMs = deps.clock.monotonic();
    this.#spanId = this.#id(8);
    this.#place = undefined;
    this.#waiting = [];
    this.#isEnded = false;
  }

  /** Who calls is known. Without this call, nobody is. The first call counts. */
  identified(user: Pick<UserInfo, 'groups'> | undefined): void {
    if (this.#place !== undefined) return;
    this.#place = this.#placeOf(user);
    const { traceId } = this.#place.context;
    for (const span of this.#waiting) this.#give({ ...span, traceId, parentSpanId: this.#spanId });
    this.#waiting = [];
  }

  /** What tells the next server of the request itself. */
  headers(): RawHeaders {
    return writeTraceContext(this.#context());
  }

  /** Of a child of the request. */
  begin(name: string, attributes: Attributes = {}): OpenSpan {
    const spanId = this.#id(8);
    const startMs = this.#nowMs();
    let isOpen = true;
    return {
      headers: () => writeTraceContext({ ...this.#context(), spanId }),
      end: (end) => {
        if (!isOpen) return;
        isOpen = false;
        this.#finish({
          spanId,
          name,
          kind: name === 'authn' || name === 'authz' || name === 'session' ? 'internal' : 'client',
          startMs,
          endMs: this.#nowMs(),
          attributes: { ...attributes, ...attributesOf(end) },
          isError: isError(end),
          link: undefined,
        });
      },
    };
  }

  /** The request is over. The first call counts. */
  end(name: string, end: SpanEnd): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const { context, parentSpanId, link } = this.#placed();
    this.#give({
      traceId: context.traceId,
      spanId: this.#spanId,
      parentSpanId,
      name,
      kind: 'server',
      startMs: this.#startMs,
      endMs: this.#nowMs(),
      attributes: attributesOf(end),
      // As otelhttp: what the client did wrong is no error of the server's.
      isError: end.status !== undefined && end.status >= 500,
      link,
    });
  }

  #placeOf(user: Pick<UserInfo, 'groups'> | undefined): Place {
    const inbound = this.#inbound;
    const isTrusted = user?.groups.some((group) => group === groupMasters || group === groupMonitoring) === true;
    if (inbound !== undefined && isTrusted) {
      return { context: { ...inbound, spanId: this.#spanId }, parentSpanId: inbound.spanId, link: undefined };
    }
    const traceId = this.#id(16);
    const context = { traceId, spanId: this.#spanId, isSampled: this.#isChosen(traceId), state: '' };
    return { context, parentSpanId: '', link: inbound };
  }

  #placed(): Place {
    this.identified(undefined);
    return this.#place ?? this.#placeOf(undefined);
  }

  #context(): TraceContext {
    return this.#placed().context;
  }

  #finish(span: Omit<FinishedSpan, 'traceId' | 'parentSpanId'>): void {
    const place = this.#place;
    if (place === undefined) this.#waiting.push(span);
    else this.#give({ ...span, traceId: place.context.traceId, parentSpanId: this.#spanId });
  }

  #give(span: FinishedSpan): void {
    if (this.#context().isSampled) this.#deps.onSpan(span);
  }

  #isChosen(traceId: string): boolean {
    const rate = BigInt(this.#options.samplingRatePerMillion);
    return BigInt(`0x${traceId.slice(0, 16)}`) * ratioBase < rate << 64n;
  }

  #nowMs(): number {
    return this.#startMs + (this.#deps.clock.monotonic() - this.#startMonotonicMs);
  }

  #id(size: number): string {
    const id = this.#deps.random(size).toString('hex');
    // All zeros mean that there is none.
    return /^0+$/.test(id) ? `${id.slice(1)}1` : id;
  }
}

function attributesOf({ status, error, attributes }: SpanEnd): Attributes {
  return {
    ...attributes,
    ...(status === undefined ? {} : { 'http.response.status_code': status }),
    // Codes alone: texts may quote what nobody should keep.
    ...(error === undefined
      ? {}
      : { 'error.type': codeOf(error) === 'internal' ? String(statusOf(error).code) : codeOf(error) }),
  };
}

function isError({ status, error }: SpanEnd): boolean {
  return error !== undefined || (status !== undefined && status >= 500);
}
