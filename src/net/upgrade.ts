// The client's half of an HTTP/1.1 upgrade on a connected socket.

import type { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import type { ResponseHead } from '../protocol/http-head.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

export interface UpgradeRequest {
  readonly method: string;
  readonly target: string;
  /** Host, Connection and Upgrade included. */
  readonly headers: RawHeaders;
}

export interface UpgradeOptions {
  readonly timeoutMs: number;
  readonly maxHeadBytes?: number;
  readonly signal?: AbortSignal;
}

/**
 * Writes the request and reads the response head (any status but 1xx other than 101). Leaves the socket paused, with an error listener
 * that does nothing, and nothing consumed beyond `rest`. On failure the socket is destroyed.
 * @throws KexerError timeout, unreachable (gone before any byte), badGateway (nonsense), clientGone
 */
export function requestUpgrade(
  _socket: Duplex,
  _request: UpgradeRequest,
  _options: UpgradeOptions,
): Promise<{ head: ResponseHead; rest: Buffer }> {
  throw new Error('not written yet');
}

/** The body of a refusal, by its framing; what exceeds `maxBytes` is cut off. Never rejects for a cut body: gives what came. */
export function readBody(
  _socket: Duplex,
  _head: ResponseHead,
  _rest: Buffer,
  _options: { maxBytes: number; timeoutMs: number; method?: string },
): Promise<Buffer> {
  throw new Error('not written yet');
}
