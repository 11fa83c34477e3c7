// Bytes that are kept. What is read from a connection comes as slices of whole reads: a few bytes that wait somewhere would hold all that came with
// them, answers of others included, for as long as they wait.

import { Buffer } from 'node:buffer';

/** @returns `bytes`, or a copy with memory of its own where they are less than half of what they stand in. */
export function ownBytes(bytes: Buffer): Buffer {
  if (bytes.length * 2 > bytes.buffer.byteLength) return bytes;
  // Not of a pool, which would be held the same way.
  const own = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(own);
  return own;
}
