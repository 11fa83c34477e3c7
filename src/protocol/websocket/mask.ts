// XOR with the 4-byte masking key of RFC 6455, section 5.3. Stdin of every session of a WebSocket passes through here, so it matters.
// Nanoseconds a byte on Node 24: a byte loop 1.5, words of 32 bits 0.14 to 0.24, WebAssembly's vectors 0.02 (mask-memory.ts; only where the
// bytes are in its memory, as what a session reads is).

import type { Buffer } from 'node:buffer';
import { endianness } from 'node:os';

import { sharedMaskMemory, type MaskMemory } from './mask-memory.ts';

/** Below this a byte loop is faster than setting up a word view. */
const minWordBytes = 256;

/** Below this a byte loop is faster than a call into WebAssembly. */
const minVectorBytes = 8;

const isLittleEndian = endianness() === 'LE';

/** A key of four bytes as a word whose low byte is the first, on every machine. */
export function keyWord(key: Uint8Array): number {
  const [first = 0, second = 0, third = 0, fourth = 0] = key;
  return first | (second << 8) | (third << 16) | (fourth << 24);
}

/**
 * XORs `bytes` in place. `phase` (0 to 3) is the offset of its first byte in the frame's payload modulo 4, since the key repeats from there;
 * `key` is four bytes.
 */
export function applyMask(bytes: Buffer, key: Uint8Array, phase: number): void {
  applyKeyWord(bytes, keyWord(key), phase);
}

/** The same with a key from {@link keyWord}. `memory` is for tests: whose bytes are done by WebAssembly. */
export function applyKeyWord(bytes: Buffer, word: number, phase: number, memory: MaskMemory = sharedMaskMemory): void {
  const key = rotated(word, phase);
  const { length } = bytes;
  if (length >= minVectorBytes && memory.holds(bytes) && memory.mask(bytes, key)) return;
  if (length < minWordBytes) {
    maskBytes(bytes, 0, length, key);
    return;
  }
  // Words must be aligned in the underlying ArrayBuffer, where the view starts anywhere.
  const head = -bytes.byteOffset & 3;
  const words = (length - head) >>> 2;
  const tail = head + words * 4;
  maskBytes(bytes, 0, head, key);
  maskWords(new Uint32Array(bytes.buffer, bytes.byteOffset + head, words), nativeWord(rotated(key, head)));
  maskBytes(bytes, tail, length, rotated(key, head)); // words are whole turns of the key
}

/** The key from its byte `phase` on. */
function rotated(word: number, phase: number): number {
  const bits = 8 * phase;
  return (word >>> bits) | (word << (32 - bits)); // for 0 both sides are the word, as JavaScript shifts by 32 as by 0
}

function maskBytes(bytes: Buffer, from: number, to: number, word: number): void {
  let key = word;
  for (let at = from; at < to; at += 1) {
    bytes[at] = (bytes[at] ?? 0) ^ (key & 0xff);
    key = (key >>> 8) | (key << 24);
  }
}

function maskWords(words: Uint32Array, key: number): void {
  const { length } = words;
  const unrolled = length - (length & 7);
  let at = 0;
  for (; at < unrolled; at += 8) {
    words[at] = (words[at] ?? 0) ^ key;
    words[at + 1] = (words[at + 1] ?? 0) ^ key;
    words[at + 2] = (words[at + 2] ?? 0) ^ key;
    words[at + 3] = (words[at + 3] ?? 0) ^ key;
    words[at + 4] = (words[at + 4] ?? 0) ^ key;
    words[at + 5] = (words[at + 5] ?? 0) ^ key;
    words[at + 6] = (words[at + 6] ?? 0) ^ key;
    words[at + 7] = (words[at + 7] ?? 0) ^ key;
  }
  for (; at < length; at += 1) words[at] = (words[at] ?? 0) ^ key;
}

/** In the machine's own byte order. */
function nativeWord(word: number): number {
  if (isLittleEndian) return word;
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}
