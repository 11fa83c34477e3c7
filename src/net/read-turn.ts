// How much is read in one turn of the event loop. Left to itself, libuv reads up to 2 MiB from a socket before it looks at the next one, and
// whoever only types waits until every busy one has had as much. Beyond a share of the turn each socket gets one read more and is then left
// until the next turn, when all have had theirs.

import type { Duplex } from 'node:stream';

/** A lone stream loses nothing by a stop a mebibyte; a turn of this length takes a millisecond or two. */
const turnBytes = 1024 * 1024;

export class ReadTurn {
  #bytes: number;
  readonly #stopped: Set<Duplex>;

  constructor() {
    this.#bytes = 0;
    this.#stopped = new Set();
  }

  /**
   * Counts what a socket has read just now.
   * @returns whether it may read on in this turn; otherwise its handle has to stop, and starts again in the next turn if the socket is
   *   flowing then.
   */
  mayReadOn(socket: Duplex, count: number): boolean {
    if (this.#bytes === 0) setImmediate(this.#next);
    this.#bytes += count;
    if (this.#bytes <= turnBytes) return true;
    this.#stopped.add(socket);
    return false;
  }

  readonly #next = (): void => {
    this.#bytes = 0;
    if (this.#stopped.size === 0) return;
    const sockets = [...this.#stopped];
    this.#stopped.clear();
    // Who paused it meanwhile resumes it.
    for (const socket of sockets) if (socket.readableFlowing === true && !socket.destroyed) socket.resume();
  };
}
