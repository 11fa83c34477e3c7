// The audit log as JSON lines in a file or on standard output. Events are queued and written by one writer, whole lines in order: an error
// keeps them and is tried again, from the very byte where it stopped, so that no line is torn or written twice.

import { Buffer } from 'node:buffer';

import type { Clock } from '../../base/clock.ts';
import { KexerError } from '../../base/errors.ts';
import type { ByteTarget } from './rotating-file.ts';
import { type AuditSink, DropCounter, type SinkCounts, type SinkObserver } from './sink.ts';

/** Who has to know that a line is written: told when its last byte is, or when the next write fails. */
interface Waiter {
  written(): void;
  failed(error: unknown): void;
}

interface Line {
  readonly bytes: Buffer;
  readonly waiter: Waiter | undefined;
}

/** A disk that stands still for minutes fills this; a busy kexer writes some kilobytes a second. */
const maxQueuedBytes = 16 * 1024 * 1024;
const maxBatchBytes = 256 * 1024;
/** A pipe that is full, a disk that is. */
const retryDelayMs = 1000;
const busyDelayMs = 50;
const safeWithinMs = 5000;
const closeWithinMs = 5000;

export class LogSink implements AuditSink {
  readonly name = 'log';
  readonly #clock: Clock;
  readonly #target: ByteTarget;
  readonly #observer: SinkObserver;
  readonly #drops: DropCounter;
  readonly #givenUp = Promise.withResolvers<void>();
  #queue: Line[];
  #queuedBytes: number;
  #written: number;
  #writing: Promise<void> | undefined;
  /** Ends the pause between two tries, if there is one. */
  #endPause: () => void;
  #isFailing: boolean;
  #isClosed: boolean;
  #isGivenUp: boolean;

  constructor(deps: { clock: Clock; target: ByteTarget; observer: SinkObserver }) {
    this.#clock = deps.clock;
    this.#target = deps.target;
    this.#observer = deps.observer;
    this.#drops = new DropCounter({
      clock: deps.clock,
      report: (count, reason) => deps.observer.dropped('log', count, reason),
    });
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#written = 0;
    this.#writing = undefined;
    this.#endPause = () => {};
    this.#isFailing = false;
    this.#isClosed = false;
    this.#isGivenUp = false;
  }

  get counts(): SinkCounts {
    return { written: this.#written, dropped: this.#drops.total };
  }

  write(event: string): void {
    this.#add(event, undefined);
  }

  writeSafely(event: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(safeWithinMs, () => {
        reject(new KexerError('timeout', `Cannot write the audit log: nothing was written within ${safeWithinMs} ms`));
      });
      const waiter: Waiter = {
        written: () => {
          timer.cancel();
          resolve();
        },
        failed: (cause) => {
          timer.cancel();
          reject(new KexerError('internal', 'Cannot write the audit log', { cause }));
        },
      };
      if (this.#add(event, waiter)) return;
      timer.cancel();
      reject(new KexerError('overLimit', 'Cannot write the audit log: its queue is full'));
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#writing !== undefined) {
      const timer = this.#clock.after(closeWithinMs, () => this.#giveUp());
      await Promise.race([this.#writing, this.#givenUp.promise]);
      timer.cancel();
    }
    if (this.#queue.length > 0) this.#drops.add(this.#queue.length, 'kexer ended before they were written');
    this.#drops.close();
    // A write that hangs still has the file; the process that ends closes it.
    if (!this.#isGivenUp) await this.#target.close();
  }

  #giveUp(): void {
    this.#isGivenUp = true;
    this.#endPause();
    this.#givenUp.resolve();
  }

  #add(event: string, waiter: Waiter | undefined): boolean {
    const bytes = Buffer.from(`${event}\n`);
    if (this.#isClosed || this.#queuedBytes + bytes.length > maxQueuedBytes) {
      this.#drops.add(1, this.#isClosed ? 'kexer is ending' : 'the queue of the audit log is full');
      return false;
    }
    this.#queue.push({ bytes, waiter });
    this.#queuedBytes += bytes.length;
    this.#writing ??= this.#writeAll();
    return true;
  }

  /** Never rejects. */
  async #writeAll(): Promise<void> {
    // A turn later, so that events of one turn go out in one write.
    await Promise.resolve();
    while (this.#queue.length > 0 && !this.#isGivenUp) await this.#writeBatch();
    this.#writing = undefined;
  }

  async #writeBatch(): Promise<void> {
    if ((this.#queue[0]?.bytes.length ?? 0) > this.#target.room) await this.#target.rotate();
    const { room } = this.#target;
    let count = 0;
    let size = 0;
    for (const { bytes } of this.#queue) {
      // A line that is longer than a whole file still has to go somewhere.
      if (count > 0 && size + bytes.length > Math.min(room, maxBatchBytes)) break;
      size += bytes.length;
      count += 1;
    }
    const batch = this.#queue.slice(0, count);
    const bytes = Buffer.concat(
      batch.map((line) => line.bytes),
      size,
    );
    if (!(await this.#writeBytes(bytes))) return;
    // Taken out only now: until they are written they count against the bound, and a close that gives up counts them as lost.
    this.#queue.splice(0, count);
    this.#queuedBytes -= size;
    this.#written += count;
    for (const { waiter } of batch) waiter?.written();
  }

  /** @returns false if it was given up. */
  async #writeBytes(bytes: Buffer): Promise<boolean> {
    let offset = 0;
    while (offset < bytes.length) {
      if (this.#isGivenUp) return false;
      try {
        offset += await this.#target.write(bytes.subarray(offset));
        this.#isFailing = false;
      } catch (error) {
        const isBusy = error instanceof Error && 'code' in error && error.code === 'EAGAIN';
        if (!isBusy && !this.#isFailing) {
          this.#isFailing = true;
          this.#observer.failing('log', error);
        }
        // The lines stay; a user does not want to wait for the next try.
        if (!isBusy) for (const { waiter } of this.#queue) waiter?.failed(error);
        await this.#pause(isBusy ? busyDelayMs : retryDelayMs);
      }
    }
    return true;
  }

  /** Nothing of a pause is left when it is over: a disk that stays full for days has a hundred thousand a day. */
  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel();
        this.#endPause = () => {};
        resolve();
      };
      const timer = this.#clock.after(ms, end);
      this.#endPause = end;
    });
  }
}
