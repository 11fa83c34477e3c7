// Where audit events go. A sink takes events as JSON texts and never makes anybody wait: it has a bounded queue, and what does not fit, or
// cannot be delivered, is dropped, counted and told. Whoever must know that an event is safe asks for that, and waits for that alone.

import type { Clock, Timer } from '../../base/clock.ts';

export interface AuditSink {
  readonly name: 'log' | 'webhook';
  /** Takes an event; never blocks and never throws. */
  write(event: string): void;
  /**
   * As `write`; resolves when the event is out of kexer's hands: written to the file, acknowledged by the webhook.
   * @throws KexerError if it is not within some seconds. It may still come to be written.
   */
  writeSafely(event: string): Promise<void>;
  readonly counts: SinkCounts;
  /** Delivers what is queued, for a bounded time, and drops the rest. */
  close(): Promise<void>;
}

/** Events since the start. */
export interface SinkCounts {
  readonly written: number;
  readonly dropped: number;
}

/** Told in words for the log. Must not throw. */
export interface SinkObserver {
  /** Events that no record has, since this was told last; at once for the first, then at most every ten seconds. */
  dropped(sink: AuditSink['name'], count: number, reason: string): void;
  /** A delivery failed and is tried again; once for each stretch of failures. */
  failing(sink: AuditSink['name'], error: unknown): void;
}

const reportIntervalMs = 10_000;

/** Counts drops and tells of them without flooding the log. */
export class DropCounter {
  readonly #clock: Clock;
  readonly #report: (count: number, reason: string) => void;
  #total: number;
  #unreported: number;
  #reason: string;
  #quiet: Timer | undefined;

  constructor(deps: { clock: Clock; report: (count: number, reason: string) => void }) {
    this.#clock = deps.clock;
    this.#report = deps.report;
    this.#total = 0;
    this.#unreported = 0;
    this.#reason = '';
    this.#quiet = undefined;
  }

  get total(): number {
    return this.#total;
  }

  add(count: number, reason: string): void {
    this.#total += count;
    this.#unreported += count;
    this.#reason = reason;
    if (this.#quiet === undefined) this.#tell();
  }

  /** Tells what has not been told yet. */
  close(): void {
    this.#quiet?.cancel();
    this.#quiet = undefined;
    if (this.#unreported > 0) this.#report(this.#unreported, this.#reason);
    this.#unreported = 0;
  }

  #tell(): void {
    this.#report(this.#unreported, this.#reason);
    this.#unreported = 0;
    this.#quiet = this.#clock.after(reportIntervalMs, () => {
      this.#quiet = undefined;
      if (this.#unreported > 0) this.#tell();
    });
  }
}
