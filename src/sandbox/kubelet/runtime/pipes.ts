// Real pipes for the standard streams of pods' processes. Node gives its children socket pairs, on which `echo x > /dev/stderr`
// fails with ENXIO and whose buffers are larger than a pipe's 64 KiB; a container's process sees pipes. Named pipes are made in
// batches by mkfifo(1), opened at both ends and unlinked at once, so each is used exactly once.

import { execFile } from 'node:child_process';
import { closeSync, constants, mkdirSync, openSync, unlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Pipes made by one mkfifo; an exec takes up to three. */
const batchSize = 48;

/** Both ends of a fresh pipe as file descriptors, blocking, owned by the caller. */
interface PipeEnds {
  readonly readFd: number;
  readonly writeFd: number;
}

/** One end for the child (a descriptor to pass in `stdio` and close after spawn), one stream for us. */
export interface ChildPipe {
  readonly childFd: number;
  readonly ours: Socket;
}

export class PipePool {
  readonly #dir: string;
  readonly #ready: string[] = [];
  #made = 0;
  #filling: Promise<void> | undefined;

  constructor(options: { dir: string }) {
    this.#dir = options.dir;
    mkdirSync(this.#dir, { recursive: true });
  }

  /** A pipe the child writes: `ours` is readable. */
  async output(): Promise<ChildPipe> {
    const { readFd, writeFd } = await this.#take();
    return { childFd: writeFd, ours: new Socket({ fd: readFd, readable: true, writable: false }) };
  }

  /** A pipe the child reads: `ours` is writable; ending it is the child's end of input. */
  async input(): Promise<ChildPipe> {
    const { readFd, writeFd } = await this.#take();
    return { childFd: readFd, ours: new Socket({ fd: writeFd, readable: false, writable: true }) };
  }

  async #take(): Promise<PipeEnds> {
    let path = this.#ready.pop();
    while (path === undefined) {
      this.#filling ??= this.#fill().finally(() => (this.#filling = undefined));
      await this.#filling;
      path = this.#ready.pop();
    }
    // Opened for both first: then neither of the one-sided opens blocks waiting for the other side.
    const both = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    try {
      const readFd = openSync(path, constants.O_RDONLY);
      const writeFd = openSync(path, constants.O_WRONLY);
      return { readFd, writeFd };
    } finally {
      closeSync(both);
      unlinkSync(path);
    }
  }

  async #fill(): Promise<void> {
    const paths = Array.from({ length: batchSize }, () => join(this.#dir, `pipe-${(this.#made += 1)}`));
    await run('mkfifo', ['-m', '600', ...paths]);
    this.#ready.push(...paths);
  }
}
