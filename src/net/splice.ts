// Two duplex streams joined byte for byte.

import type { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

export interface SpliceOptions {
  /** Bytes already read from `b` that `a` gets first. */
  readonly headToA?: Buffer;
  /** Bytes already read from `a` that `b` gets first. */
  readonly headToB?: Buffer;
}

export interface SpliceEnd {
  readonly bytesToA: number;
  readonly bytesToB: number;
  /** Undefined: both directions ended in order. */
  readonly error?: Error;
  /** Which side failed first. */
  readonly failedSide?: 'a' | 'b';
}

/** Joins until both directions ended or one side failed (then both are destroyed). A half-close travels. Never rejects. */
export function splice(_a: Duplex, _b: Duplex, _options: SpliceOptions = {}): Promise<SpliceEnd> {
  throw new Error('not written yet');
}
