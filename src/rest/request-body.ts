// A request's body as a stream that ends only if the client ended it. Node's HTTP/1.1 requests are that already. Its HTTP/2 streams emit
// 'end' for a body the client reset in the middle, and 'aborted' only afterwards (seen with Node 24): forwarded as it comes, half an
// object would reach the apiserver as a whole one.

import type { IncomingMessage } from 'node:http';
import type { Http2ServerRequest, ServerHttp2Stream } from 'node:http2';
import { Readable } from 'node:stream';

import { KexerError } from '../base/errors.ts';

/** The body of a request that has one. Errors if the client leaves before its end. */
export function requestBody(request: IncomingMessage | Http2ServerRequest): Readable {
  return 'stream' in request ? new Http2Body(request.stream) : request;
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
    this.destroy(new KexerError('clientGone', 'Cannot read the whole request: the client has left'));
  }
}
