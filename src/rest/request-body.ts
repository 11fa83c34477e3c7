// A request's body as a stream that ends only if the client ended it. Node's HTTP/1.1 requests are that already. Its HTTP/2 streams emit
// 'end' for a body the client reset in the middle, and 'aborted' only afterwards (seen with Node 24): forwarded as it comes, half an
// object would reach the apiserver as a whole one.

import type { IncomingMessage } from 'node:http';
import type { Http2ServerRequest, ServerHttp2Stream } from 'node:http2';
import { Readable } from 'node:stream';

import { KexerError } from '../base/errors.ts';

/**
 * The body of a request that has one. Errors if the client leaves before its end, or goes on after `maxBytes`.
 * @param maxBytes 0: no limit.
 */
export function requestBody(request: IncomingMessage | Http2ServerRequest, maxBytes: number): Readable {
  const body = 'stream' in request ? new Http2Body(request.stream) : request;
  return maxBytes === 0 ? body : new BoundedBody(body, maxBytes);
}

/** In kube-apiserver's words for its own limit. */
export function bodyTooLarge(maxBytes: number): KexerError {
  return new KexerError('tooLarge', `Request entity too large: limit is ${maxBytes}`);
}

class BoundedBody extends Readable {
  readonly #source: Readable;
  #missing: number;

  constructor(source: Readable, maxBytes: number) {
    super();
    this.#source = source;
    this.#missing = maxBytes;
    source.on('data', (chunk: Buffer) => {
      if (this.destroyed) return;
      this.#missing -= chunk.length;
      if (this.#missing < 0) this.destroy(bodyTooLarge(maxBytes));
      else if (!this.push(chunk)) source.pause();
    });
    source.on('end', () => {
      if (!this.destroyed) this.push(null);
    });
    source.on('error', (error) => this.destroy(error));
    source.on('close', () => {
      if (!source.readableEnded) this.destroy(cutShort());
    });
  }

  override _read(): void {
    this.#source.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // Not destroyed: that would be the connection's end, and the answer has still to leave by it. What else comes is dropped.
    this.#source.resume();
    callback(error);
  }
}

function cutShort(): KexerError {
  return new KexerError('clientGone', 'Cannot read the whole request: the client has left');
}

class Http2Body extends Readable {
  readonly #source: ServerHttp2Stream;

  constructor(source: ServerHttp2Stream) {
    super();
    this.#source = source;
    source.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) source.pause();
    });
    // Both events of a reset come in one turn of the event loop, so a turn later it is known which end this is.
    source.on('end', () => setImmediate(() => this.#end()));
    source.on('aborted', () => this.#cut());
    source.on('close', () => this.#end());
    // An empty body ends by itself, read by nobody, as early as during the filters; a stream may be gone by now too.
    if (source.readableEnded || source.destroyed) setImmediate(() => this.#end());
  }

  override _read(): void {
    this.#source.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // The stream still carries the answer; what else comes of the body is dropped.
    this.#source.resume();
    callback(error);
  }

  #end(): void {
    if (this.destroyed || this.readableEnded) return;
    if (this.#source.aborted || !this.#source.readableEnded) this.#cut();
    else this.push(null);
  }

  #cut(): void {
    this.destroy(cutShort());
  }
}
