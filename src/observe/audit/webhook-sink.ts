// The audit webhook: batches of events as an EventList, as kube-apiserver's batching backend sends them. A bounded buffer, one batch under way
// at a time, so that order is kept; failures that may pass are tried five times with growing pauses, then the batch is dropped and counted.
// An event that must be safe is sent at once, and cuts a pause short, though never to more than one try a second.

import { Buffer } from 'node:buffer';

import type { Clock, Timer } from '../../base/clock.ts';
import { codeOf, KexerError } from '../../base/errors.ts';
import { type AuditSink, DropCounter, type SinkCounts, type SinkObserver } from './sink.ts';

export interface WebhookOptions {
  /** Events that wait; the next one is dropped. */
  readonly bufferSize: number;
  /** Events in one request; so many are sent at once. */
  readonly maxBatchSize: number;
  /** How long an event waits for others. */
  readonly maxWaitMs: number;
  readonly initialBackoffMs: number;
}

/** Sends one request with this JSON body. */
export type PostEvents = (body: Buffer) => Promise<{ readonly status: number }>;

interface Entry {
  readonly event: string;
  readonly waiter: { resolve(): void; reject(error: Error): void } | undefined;
}

/** As apimachinery's webhook back-off: five tries, each pause half as long again, a fifth of jitter. */
const maxTries = 5;
const backoffFactor = 1.5;
const backoffJitter = 0.2;
const minPauseMs = 1000;
const safeWithinMs = 10_000;
const closeWithinMs = 10_000;

export class WebhookSink implements AuditSink {
  readonly name = 'webhook';
  readonly #clock: Clock;
  readonly #post: PostEvents;
  readonly #random: () => number;
  readonly #observer: SinkObserver;
  readonly #options: WebhookOptions;
  readonly #drops: DropCounter;
  #queue: Entry[];
  /** How many from the front of the queue need not wait for more. */
  #due: number;
  #waitTimer: Timer | undefined;
  #sending: Promise<void> | undefined;
  /** Ends the pause between two tries, if there is one. */
  #endPause: (() => void) | undefined;
  #pausedSinceMs: number;
  #written: number;
  #isFailing: boolean;
  #isClosed: boolean;
  #isGivenUp: boolean;

