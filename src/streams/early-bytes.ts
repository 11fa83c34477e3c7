// The socket of an upgrade while its answer is being found: takes what the client sends too early, so that nothing is lost and a client
// that leaves is noticed. Whoever answers or joins the socket releases it first.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

import { KexerError } from '../base/errors.ts';
import { ignoreErrors } from '../net/ignore-errors.ts';

/** An honest client waits for the 101; one that does not is read no further. */
const maxEarlyBytes = 64 * 1024;

export class EarlyBytes {
  readonly #socket: Duplex;
  readonly #chunks: Buffer[];
  readonly #gone: AbortController;
  readonly #onData: (chunk: Buffer) => void;
  readonly #onGone: () => void;
  #length: number;

  constructor(socket: Duplex, head: Buffer) {
    this.#socket = socket;
    this.#chunks = [head];
    this.#length = head.length;
    this.#gone = new AbortController();
    this.#onData = (chunk) => {
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      if (this.#length > maxEarlyBytes) socket.pause();
    };
    this.#onGone = () => this.#gone.abort(new KexerError('clientGone', 'Cannot open the stream: the client has left'));
    // First of all: a reset before anybody else listens would end the process.
    socket.on('error', this.#onGone);
    socket.on('end', this.#onGone);
    socket.on('close', this.#onGone);
    socket.on('data', this.#onData);
    if (socket.destroyed || socket.readableEnded) this.#onGone();
  }

  /** Aborted when the client has left. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Hands the socket on, paused, with all that came so far; its errors end nothing, whoever has it. */
  release(): Buffer {
    ignoreErrors(this.#socket);
    this.#socket.off('error', this.#onGone);
    this.#socket.off('end', this.#onGone);
    this.#socket.off('close', this.#onGone);
    this.#socket.off('data', this.#onData);
    this.#socket.pause();
    return Buffer.concat(this.#chunks, this.#length);
  }
}
