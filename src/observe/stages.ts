// The stages of one call on its way to an answer: authn, authz, preflight, dial, upgrade. Code that does one says so here and nowhere else; from
// that come the histogram of session starts, the counters of outcomes, and with tracing on a span for each. Without tracing it costs two
// readings of the clock a stage and nothing a byte.

import type { Clock } from '../base/clock.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

import type { RequestTrace } from './traces/trace.ts';

export type StageName = 'authn' | 'authz' | 'preflight' | 'dial' | 'upgrade';

/** Asked only when a request goes out: whose trace it is part of is not known before authentication. */
export type TraceHeaders = () => RawHeaders;

export interface CallStages {
  /**
   * Does `work` as one stage; resolves and rejects as it does.
   * @param work gets what gives the headers that tell the next server of the trace; none without tracing.
   * @param outcomeOf what came of it where that is no error, such as the status of a refusal.
   */
  run<T>(stage: StageName, work: (trace: TraceHeaders) => Promise<T>, outcomeOf?: (value: T) => number): Promise<T>;
}

/** Told of each stage that ended. Must not throw. */
export interface StageObserver {
  stageEnded(stage: StageName, durationMs: number, end: StageEnd): void;
}

export type StageEnd =
  | { readonly isOk: true; /** An HTTP status, where the stage has one. */ readonly status: number | undefined }
  | { readonly isOk: false; readonly error: unknown };

const noHeaders: TraceHeaders = () => [];

/** Of calls that nobody observes, as in tests. */
export const noStages: CallStages = Object.freeze({
  run: <T>(_stage: StageName, work: (trace: TraceHeaders) => Promise<T>) => work(noHeaders),
});

export class RequestStages implements CallStages {
  /** Undefined: tracing is off. */
  readonly trace: RequestTrace | undefined;
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #observer: StageObserver;
  readonly #durationsMs: Map<StageName, number>;

  constructor(deps: { clock: Pick<Clock, 'monotonic'>; observer: StageObserver; trace: RequestTrace | undefined }) {
    this.trace = deps.trace;
    this.#clock = deps.clock;
    this.#observer = deps.observer;
    this.#durationsMs = new Map();
  }

  /** So far; a stage that was done twice counts as both together. */
  get durationsMs(): ReadonlyMap<StageName, number> {
    return this.#durationsMs;
  }

  async run<T>(
    stage: StageName,
    work: (trace: TraceHeaders) => Promise<T>,
    outcomeOf?: (value: T) => number,
  ): Promise<T> {
    const startedMs = this.#clock.monotonic();
    const span = this.trace?.begin(stage);
    try {
      const value = await work(span === undefined ? noHeaders : () => span.headers());
      const status = outcomeOf?.(value);
      this.#ended(stage, startedMs, { isOk: true, status });
      span?.end({ status });
      return value;
    } catch (error) {
      this.#ended(stage, startedMs, { isOk: false, error });
      span?.end({ error });
      throw error;
    }
  }

  #ended(stage: StageName, startedMs: number, end: StageEnd): void {
    const durationMs = this.#clock.monotonic() - startedMs;
    this.#durationsMs.set(stage, (this.#durationsMs.get(stage) ?? 0) + durationMs);
    this.#observer.stageEnded(stage, durationMs, end);
  }
}
