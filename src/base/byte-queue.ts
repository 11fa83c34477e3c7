// Bytes that have arrived and are not yet taken: a queue of chunks kept by reference, with a count. Nothing is copied unless a
// caller asks for bytes that straddle chunks.

import { Buffer } from 'node:buffer';

export class ByteQueue {
  readonly #chunks: Buffer[] = [];
  #head = 0; // index of the first chunk not yet taken; avoids shifting the array for each chunk
  #length = 0;

  /** Bytes held. */
  get length(): number {
    return this.#length;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /** Takes exactly `count` bytes; copies only if they straddle chunks. `count` must be at most `length`. */
  take(count: number): Buffer {
    if (count > this.#length) throw new RangeError(`Cannot take ${count} bytes: ${this.#length} are held`);
    const first = this.#chunks[this.#head];
    if (first === undefined || count === 0) return Buffer.alloc(0);
    if (first.length >= count) return this.#takeFromFirst(first, count);
    const parts: Buffer[] = [];
    let missing = count;
    while (missing > 0) {
      const part = this.takeUpTo(missing);
      parts.push(part);
      missing -= part.length;
    }
    return Buffer.concat(parts, count);
  }

  /** Takes between 1 and `count` bytes of the first chunk without copying; an empty buffer if nothing is held. */
  takeUpTo(count: number): Buffer {
    const first = this.#chunks[this.#head];
    if (first === undefined) return Buffer.alloc(0);
    return this.#takeFromFirst(first, Math.min(count, first.length));
  }

  clear(): void {
    this.#chunks.length = 0;
    this.#head = 0;
    this.#length = 0;
  }

  #takeFromFirst(first: Buffer, count: number): Buffer {
    this.#length -= count;
    if (count < first.length) {
      this.#chunks[this.#head] = first.subarray(count);
      return first.subarray(0, count);
    }
    this.#head += 1;
    if (this.#head === this.#chunks.length) {
      this.#chunks.length = 0;
      this.#head = 0;
    } else if (this.#head > 64) {
      this.#chunks.splice(0, this.#head);
      this.#head = 0;
    }
    return first;
  }
}
