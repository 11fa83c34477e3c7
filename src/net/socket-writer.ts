// The writing side of a framed connection over a Duplex. Frames written in one turn of the event loop leave as one write (one TLS
// record instead of one for each 8-byte head), payload passes by reference, and `isWritable` tells a relay when to stop reading its
// other leg. Bytes before a `release` can be held back, for a server that must be silent until its client has spoken.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

/**
 * Queued bytes at which `isWritable` becomes false, which bounds what a slow reader costs. CPU seconds for 1 GiB through a TLS relay
 * (test/bench/spdy-relay.ts, lower quartile of 20 rounds, a bare relay with a write for each chunk in the same run: 1.79): 64 KiB 2.10,
 * 128 KiB 1.82, 192 KiB 1.61, 256 KiB 1.54, 512 KiB 1.51. Below, a leg is stopped and started too often; above, nothing is gained.
 */
const defaultHighWaterBytes = 256 * 1024;

const emptyBytes = Buffer.alloc(0);

export class SocketWriter {
  readonly #socket: Duplex;
  readonly #highWaterBytes: number;
  #isHeld: boolean;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #heldElsewhere = 0;
  #isCorked = false;
  #isEnded = false;
  #bytesOut = 0;
  #drainRuns: (() => void)[] = [];
  #apart: Buffer | undefined; // waits until everything before it has left
  // One function each for the life of the connection: a closure a write would be garbage at 100 kHz.
  readonly #flush = (): void => this.#uncork();
  readonly #onDrain = (): void => this.#runDrained();

  constructor(deps: { socket: Duplex }, options: { highWaterBytes?: number; isHeld?: boolean } = {}) {
    this.#socket = deps.socket;
    // Not below the socket's own mark: only a socket that has passed that one emits 'drain'.
    this.#highWaterBytes = Math.max(options.highWaterBytes ?? defaultHighWaterBytes, deps.socket.writableHighWaterMark);
    this.#isHeld = options.isHeld ?? false;
    this.#socket.on('drain', this.#onDrain);
  }

  /** Bytes accepted so far, whether they have left or not. */
  get bytesOut(): number {
    return this.#bytesOut;
  }

  /** Bytes accepted that the socket has not taken yet. */
  get queuedBytes(): number {
    return this.#socket.writableLength + this.#heldBytes + (this.#apart?.length ?? 0);
  }

  get isWritable(): boolean {
    return this.queuedBytes + this.#heldElsewhere < this.#highWaterBytes;
  }

  /** Queues bytes by reference; dropped after `end`. */
  write(bytes: Buffer): void {
    if (this.#isEnded) return;
    this.#bytesOut += bytes.length;
    if (this.#isHeld) {
      this.#held.push(bytes);
      this.#heldBytes += bytes.length;
      return;
    }
    if (!this.#isCorked) {
      // Until the end of the whole turn, not of this tick: each record that TLS reads is a tick of its own, and a TLS socket takes only
      // one write a turn anyway. To write earlier when there is much (64 KiB) cost 14 % more CPU.
      this.#isCorked = true;
      this.#socket.cork();
      setImmediate(this.#flush);
    }
    this.#socket.write(bytes);
  }

  /**
   * The last bytes, in a write and so a TLS record of their own, once everything before has left. Python's client waits for its socket to
   * be readable before each frame and does not look into what TLS has already decrypted: a Close behind the status in one record was
   * never read.
   */
  writeApart(bytes: Buffer): void {
    if (this.#isHeld || (!this.#isCorked && this.#socket.writableLength === 0)) {
      this.write(bytes);
      return;
    }
    if (this.#isEnded) return;
    this.#apart = bytes;
    this.#socket.write(emptyBytes, () => this.#writeWaiting()); // called when the writes before it are done
  }

  #writeWaiting(): void {
    const bytes = this.#apart;
    this.#apart = undefined;
    if (bytes !== undefined && !this.#socket.destroyed) this.write(bytes);
  }

  /** Calls `run` once when the writer is writable again; at once if it is. Not called on a socket that closes first. */
  onDrain(run: () => void): void {
    if (this.isWritable) run();
    else this.#drainRuns.push(run);
  }

  /** Counts bytes that wait outside and will be written later: they take room, too. */
  setHeldElsewhere(bytes: number): void {
    this.#heldElsewhere = bytes;
    this.#runDrained();
  }

  #runDrained(): void {
    if (this.#drainRuns.length === 0 || !this.isWritable) return;
    const runs = this.#drainRuns;
    this.#drainRuns = [];
    for (const run of runs) run();
  }

  /** Sends what was held and holds no more. */
  release(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    const held = this.#held;
    this.#held = [];
    this.#bytesOut -= this.#heldBytes; // `write` counts them again
    this.#heldBytes = 0;
    for (const bytes of held) this.write(bytes);
    this.#runDrained();
  }

  /** FIN after everything queued; what is still held is dropped. */
  end(): void {
    if (this.#isEnded) return;
    this.#writeWaiting();
    this.#isEnded = true;
    this.#held = [];
    this.#heldBytes = 0;
    this.#uncork();
    this.#socket.end();
  }

  /** Drops what waits; the socket is gone or about to be. */
  abandon(): void {
    this.#isEnded = true;
    this.#apart = undefined;
    this.#held = [];
    this.#heldBytes = 0;
    this.#drainRuns = [];
  }

  #uncork(): void {
    if (!this.#isCorked) return;
    this.#isCorked = false;
    this.#socket.uncork();
  }
}
