// Sends spans to a collector in batches. Never makes anybody wait: the queue is bounded, and what does not fit or cannot be delivered is dropped
// and counted. Bounds are those of OpenTelemetry's BatchSpanProcessor.

import type { Clock, Timer } from '../../base/clock.ts';
import { KexerError } from '../../base/errors.ts';

import { otlpJson, type Resource } from './otlp.ts';
import type { FinishedSpan } from './trace.ts';

const maxQueued = 2048;
const maxBatch = 512;
const delayMs = 5000;
/** Pauses before the second and third try; what the collector may say itself goes first. */
const pausesMs = [1000, 5000] as const;
const maxPauseMs = 30_000;
/** OTLP/HTTP: everything else is a final answer. */
const retriable = new Set([429, 502, 503, 504]);

export interface SpanExporterDeps {
  readonly clock: Clock;
  /** One POST of JSON; rejects if there was no answer. */
  readonly post: (body: Buffer) => Promise<{ readonly status: number; readonly retryAfterSeconds: number | undefined }>;
  /** The first failure since the last success. Must not throw. */
  readonly onError: (error: unknown) => void;
}

export class SpanExporter {
  readonly #deps: SpanExporterDeps;
  readonly #resource: Resource;
  #queue: FinishedSpan[];
  #timer: Timer | undefined;
  #sending: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #isClosed: boolean;
  #isFailing: boolean;
  #exported: number;
  #dropped: number;

  constructor(deps: SpanExporterDeps, resource: Resource) {
    this.#deps = deps;
    this.#resource = resource;
    this.#queue = [];
    this.#timer = undefined;
    this.#sending = undefined;
    this.#wake = undefined;
    this.#isClosed = false;
    this.#isFailing = false;
    this.#exported = 0;
    this.#dropped = 0;
  }

  counts(): { readonly exported: number; readonly dropped: number } {
    return { exported: this.#exported, dropped: this.#dropped };
  }

  add(span: FinishedSpan): void {
    if (this.#isClosed || this.#queue.length >= maxQueued) {
      this.#dropped += 1;
      return;
    }
    this.#queue.push(span);
    if (this.#queue.length >= maxBatch) this.#send();
    else this.#timer ??= this.#deps.clock.after(delayMs, () => this.#send());
  }

  /** Sends what is queued, once each, and drops the rest. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wake?.();
    this.#send();
    await this.#sending;
  }

  #send(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#sending ??= this.#drain().finally(() => {
      this.#sending = undefined;
    });
  }

  /** Never rejects. */
  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, maxBatch);
      if (await this.#deliver(Buffer.from(otlpJson(batch, this.#resource)))) this.#exported += batch.length;
      else this.#dropped += batch.length;
    }
  }

  async #deliver(body: Buffer): Promise<boolean> {
    for (const pauseMs of [...pausesMs, undefined]) {
      let waitMs = pauseMs;
      try {
        const { status, retryAfterSeconds } = await this.#deps.post(body);
        if (status >= 200 && status < 300) {
          this.#isFailing = false;
          return true;
        }
        this.#failed(new KexerError('badGateway', `Cannot export spans: the collector answered ${status}`));
        if (!retriable.has(status)) return false;
        if (retryAfterSeconds !== undefined && pauseMs !== undefined) waitMs = retryAfterSeconds * 1000;
      } catch (error) {
        this.#failed(error);
      }
      if (waitMs === undefined || this.#isClosed) return false;
      await this.#pause(Math.min(waitMs, maxPauseMs));
    }
    return false;
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#deps.clock.after(ms, resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  #failed(error: unknown): void {
    if (!this.#isFailing) this.#deps.onError(error);
    this.#isFailing = true;
  }
}
