// HTTP/1.1 heads between bytes and values, strictly by RFC 9112: lines end in CRLF, no folding, no whitespace before the colon, no
// control characters in values. What has more than one reading is refused, since two hops that read a head differently are how requests
// are smuggled. Header order, case and repetition are kept; text is latin1, one character a byte.

import { Buffer } from 'node:buffer';
import type { RawHeaders } from './raw-headers.ts';

export interface RequestHead {
  readonly method: string;
  readonly target: string;
  readonly headers: RawHeaders;
  /** The bytes as they came, the empty line included. */
  readonly raw: Buffer;
}

export interface ResponseHead {
  readonly status: number;
  readonly reason: string;
  readonly headers: RawHeaders;
  /** The bytes as they came, the empty line included. */
  readonly raw: Buffer;
}

export interface HeadLimits {
  /** Bytes of the whole head. Kube-apiserver's backends may answer with up to 1 MiB. */
  readonly maxHeadBytes: number;
  readonly maxHeaders: number;
}

export const defaultHeadLimits: HeadLimits = Object.freeze({ maxHeadBytes: 64 * 1024, maxHeaders: 200 });

/** Finds the end of a head in bytes that come in pieces. */
export class HeadCollector {
  constructor(_limits: Partial<HeadLimits> = {}) {
    throw new Error('not written yet');
  }

  /** The head and all bytes after it, or undefined while the head is not whole. @throws KexerError tooLarge */
  acceptChunk(_chunk: Buffer): { raw: Buffer; rest: Buffer } | undefined {
    throw new Error('not written yet');
  }
}

/** @throws KexerError protocol, tooLarge */
export function parseRequestHead(_raw: Buffer, _limits: Partial<HeadLimits> = {}): RequestHead {
  throw new Error('not written yet');
}

/** @throws KexerError protocol, tooLarge */
export function parseResponseHead(_raw: Buffer, _limits: Partial<HeadLimits> = {}): ResponseHead {
  throw new Error('not written yet');
}

/** @throws KexerError protocol if a part would inject bytes (CR, LF, NUL) */
export function encodeRequestHead(_head: { method: string; target: string; headers: RawHeaders }): Buffer {
  throw new Error('not written yet');
}

/** `reason` defaults to the standard phrase. @throws KexerError protocol if a part would inject bytes (CR, LF, NUL) */
export function encodeResponseHead(_head: { status: number; reason?: string; headers: RawHeaders }): Buffer {
  throw new Error('not written yet');
}
