// How much is read in one turn of the event loop. Left to itself, libuv reads up to 2 MiB from a socket before it looks at the next one, and
// whoever only types waits until every busy one has had as much. Beyond a turn's measure each socket gets one read more and then stands in a
// queue, from which each turn takes as many as its measure has room for.

import type { Duplex } from 'node:stream';

/**
 * A third of a millisecond's work, in and out. A stop for each of these costs nothing that can be measured; with 512 KiB a keystroke's echo beside
 * 50 busy sessions of 2,000 took 4 ms and 25 at the 99th percentile, with this 1.5 and 15.
 */
const turnBytes = 128 * 1024;
/** What libuv reads at once. */
const readBytes = 64 * 1024;
const readsOfTurn = turnBytes / readBytes;

export class ReadTurn {
  #bytes: number;
  readonly #stopped: Set<Duplex>;

  constructor() {
    this.#bytes = 0;
    this.#stopped = new Set();
  }

  /**
   * Counts what a socket has read just now.
   * @returns whether it may read on in this turn; otherwise its handle has to stop. It starts again when its turn comes, if the socket is
   *   flowing then.
   */
  mayReadOn(socket: Duplex, count: number): boolean {
    if (this.#bytes === 0 && this.#stopped.size === 0) setImmediate(this.#next);
    this.#bytes += count;
    if (this.#bytes <= turnBytes) return true;
    this.#stopped.add(socket);
    return false;
  }

  readonly #next = (): void => {
    this.#bytes = 0;
    let room = readsOfTurn;
    for (const socket of this.#stopped) {
      if (room === 0) break;
      this.#stopped.delete(socket);
      // Who paused it meanwhile resumes it.
      if (socket.readableFlowing !== true || socket.destroyed) continue;
      socket.resume();
      room -= 1;
    }
    if (this.#stopped.size > 0) setImmediate(this.#next);
  };
}
