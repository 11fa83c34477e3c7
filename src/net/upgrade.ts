// The client's half of an HTTP/1.1 upgrade on a connected socket: write the request, read the answer's head under a limit and a
// deadline, and lose no byte that came with it. The socket is never written or read beyond that: its next owner finds it as if fresh.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { unreachable } from '../base/unreachable.ts';
import { ChunkedDecoder, responseFraming } from '../protocol/framing.ts';
import {
  defaultHeadLimits,
  encodeRequestHead,
  HeadCollector,
  parseResponseHead,
  type ResponseHead,
} from '../protocol/http-head.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';
import { readUntil, type ReadStop } from './read-until.ts';

export interface UpgradeRequest {
  readonly method: string;
  readonly target: string;
  /** Host, Connection and Upgrade included. */
  readonly headers: RawHeaders;
}

export interface UpgradeOptions {
  readonly timeoutMs: number;
  readonly maxHeadBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock | undefined;
}

export interface UpgradeAnswer {
  readonly head: ResponseHead;
  /** Bytes that came after the head in the same read. */
  readonly rest: Buffer;
}

/** Informational answers (100, 102, 103) before the real one; more is a peer that never comes to the point. */
const maxInformational = 8;

/**
 * Writes the request and reads the response head (any status but 1xx other than 101). Leaves the socket paused, with an error listener
 * that does nothing, and nothing consumed beyond `rest`. On failure the socket is destroyed.
 * @throws KexerError timeout, unreachable (gone before any byte), badGateway (nonsense), tls, clientGone
 */
export async function requestUpgrade(
  socket: Duplex,
  request: UpgradeRequest,
  options: UpgradeOptions,
): Promise<UpgradeAnswer> {
  try {
    // Reading starts first: its error listener must be there before the write can fail.
    const answer = readAnswer(socket, options);
    socket.write(encodeRequestHead(request));
    return await answer;
  } catch (error) {
    socket.destroy();
    if (error instanceof KexerError && (error.code === 'protocol' || error.code === 'tooLarge')) {
      throw new KexerError('badGateway', 'Cannot understand the answer to an upgrade request', { cause: error });
    }
    throw error;
  }
}

function readAnswer(socket: Duplex, options: UpgradeOptions): Promise<UpgradeAnswer> {
  const limits = { maxHeadBytes: options.maxHeadBytes ?? defaultHeadLimits.maxHeadBytes };
  let collector = new HeadCollector(limits);
  let informational = 0;
  let bytesIn = 0;
  const accept = (chunk: Buffer): UpgradeAnswer | undefined => {
    bytesIn += chunk.length;
    let found = collector.acceptChunk(chunk);
    while (found !== undefined) {
      const head = parseResponseHead(found.raw, limits);
      if (head.status === 101 || head.status >= 200) return { head, rest: found.rest };
      informational += 1;
      if (informational > maxInformational) {
        throw new KexerError('protocol', `Cannot read an HTTP head: over ${maxInformational} informational answers`);
      }
      collector = new HeadCollector(limits);
      found = collector.acceptChunk(found.rest);
    }
    return undefined;
  };
  return readUntil(socket, options, accept, (stop) => {
    throw failedAnswer(stop, bytesIn, options);
  });
}

function failedAnswer(stop: ReadStop, bytesIn: number, options: UpgradeOptions): KexerError {
  switch (stop.how) {
    case 'timeout':
      return new KexerError('timeout', `Cannot upgrade: no answer within ${options.timeoutMs} ms`);
    case 'aborted':
      return new KexerError('clientGone', 'Cannot upgrade: cancelled');
    case 'end':
      return new KexerError(
        bytesIn === 0 ? 'unreachable' : 'badGateway',
        `Cannot upgrade: the peer closed the connection after ${bytesIn} bytes of its answer`,
      );
    case 'error':
      // With TLS 1.3 a server judges the client's certificate after the handshake: its alert is the first thing read.
      return new KexerError(
        isAlert(stop.error) ? 'tls' : bytesIn === 0 ? 'unreachable' : 'badGateway',
        'Cannot upgrade: the connection failed before the answer',
        { cause: stop.error },
      );
    default:
      return unreachable(stop);
  }
}

function isAlert(error: Error): boolean {
  return 'code' in error && typeof error.code === 'string' && error.code.startsWith('ERR_SSL_');
}

/**
 * The body of a refusal, by its framing; what exceeds `maxBytes` is cut off, and a body that is cut or late gives what came.
 * The socket is of no further use afterwards (it may stand in the middle of a body): the caller destroys it.
 */
export async function readBody(
  socket: Duplex,
  head: ResponseHead,
  rest: Buffer,
  options: { maxBytes: number; timeoutMs: number; method?: string; clock?: Clock; signal?: AbortSignal },
): Promise<Buffer> {
  const body = new BodyCollector(options.method ?? 'GET', head, options.maxBytes);
  if (body.acceptChunk(rest)) return body.bytes;
  await readUntil<true>(
    socket,
    options,
    (chunk) => (body.acceptChunk(chunk) ? true : undefined),
    () => true,
  );
  return body.bytes;
}

class BodyCollector {
  readonly #parts: Buffer[] = [];
  readonly #chunked: ChunkedDecoder | undefined;
  readonly #wanted: number;
  #length = 0;

  constructor(method: string, head: ResponseHead, maxBytes: number) {
    const framing = responseFraming(method, head);
    this.#chunked = framing.kind === 'chunked' ? new ChunkedDecoder() : undefined;
    this.#wanted =
      framing.kind === 'none' ? 0 : Math.min(maxBytes, framing.kind === 'length' ? framing.length : maxBytes);
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#parts, this.#length);
  }

  /** Whether the body is whole, or as long as it may become. */
  acceptChunk(chunk: Buffer): boolean {
    const pieces = this.#chunked === undefined ? [chunk] : this.#chunked.acceptChunk(chunk);
    for (const piece of pieces) {
      const taken = piece.subarray(0, this.#wanted - this.#length);
      this.#parts.push(taken);
      this.#length += taken.length;
    }
    return this.#chunked?.isDone === true || this.#length >= this.#wanted;
  }
}
