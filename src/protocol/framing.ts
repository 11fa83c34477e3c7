// What delimits the body of an HTTP/1.1 message (RFC 9112, section 6.3), and the one place that writes framing headers of outgoing
// messages. Anything two readers could delimit differently (both Content-Length and Transfer-Encoding, repeated or odd lengths, chunked
// not last) is refused: forwarded, it would be a second request hidden in a body.

import type { Buffer } from 'node:buffer';
import type { RawHeaders } from './raw-headers.ts';

export type RequestFraming =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly length: number }
  | { readonly kind: 'chunked' };
export type ResponseFraming = RequestFraming | { readonly kind: 'untilClose' };

/**
 * The framing of a request that came in. For HTTP/2 pass `isEndOfStream` (no body follows the head): there DATA frames delimit the
 * body, and `chunked` means a body of unknown length. @throws KexerError badRequest
 */
export function requestFraming(_request: {
  headers: RawHeaders;
  httpVersion: string;
  isEndOfStream?: boolean;
}): RequestFraming {
  throw new Error('not written yet');
}

/** The framing of a response to a request by `method`. @throws KexerError protocol */
export function responseFraming(_method: string, _head: { status: number; headers: RawHeaders }): ResponseFraming {
  throw new Error('not written yet');
}

/** The framing headers of an outgoing message, after {@link RequestFraming}; all inbound ones must have been stripped before. */
export function framingHeaders(_framing: RequestFraming): RawHeaders {
  throw new Error('not written yet');
}

/** Bytes of a chunked body, incrementally; pieces by reference. */
export class ChunkedDecoder {
  /** The payload pieces in `chunk`. @throws KexerError protocol */
  acceptChunk(_chunk: Buffer): Buffer[] {
    throw new Error('not written yet');
  }

  /** Whether the last chunk and its trailers were read. */
  get isDone(): boolean {
    throw new Error('not written yet');
  }

  /** What came after the body's end. */
  get rest(): Buffer {
    throw new Error('not written yet');
  }
}
