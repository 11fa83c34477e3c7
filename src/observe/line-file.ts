// The file that log lines go to, as a rule standard error: holds them until it is told to write, and then writes all of them before it returns. A log
// whose reader has gone is lost and nothing else is: a server outlives whoever reads along. One whose reader is slow is waited for, as any process
// waits for a full pipe. Nothing is forced onto a disk: that would hold up every stream for milliseconds, many times a second.

import { Buffer } from 'node:buffer';
import { writeSync } from 'node:fs';

import type { LineSink } from './log-output.ts';

/** Lines are held for milliseconds; more than this is a flood, and is written at once. */
const maxHeldChars = 12 * 1024;
/** How long a pipe that is full and does not block is left to its reader before the next try. */
const retryMs = 5;

export class LineFile implements LineSink {
  readonly #fd: number;
  readonly #write: (fd: number, bytes: Buffer) => number;
  readonly #wait: (ms: number) => void;
  #held: string;

  /** @param deps left out: the system's. `write` gives how many bytes it took, and throws as `fs.writeSync`. */
  constructor(
    options: { fd: number },
    deps: { write?: (fd: number, bytes: Buffer) => number; wait?: (ms: number) => void } = {},
  ) {
    this.#fd = options.fd;
    this.#write = deps.write ?? writeSync;
    this.#wait = deps.wait ?? wait;
    this.#held = '';
  }

  write(text: string): void {
    this.#held += text;
    if (this.#held.length >= maxHeldChars) this.flushSync();
  }

  flushSync(): void {
    let bytes = Buffer.from(this.#held);
    this.#held = '';
    while (bytes.length > 0) {
      try {
        bytes = bytes.subarray(this.#write(this.#fd, bytes));
      } catch (error) {
        if (!isBusy(error)) return; // EPIPE, ENOSPC: there is nowhere to tell it
        this.#wait(retryMs);
      }
    }
  }
}

function isBusy(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'EAGAIN' || code === 'EBUSY' || code === 'EINTR';
}

/** Stands still; there is nobody else to wait for a log. */
function wait(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
