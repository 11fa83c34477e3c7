// Connections on which nobody has been authenticated yet. Whoever can reach the port can open them, so what one address may have of them is
// bounded in number and each in time: whatever a stranger does slowly (a handshake, a head, a body, the reading of an answer, nothing at all)
// ends with the connection. The first request that is authenticated makes its connection known for good.
//
// The address is the socket's own. Behind a load balancer that hides addresses it is everybody's, which the default leaves room for.

import type { Socket } from 'node:net';

import { type Slot, Slots } from '../base/slots.ts';

export interface StrangerLimits {
  /** Connections of one address; 0: no limit. */
  readonly perSource: number;
  /** How long a connection may stay a stranger's. */
  readonly deadlineMs: number;
}

interface Stranger {
  readonly slot: Slot;
  readonly timer: NodeJS.Timeout;
  onOverdue: () => void;
}

export class Strangers {
  readonly #limits: StrangerLimits;
  readonly #slots: Slots;
  /** By both ends' addresses and ports, which TLS shows on a socket of its own: one port of a peer may have a connection to each of ours. */
  readonly #byConnection: Map<string, Stranger>;
  #refused: number;

  constructor(limits: StrangerLimits) {
    this.#limits = limits;
    this.#slots = new Slots({ perKey: limits.perSource, total: 0 });
    this.#byConnection = new Map();
    this.#refused = 0;
  }

  get size(): number {
    return this.#byConnection.size;
  }

  /** Connections that were not taken so far. */
  get refused(): number {
    return this.#refused;
  }

  /** Counts a new connection. @returns false: its address has too many, it is to be closed. */
  admit(socket: Socket): boolean {
    const { remoteAddress } = socket;
    if (remoteAddress === undefined) return true; // closed already
    if (this.#slots.fullFor(remoteAddress) !== undefined) {
      this.#refused += 1;
      return false;
    }
    const connection = connectionOf(socket);
    const stranger: Stranger = {
      slot: this.#slots.take(remoteAddress),
      timer: setTimeout(() => stranger.onOverdue(), this.#limits.deadlineMs),
      onOverdue: () => socket.destroy(),
    };
    stranger.timer.unref();
    this.#byConnection.set(connection, stranger);
    socket.once('close', () => this.#forget(connection, stranger));
    return true;
  }

  /**
   * For the protocol that took the connection over.
   * @param onOverdue ends it in the protocol's way, when it stayed a stranger's for too long.
   * @returns to be called when somebody has been authenticated on it.
   */
  follow(socket: Socket, onOverdue: () => void): () => void {
    const connection = connectionOf(socket);
    const stranger = this.#byConnection.get(connection);
    if (stranger === undefined) return () => {};
    stranger.onOverdue = onOverdue;
    return () => this.#forget(connection, stranger);
  }

  #forget(connection: string, stranger: Stranger): void {
    if (this.#byConnection.get(connection) !== stranger) return;
    this.#byConnection.delete(connection);
    clearTimeout(stranger.timer);
    stranger.slot.release();
  }
}

function connectionOf({ localAddress, localPort, remoteAddress, remotePort }: Socket): string {
  return `${localAddress} ${localPort} ${remoteAddress} ${remotePort}`;
}
