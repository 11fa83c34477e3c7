// What delimits the body of an HTTP/1.1 message that came in (RFC 9112, section 6.3); what goes out is framed anew by its writer
// (kube/transport.ts, net/http-answer.ts). Anything two readers could delimit differently (both Content-Length and Transfer-Encoding, repeated or odd lengths, chunked
// not last) is refused: forwarded, it would be a second request hidden in a body.

import { Buffer } from 'node:buffer';
import { KexerError, type ErrorCode } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { getAllHeaders, type RawHeaders } from './raw-headers.ts';

export type RequestFraming =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly length: number }
  | { readonly kind: 'chunked' };
export type ResponseFraming = RequestFraming | { readonly kind: 'untilClose' };

export interface FramedRequest {
  readonly headers: RawHeaders;
  /** Node's `req.httpVersion`: 1.0, 1.1, 2.0. */
  readonly httpVersion: string;
  /** HTTP/2: no body follows the head. */
  readonly isEndOfStream?: boolean;
}

/**
 * The framing of a request that came in. In HTTP/2 DATA frames delimit the body, and `chunked` means a body of unknown length.
 * @throws KexerError badRequest
 */
export function requestFraming(request: FramedRequest): RequestFraming {
  const encodings = getAllHeaders(request.headers, 'Transfer-Encoding');
  const length = contentLength(request.headers, 'badRequest');
  if (request.httpVersion.startsWith('2')) {
    if (encodings.length > 0) throw refused('badRequest', 'a Transfer-Encoding header in HTTP/2');
    if (request.isEndOfStream !== true) return length === undefined ? { kind: 'chunked' } : { kind: 'length', length };
    if (length !== undefined && length > 0) throw refused('badRequest', `Content-Length ${length} without a body`);
    return length === undefined ? { kind: 'none' } : { kind: 'length', length };
  }
  if (encodings.length === 0) return length === undefined ? { kind: 'none' } : { kind: 'length', length };
  if (length !== undefined) throw refused('badRequest', 'both Content-Length and Transfer-Encoding');
  if (request.httpVersion !== '1.1') throw refused('badRequest', `Transfer-Encoding in HTTP/${request.httpVersion}`);
  // No Kubernetes client sends another coding, and two hops may differ on whether they know it.
  if (!isChunked(encodings)) {
    throw refused('badRequest', `Transfer-Encoding ${quote(encodings.join(', '), 80)}, want chunked alone`);
  }
  return { kind: 'chunked' };
}

/** The framing of a response to a request by `method`. @throws KexerError protocol */
export function responseFraming(method: string, head: { status: number; headers: RawHeaders }): ResponseFraming {
  if (method === 'HEAD' || head.status < 200 || head.status === 204 || head.status === 304) return { kind: 'none' };
  const encodings = getAllHeaders(head.headers, 'Transfer-Encoding');
  const length = contentLength(head.headers, 'protocol');
  if (encodings.length === 0) return length === undefined ? { kind: 'untilClose' } : { kind: 'length', length };
  if (length !== undefined) throw refused('protocol', 'both Content-Length and Transfer-Encoding');
  if (!isChunked(encodings)) {
    throw refused('protocol', `Transfer-Encoding ${quote(encodings.join(', '), 80)}, want chunked alone`);
  }
  return { kind: 'chunked' };
}

function isChunked(encodings: readonly string[]): boolean {
  return encodings.length === 1 && encodings[0]?.toLowerCase() === 'chunked';
}

/** Digits only (no sign, no list, no blank); at most once, even if equal: RFC 9112 allows equal copies, no honest client sends them. */
function contentLength(headers: RawHeaders, code: ErrorCode): number | undefined {
  const values = getAllHeaders(headers, 'Content-Length');
  const [value] = values;
  if (value === undefined) return undefined;
  if (values.length > 1) throw refused(code, `${values.length} Content-Length headers`);
  const length = /^[0-9]{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(length)) throw refused(code, `Content-Length ${quote(value, 80)}`);
  return length;
}

function refused(code: ErrorCode, offence: string): KexerError {
  return new KexerError(code, `Cannot tell where the body ends: the message has ${offence}`);
}

/** A chunk-size line or trailer line longer than this is an attack on our memory. */
const maxLineBytes = 8192;
const maxTrailerBytes = 65_536;

type ChunkedState = 'size' | 'data' | 'dataEnd' | 'trailer' | 'done';

/**
 * Bytes of a chunked body (RFC 9112, section 7.1), incrementally; payload pieces by reference.
 *
 *     chunk   = 1*HEXDIG [ ; extensions ] CRLF data CRLF
 *     body    = *chunk "0" CRLF *( trailer CRLF ) CRLF
 */
export class ChunkedDecoder {
  #state: ChunkedState = 'size';
  #missing = 0;
  #line = '';
  #trailerBytes = 0;
  #rest: Buffer = Buffer.alloc(0);

  /** Whether the last chunk and its trailers were read. */
  get isDone(): boolean {
    return this.#state === 'done';
  }

  /** What came after the body's end in the chunk that held it. */
  get rest(): Buffer {
    return this.#rest;
  }

  /** The payload pieces in `chunk`. @throws KexerError protocol, tooLarge */
  acceptChunk(chunk: Buffer): Buffer[] {
    const pieces: Buffer[] = [];
    let at = 0;
    while (at < chunk.length && this.#state !== 'done') {
      if (this.#state === 'data') {
        const piece = chunk.subarray(at, at + this.#missing);
        pieces.push(piece);
        at += piece.length;
        this.#missing -= piece.length;
        if (this.#missing === 0) this.#state = 'dataEnd';
        continue;
      }
      const newline = chunk.indexOf(0x0a, at);
      const end = newline === -1 ? chunk.length : newline + 1;
      this.#line += chunk.toString('latin1', at, end);
      at = end;
      if (this.#line.length > maxLineBytes)
        throw new KexerError('tooLarge', 'Cannot read a chunked body: a line is too long');
      if (newline !== -1) this.#acceptLine();
    }
    if (this.#state === 'done' && at < chunk.length) this.#rest = chunk.subarray(at);
    return pieces;
  }

  #acceptLine(): void {
    const line = this.#line;
    this.#line = '';
    if (!line.endsWith('\r\n')) throw malformed(line);
    const text = line.slice(0, -2);
    switch (this.#state) {
      case 'size':
        this.#acceptSize(text);
        return;
      case 'dataEnd':
        if (text !== '') throw malformed(text);
        this.#state = 'size';
        return;
      default:
        // Trailers are dropped: nothing here knows a meaning for one.
        this.#trailerBytes += line.length;
        if (this.#trailerBytes > maxTrailerBytes) {
          throw new KexerError('tooLarge', 'Cannot read a chunked body: too many trailers');
        }
        if (text === '') this.#state = 'done';
    }
  }

  #acceptSize(text: string): void {
    const match = /^([0-9A-Fa-f]{1,13})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?$/.exec(text);
    if (match === null) throw malformed(text);
    this.#missing = Number.parseInt(match[1] ?? '', 16);
    this.#state = this.#missing === 0 ? 'trailer' : 'data';
  }
}

function malformed(seen: string): KexerError {
  return new KexerError('protocol', `Cannot read a chunked body: ${quote(seen, 80)} where a chunk's border must be`);
}
