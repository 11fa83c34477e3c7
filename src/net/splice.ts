// Two duplex streams joined byte for byte, for upgrades whose protocol is not ours to read. Backpressure and half-close travel; when one
// side fails, the other is destroyed, so that a cut never looks like an end. Written out instead of two `pipeline()`s: those destroy
// both streams when the first direction is done, which would cut the other one's tail.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

import { PauseCount } from '../base/pause-count.ts';
import { ignoreErrors } from './ignore-errors.ts';

export interface SpliceOptions {
  /** Bytes already read from `b` that `a` gets first. */
  readonly headToA?: Buffer | undefined;
  /** Bytes already read from `a` that `b` gets first. */
  readonly headToB?: Buffer | undefined;
  /** Called for every chunk, with its length; for activity clocks and byte counts while the splice runs. */
  readonly onBytes?: ((to: 'a' | 'b', length: number) => void) | undefined;
  /** Called once both sides are joined, with what holds the reading of each beside backpressure. */
  readonly onJoined?: ((readers: { readonly a: PauseCount; readonly b: PauseCount }) => void) | undefined;
}

export interface SpliceEnd {
  readonly bytesToA: number;
  readonly bytesToB: number;
  /** Undefined: both directions ended in order. */
  readonly error: Error | undefined;
  /** Which side failed first. */
  readonly failedSide: 'a' | 'b' | undefined;
}

/** Joins until both directions ended or one side failed (then both are destroyed). Never rejects. */
export function splice(a: Duplex, b: Duplex, options: SpliceOptions = {}): Promise<SpliceEnd> {
  return new Promise((resolve) => {
    new Splice(a, b, options, resolve).start();
  });
}

class Splice {
  readonly #a: Duplex;
  readonly #b: Duplex;
  readonly #options: SpliceOptions;
  readonly #onEnd: (end: SpliceEnd) => void;
  readonly #forget: (() => void)[] = [];
  #bytesToA = 0;
  #bytesToB = 0;
  #open = 2; // directions whose last byte has not been handed to the system
  #isDone = false;

  constructor(a: Duplex, b: Duplex, options: SpliceOptions, onEnd: (end: SpliceEnd) => void) {
    this.#a = a;
    this.#b = b;
    this.#options = options;
    this.#onEnd = onEnd;
  }

  start(): void {
    // For good, before anything else: a late reset of a socket that is already done with must not end the process.
    ignoreErrors(this.#a);
    ignoreErrors(this.#b);
    this.#watch(this.#a, 'a');
    this.#watch(this.#b, 'b');
    this.#send('a', this.#options.headToA);
    this.#send('b', this.#options.headToB);
    const readers = { a: new PauseCount(this.#a), b: new PauseCount(this.#b) };
    this.#pump(this.#a, this.#b, 'b', readers.a);
    this.#pump(this.#b, this.#a, 'a', readers.b);
    if (!this.#isDone) this.#options.onJoined?.(readers);
  }

  #listen(stream: Duplex, event: string, run: (argument: unknown) => void): void {
    stream.on(event, run);
    this.#forget.push(() => stream.off(event, run));
  }

  #watch(stream: Duplex, side: 'a' | 'b'): void {
    this.#listen(stream, 'error', (error) =>
      this.#finish(error instanceof Error ? error : new Error(String(error)), side),
    );
    this.#listen(stream, 'close', () => {
      // A socket closes in order only after it has ended both ways.
      if (stream.readableEnded && stream.writableFinished) return;
      this.#finish(stream.errored ?? new Error('the connection was closed'), side);
    });
    if (stream.destroyed) this.#finish(stream.errored ?? new Error('the connection was closed'), side);
  }

  #send(to: 'a' | 'b', bytes: Buffer | undefined): boolean {
    if (bytes === undefined || bytes.length === 0 || this.#isDone) return true;
    if (to === 'a') this.#bytesToA += bytes.length;
    else this.#bytesToB += bytes.length;
    this.#options.onBytes?.(to, bytes.length);
    return (to === 'a' ? this.#a : this.#b).write(bytes);
  }

  #pump(from: Duplex, to: Duplex, side: 'a' | 'b', reader: PauseCount): void {
    if (this.#isDone) return;
    const end = (): void => {
      to.end();
    };
    this.#listen(to, 'finish', () => {
      this.#open -= 1;
      if (this.#open === 0) this.#finish(undefined, undefined);
    });
    this.#listen(from, 'end', end);
    if (from.readableEnded) {
      end();
      return;
    }
    let isBackedUp = false;
    const pause = (): void => {
      if (!isBackedUp) reader.pause();
      isBackedUp = true;
    };
    this.#listen(to, 'drain', () => {
      if (isBackedUp) reader.resume();
      isBackedUp = false;
    });
    this.#listen(from, 'data', (chunk) => {
      if (Buffer.isBuffer(chunk) && !this.#send(side, chunk)) pause();
    });
    if (to.writableNeedDrain) pause();
    else from.resume();
  }

  #finish(error: Error | undefined, failedSide: 'a' | 'b' | undefined): void {
    if (this.#isDone) return;
    this.#isDone = true;
    for (const forget of this.#forget) forget();
    this.#a.destroy();
    this.#b.destroy();
    this.#onEnd({ bytesToA: this.#bytesToA, bytesToB: this.#bytesToB, error, failedSide });
  }
}
