// Two Duplex streams wired back to back, for endpoints under test: bytes by reference, backpressure both ways, half-close, and
// destroy(error) seen by the other side as a connection reset. Nothing in it waits for time.

import { Duplex } from 'node:stream';

export interface DuplexPairOptions {
  /** Of each side's reading and writing buffer; small values make backpressure easy to reach. Default 64 KiB. */
  readonly highWaterMark?: number;
}

class PairEnd extends Duplex {
  other: PairEnd | undefined;
  #writeDone: (() => void) | undefined;

  constructor(highWaterMark: number) {
    super({ allowHalfOpen: true, highWaterMark });
    this.once('end', () => this.#closeIfDone());
    this.once('finish', () => this.#closeIfDone());
  }

  override _read(): void {
    this.other?.continueWriting();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#deliver([chunk], done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.#deliver(
      chunks.map(({ chunk }) => chunk),
      done,
    );
  }

  override _final(done: () => void): void {
    // In the same queue as the bytes, so that it stays behind them.
    process.nextTick(() => {
      this.other?.push(null);
      done();
    });
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const other = this.other;
    this.other = undefined;
    this.#writeDone = undefined;
    if (other !== undefined && !other.destroyed && !(this.writableFinished && this.readableEnded)) {
      // As a kernel does: a side that goes away with a clean FIN behind it just closes, any other way is a reset.
      process.nextTick(() => {
        if (!other.readableEnded || !other.writableFinished) other.destroy(resetError());
      });
    }
    done(error);
  }

  continueWriting(): void {
    const done = this.#writeDone;
    this.#writeDone = undefined;
    done?.();
  }

  /**
   * A tick later, as a socket does: delivered within `_writev`, the other side could write back into this one, and Node's Writable
   * loses what is written to it while its own `_writev` runs.
   */
  #deliver(chunks: readonly Buffer[], done: () => void): void {
    process.nextTick(() => {
      const other = this.other;
      let hasRoom = true;
      for (const chunk of chunks) if (other !== undefined && !other.push(chunk)) hasRoom = false;
      if (hasRoom) done();
      else this.#writeDone = done;
    });
  }

  #closeIfDone(): void {
    if (this.readableEnded && this.writableFinished) this.destroy();
  }
}

function resetError(): Error {
  return Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
}

/** Both ends of one connection in memory. */
export function duplexPair(options: DuplexPairOptions = {}): [Duplex, Duplex] {
  const highWaterMark = options.highWaterMark ?? 64 * 1024;
  const left = new PairEnd(highWaterMark);
  const right = new PairEnd(highWaterMark);
  left.other = right;
  right.other = left;
  return [left, right];
}
