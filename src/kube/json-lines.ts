// JSON objects, one a line, as a watch sends them: split incrementally, each line bounded. Bytes of an unfinished line are kept by
// reference until its end arrives.

import { KexerError } from '../base/errors.ts';

const newline = 0x0a;

export class JsonLines {
  readonly #maxLineBytes: number;
  #parts: Buffer[];
  #size: number;

  constructor(options: { maxLineBytes: number }) {
    this.#maxLineBytes = options.maxLineBytes;
    this.#parts = [];
    this.#size = 0;
  }

  /** A line was begun and not ended. */
  get isMidLine(): boolean {
    return this.#size > 0;
  }

  /** The values that are complete now. @throws KexerError tooLarge, badGateway; use no more after that. */
  acceptChunk(chunk: Buffer): unknown[] {
    const values: unknown[] = [];
    let from = 0;
    for (;;) {
      const end = chunk.indexOf(newline, from);
      const part = chunk.subarray(from, end === -1 ? chunk.length : end);
      this.#size += part.length;
      if (this.#size > this.#maxLineBytes) {
        throw new KexerError(
          'tooLarge',
          `Cannot hold a line of the watch: it is longer than ${this.#maxLineBytes} bytes`,
        );
      }
      if (part.length > 0) this.#parts.push(part);
      if (end === -1) return values;
      if (this.#size > 0) values.push(parse(Buffer.concat(this.#parts, this.#size)));
      this.#parts = [];
      this.#size = 0;
      from = end + 1;
    }
  }
}

function parse(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString('utf8'));
  } catch (cause) {
    throw new KexerError('badGateway', 'Cannot read a line of the watch: want JSON', { cause });
  }
}
