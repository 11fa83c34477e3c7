// A socket that reads as a tapped one does at its worst: every read, cut at random sizes, is given in one buffer shared by all such sockets,
// which is overwritten as soon as the call returns. What it is given to write it looks at late, when the memory may have been used again.
// So whoever keeps a reference into either, instead of a copy, shows other bytes than those that were sent.

import { Buffer } from 'node:buffer';
import { Duplex } from 'node:stream';

import { ByteQueue } from '../../../src/base/byte-queue.ts';
import { ReadTap } from '../../../src/net/read-tap.ts';
import { sharedMaskMemory } from '../../../src/protocol/websocket/mask-memory.ts';

const poison = 0xee;

/** The very memory that sockets are read into, so that what is masked is masked as there. */
const scratch = sharedMaskMemory.bytes.fill(poison);

/** Numbers from 0 to below 1, the same for the same seed (mulberry32). */
export type Random = () => number;

export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function randomBytesOf(random: Random, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 1) bytes[at] = Math.floor(random() * 256);
  return bytes;
}

/** Sizes of reads: often a byte or a few, at times a whole record of TLS. */
export function cutSize(random: Random): number {
  const kind = random();
  if (kind < 0.2) return 1;
  if (kind < 0.6) return 1 + Math.floor(random() * 40);
  return 1 + Math.floor(random() * 16 * 1024);
}

/** Gives `bytes` to `accept` in pieces whose memory holds something else right after each call. */
export function givePoisoned(random: Random, bytes: Buffer, accept: (piece: Buffer) => void): void {
  for (let at = 0; at < bytes.length;) {
    const count = bytes.copy(scratch, 0, at, at + Math.min(cutSize(random), scratch.length));
    accept(scratch.subarray(0, count));
    scratch.fill(poison, 0, count);
    at += count;
  }
}

export class PoisonedSocket extends Duplex {
  /** As sockets do: what was written is its writer's again when the write is done. */
  readonly isWriteConsumer = true;
  readonly #inner: Duplex;
  readonly #random: Random;
  readonly #tap: ReadTap;
  readonly #queue: ByteQueue;
  #isFull: boolean;
  #isPumping: boolean;
  #hasInnerEnded: boolean;

  constructor(inner: Duplex, random: Random) {
    super({ allowHalfOpen: true });
    this.#inner = inner;
    this.#random = random;
    this.#queue = new ByteQueue();
    this.#isFull = false;
    this.#isPumping = false;
    this.#hasInnerEnded = false;
    this.#tap = new ReadTap();
    this.#tap.attach(this);
    inner.on('data', (chunk: Buffer) => {
      this.#queue.push(Buffer.from(chunk));
      this.#pump();
    });
    inner.on('end', () => {
      this.#hasInnerEnded = true;
      this.#pump();
    });
    inner.on('error', (error) => this.destroy(error));
    inner.on('close', () => this.destroy());
  }

  override pause(): this {
    this.#inner.pause();
    return super.pause();
  }

  override resume(): this {
    super.resume();
    process.nextTick(() => this.#pump());
    return this;
  }

  override _read(): void {
    this.#isFull = false;
    process.nextTick(() => this.#pump());
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    setImmediate(() => {
      if (this.#inner.destroyed || this.#inner.write(Buffer.from(chunk))) done();
      else this.#inner.once('drain', done);
    });
  }

  override _final(done: () => void): void {
    this.#inner.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#inner.destroy();
    done(error);
  }

  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    // What TLS has decrypted comes even after a pause, so now and then it does here.
    while (this.#queue.length > 0 && !this.destroyed && !this.#isFull && (!this.isPaused() || this.#random() < 0.3)) {
      const bytes = this.#queue.take(Math.min(cutSize(this.#random), this.#queue.length));
      bytes.copy(scratch);
      const hasRoom = this.#tap.give(scratch.subarray(0, bytes.length));
      scratch.fill(poison, 0, bytes.length);
      if (!hasRoom) this.#isFull = true;
    }
    this.#isPumping = false;
    if (this.destroyed || this.readableEnded) return;
    if (this.#queue.length > 0) this.#inner.pause();
    else if (this.#hasInnerEnded) this.push(null);
    else if (!this.isPaused()) this.#inner.resume();
  }
}
