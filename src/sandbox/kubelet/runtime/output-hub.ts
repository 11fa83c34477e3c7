// The output of a container's main process, copied to its log and to everybody attached. A full sink pauses the source until it has
// drained, as containerd's writer group does: nothing is buffered beyond one chunk and the sink's own limit.

import type { Buffer } from 'node:buffer';
import type { PassThrough, Readable } from 'node:stream';

export class OutputHub {
  readonly #source: Readable | undefined;
  readonly #sinks = new Set<PassThrough>();
  readonly #full = new Set<PassThrough>();
  /** Settles when the source has ended and everything of it was handed on. */
  readonly ended: Promise<void>;
  #hasEnded = false;

  constructor(source: Readable | undefined, log: (chunk: Buffer) => void) {
    this.#source = source;
    if (source === undefined || source.destroyed) {
      this.#hasEnded = true;
      this.ended = Promise.resolve();
      return;
    }
    source.on('data', (chunk: Buffer) => {
      log(chunk);
      for (const sink of this.#sinks) this.#write(sink, chunk);
    });
    this.ended = new Promise((resolve) => {
      source.once('close', () => {
        this.#hasEnded = true;
        for (const sink of this.#sinks) sink.end();
        resolve();
      });
    });
  }

  /** Copies what comes from now on into `sink`; returns a function that stops it. */
  tap(sink: PassThrough): () => void {
    if (this.#hasEnded) {
      sink.end();
      return () => {};
    }
    this.#sinks.add(sink);
    const remove = (): void => {
      this.#sinks.delete(sink);
      this.#drained(sink);
    };
    sink.once('close', remove);
    return remove;
  }

  /** Lets go of every reader, so that a container whose attached client has stopped reading can end. */
  release(): void {
    for (const sink of this.#sinks) sink.destroy();
  }

  #write(sink: PassThrough, chunk: Buffer): void {
    if (sink.write(chunk) || sink.destroyed) return;
    this.#full.add(sink);
    this.#source?.pause();
    sink.once('drain', () => this.#drained(sink));
  }

  #drained(sink: PassThrough): void {
    if (this.#full.delete(sink) && this.#full.size === 0) this.#source?.resume();
  }
}