  constructor(
    deps: { clock: Clock; post: PostEvents; observer: SinkObserver; random?: () => number },
    options: WebhookOptions,
  ) {
    this.#clock = deps.clock;
    this.#post = deps.post;
    this.#random = deps.random ?? Math.random;
    this.#observer = deps.observer;
    this.#options = options;
    this.#drops = new DropCounter({
      clock: deps.clock,
      report: (count, reason) => deps.observer.dropped('webhook', count, reason),
    });
    this.#queue = [];
    this.#due = 0;
    this.#waitTimer = undefined;
    this.#sending = undefined;
    this.#endPause = undefined;
    this.#pausedSinceMs = 0;
    this.#written = 0;
    this.#isFailing = false;
    this.#isClosed = false;
    this.#isGivenUp = false;
  }

  get counts(): SinkCounts {
    return { written: this.#written, dropped: this.#drops.total };
  }

  write(event: string): void {
    if (!this.#add({ event, waiter: undefined })) return;
    if (this.#queue.length - this.#due >= this.#options.maxBatchSize) this.#sendQueued();
    else this.#waitTimer ??= this.#clock.after(this.#options.maxWaitMs, () => this.#sendQueued());
  }

  writeSafely(event: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(safeWithinMs, () => {
        reject(new KexerError('timeout', `Cannot reach the audit webhook: no answer within ${safeWithinMs} ms`));
      });
      const settle = (run: () => void): void => {
        timer.cancel();
        run();
      };
      const waiter = {
        resolve: () => settle(resolve),
        reject: (error: Error) => settle(() => reject(error)),
      };
      if (!this.#add({ event, waiter })) {
        waiter.reject(new KexerError('overLimit', 'Cannot reach the audit webhook: its buffer is full'));
        return;
      }
      this.#sendQueued();
      this.#hurry();
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#sendQueued();
    this.#endPause?.();
    if (this.#sending !== undefined) {
      const limit = Promise.withResolvers<void>();
      const timer = this.#clock.after(closeWithinMs, () => limit.resolve());
      await Promise.race([this.#sending, limit.promise]);
      timer.cancel();
    }
    this.#isGivenUp = true;
    this.#drop(this.#queue, 'kexer ended before they were sent', new KexerError('draining', 'kexer is ending'));
    this.#queue = [];
    this.#drops.close();
  }

  #add(entry: Entry): boolean {
    if (this.#isClosed || this.#queue.length >= this.#options.bufferSize) {
      this.#drops.add(1, this.#isClosed ? 'kexer is ending' : 'the buffer of the audit webhook is full');
      return false;
    }
    this.#queue.push(entry);
    return true;
  }

  /** Everything that is queued now need not wait any more. */
  #sendQueued(): void {
    this.#waitTimer?.cancel();
    this.#waitTimer = undefined;
    this.#due = this.#queue.length;
    if (this.#due > 0) this.#sending ??= this.#sendDue();
  }

  /** Never rejects. */
  async #sendDue(): Promise<void> {
    while (this.#due > 0 && !this.#isGivenUp) {
      const batch = this.#queue.splice(0, Math.min(this.#due, this.#options.maxBatchSize));
      this.#due -= batch.length;
      await this.#deliver(batch);
    }
    this.#sending = undefined;
  }

  async #deliver(batch: readonly Entry[]): Promise<void> {
    const body = eventList(batch);
    for (let tried = 1; ; tried += 1) {
      const failure = await this.#try(body);
      if (failure === undefined) {
        this.#isFailing = false;
        this.#written += batch.length;
        for (const { waiter } of batch) waiter?.resolve();
        return;
      }
      // Whoever waits is told now: a user does not want to wait for the next try. The events stay.
      for (const { waiter } of [...batch, ...this.#queue]) waiter?.reject(failure.error);
      if (!failure.mayPass || tried === maxTries || this.#isClosed) {
        this.#drop(batch, 'the audit webhook did not take them', failure.error);
        return;
      }
      if (!this.#isFailing) {
        this.#isFailing = true;
        this.#observer.failing('webhook', failure.error);
      }
      const backoffMs = this.#options.initialBackoffMs * backoffFactor ** (tried - 1);
      await this.#pause(backoffMs * (1 + this.#random() * backoffJitter));
    }
  }

  async #try(body: Buffer): Promise<{ readonly error: Error; readonly mayPass: boolean } | undefined> {
    try {
      const { status } = await this.#post(body);
      if (status >= 200 && status <= 299) return undefined;
      const error = new KexerError('badGateway', `Cannot deliver audit events: the webhook answered ${status}`);
      return { error, mayPass: status === 429 || status >= 500 };
    } catch (error) {
      const isOurs = codeOf(error) === 'internal' || codeOf(error) === 'config';
      return { error: error instanceof Error ? error : new Error(String(error)), mayPass: !isOurs };
    }
  }

  /** What is dropped is told with the last error, since only that says what to repair. */
  #drop(batch: readonly Entry[], reason: string, error: Error): void {
    if (batch.length === 0) return;
    if (!this.#isFailing) this.#observer.failing('webhook', error);
    this.#isFailing = true;
    this.#drops.add(batch.length, reason);
    for (const { waiter } of batch) waiter?.reject(error);
  }

  #pause(ms: number): Promise<void> {
    this.#pausedSinceMs = this.#clock.monotonic();
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel();
        // A late call for this pause must not end the next one.
        if (this.#endPause === end) this.#endPause = undefined;
        resolve();
      };
      const timer = this.#clock.after(ms, end);
      this.#endPause = end;
    });
  }

  /** Somebody waits: the next try comes now, or a second after the last one. */
  #hurry(): void {
    const end = this.#endPause;
    if (end === undefined) return;
    const leftMs = this.#pausedSinceMs + minPauseMs - this.#clock.monotonic();
    if (leftMs <= 0) end();
    else this.#clock.after(leftMs, end);
  }
}

function eventList(batch: readonly Entry[]): Buffer {
  const items = batch.map(({ event }) => event).join(',');
  return Buffer.from(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[${items}]}\n`);
}
