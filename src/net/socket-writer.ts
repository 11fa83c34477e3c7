// The writing side of a framed connection over a Duplex. Frames written in one turn of the event loop are put together and leave as one
// write (one TLS record instead of one for each 8-byte head); `isWritable` tells a relay when to stop reading its other leg. Bytes are
// copied when they are written: their memory is the caller's again at once. Bytes before a `release` can be held back, for a server that
// must be silent until its client has spoken.

import { Buffer } from 'node:buffer';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

import { ByteQueue } from '../base/byte-queue.ts';
import { largeStageBytes, sharedStages, smallStageBytes, type StagePool } from './write-stage.ts';

/**
 * Queued bytes at which `isWritable` becomes false, which bounds what a slow reader costs. CPU seconds for 1 GiB through a TLS relay
 * (lower quartile of 20 rounds, a bare relay with a write for each chunk in the same run: 1.79): 64 KiB 2.10, 128 KiB 1.82,
 * 192 KiB 1.61, 256 KiB 1.54, 512 KiB 1.51. Below, a leg is stopped and started too often; above, little is gained.
 */
const defaultHighWaterBytes = 256 * 1024;

/** A Duplex that is no socket but has used up what it was given to write when it says that the write is done. */
export interface WriteConsumer {
  readonly isWriteConsumer: true;
}

export class SocketWriter {
  readonly #socket: Duplex;
  readonly #stages: StagePool;
  readonly #highWaterBytes: number;
  /** Whether the memory of a write may be used again when the write is done. Other Duplexes may hand on what they are given. */
  readonly #isConsumed: boolean;
  #stage: Buffer | undefined;
  #stagedBytes = 0;
  #isFlushDue = false;
  #writesUnderWay = 0;
  #isHeld: boolean;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #heldElsewhere = 0;
  #isEnded = false;
  #bytesOut = 0;
  #drainRuns: (() => void)[] = [];
  #idleRun: (() => void) | undefined;
  readonly #apart = new ByteQueue(); // each chunk waits until everything before it has left
  // One function each for the life of the connection: a closure a turn would be garbage at 10 kHz.
  readonly #flush = (): void => this.#flushNow();
  readonly #onDrain = (): void => this.#runDrained();

  constructor(
    deps: { socket: Duplex; stages?: StagePool },
    options: { highWaterBytes?: number; isHeld?: boolean } = {},
  ) {
    this.#socket = deps.socket;
    this.#stages = deps.stages ?? sharedStages;
    // Not below the socket's own mark: only a socket that has passed that one emits 'drain'.
    this.#highWaterBytes = Math.max(options.highWaterBytes ?? defaultHighWaterBytes, deps.socket.writableHighWaterMark);
    this.#isHeld = options.isHeld ?? false;
    this.#isConsumed = deps.socket instanceof Socket || isWriteConsumer(deps.socket);
    this.#socket.on('drain', this.#onDrain);
  }

  /** Bytes accepted so far, whether they have left or not. */
  get bytesOut(): number {
    return this.#bytesOut;
  }

  /** Bytes accepted that the socket has not taken yet. */
  get queuedBytes(): number {
    return this.#socket.writableLength + this.#stagedBytes + this.#heldBytes + this.#apart.length;
  }

  get isWritable(): boolean {
    return this.queuedBytes + this.#heldElsewhere < this.#highWaterBytes;
  }

  /** Queues a copy of the bytes; dropped after `end`. */
  write(bytes: Buffer): void {
    if (this.#isEnded) return;
    this.#bytesOut += bytes.length;
    if (this.#isHeld) {
      this.#held.push(Buffer.from(bytes));
      this.#heldBytes += bytes.length;
      return;
    }
    this.#put(bytes);
    if (this.#isFlushDue) return;
    // At the end of the whole turn, not of this tick: each record that TLS reads is a tick of its own, and a TLS socket takes only
    // one write a turn anyway. To write earlier when there is much (64 KiB) cost 14 % more CPU.
    this.#isFlushDue = true;
    setImmediate(this.#flush);
  }

  /**
   * In a write and so in TLS records of their own, once everything before has left. Python's client waits for its socket to be readable before
   * each frame and does not look into what TLS has already decrypted: of two frames in one record it never read the second.
   */
  writeApart(...parts: Buffer[]): void {
    if (this.#isEnded) return;
    const isNext = this.isIdle;
    for (const bytes of parts) {
      this.#bytesOut += bytes.length;
      if (isNext) this.#put(bytes);
    }
    if (isNext) this.#sendStage();
    else this.#apart.push(Buffer.concat(parts)); // a copy, as everywhere
  }

  /** The same with bytes from `from` to `to` of a stage, which is taken over: best when the writer {@link isIdle}, as then nothing is copied. */
  writeStageApart(stage: Buffer, from: number, to: number): void {
    if (this.#isEnded) {
      this.#stages.give(stage);
      return;
    }
    const bytes = stage.subarray(from, to);
    this.#bytesOut += bytes.length;
    if (this.isIdle) {
      this.#send(stage, bytes);
      return;
    }
    this.#apart.push(Buffer.from(bytes));
    this.#stages.give(stage);
  }

  /** Whether what is written apart now would leave now. */
  get isIdle(): boolean {
    return this.#stagedBytes === 0 && this.#writesUnderWay === 0 && this.#apart.length === 0 && !this.#isHeld;
  }

  /** Calls `run` once when the writer is idle, at once if it is; the latest counts. Never after the end. */
  onIdle(run: () => void): void {
    if (this.isIdle) run();
    else this.#idleRun = run;
  }

  #runIdle(): void {
    const run = this.#idleRun;
    if (run === undefined || !this.isIdle || this.#isEnded || this.#socket.destroyed) return;
    this.#idleRun = undefined;
    run();
  }

  #sendNextApart(): void {
    if (this.#apart.length === 0 || this.#socket.destroyed) return;
    this.#put(this.#apart.takeUpTo(Number.MAX_SAFE_INTEGER));
    this.#sendStage();
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
    if (held.length === 0) this.#sendNextApart();
    this.#runIdle();
    this.#runDrained();
  }

  /** FIN after everything queued; what is still held is dropped. */
  end(): void {
    if (this.#isEnded) return;
    // Nobody reads frame by frame any more: what waits goes out as one.
    while (this.#apart.length > 0) this.#put(this.#apart.takeUpTo(Number.MAX_SAFE_INTEGER));
    this.#isEnded = true;
    this.#held = [];
    this.#heldBytes = 0;
    this.#sendStage();
    this.#socket.end();
  }

  /** Drops what waits; the socket is gone or about to be. */
  abandon(): void {
    this.#isEnded = true;
    this.#apart.clear();
    this.#held = [];
    this.#heldBytes = 0;
    this.#drainRuns = [];
    this.#idleRun = undefined;
    if (this.#stage !== undefined) this.#stages.give(this.#stage);
    this.#stage = undefined;
    this.#stagedBytes = 0;
  }

  #put(bytes: Buffer): void {
    let from = 0;
    while (from < bytes.length) {
      const stage = this.#stageFor(bytes.length - from);
      const count = Math.min(bytes.length - from, stage.length - this.#stagedBytes);
      stage.set(count === bytes.length ? bytes : bytes.subarray(from, from + count), this.#stagedBytes);
      this.#stagedBytes += count;
      from += count;
    }
  }

  /** The stage in use, with room for a byte at least. */
  #stageFor(byteCount: number): Buffer {
    const old = this.#stage;
    if (old === undefined) return (this.#stage = this.#stages.take(byteCount));
    if (this.#stagedBytes + byteCount <= old.length) return old;
    if (old.length > smallStageBytes) {
      if (this.#stagedBytes < old.length) return old;
      this.#sendStage(); // full before the turn is over, or behind a write
      return (this.#stage = this.#stages.take(largeStageBytes));
    }
    const large = this.#stages.take(this.#stagedBytes + byteCount);
    large.set(this.#stagedBytes === old.length ? old : old.subarray(0, this.#stagedBytes));
    this.#stages.give(old);
    this.#stage = large;
    return large;
  }

  /** Behind a write under way the stage goes on filling: each would hold its memory, however little is in it. */
  #flushNow(): void {
    this.#isFlushDue = false;
    if (this.#writesUnderWay === 0) this.#sendStage();
  }

  #sendStage(): void {
    const stage = this.#stage;
    const count = this.#stagedBytes;
    if (stage === undefined) return;
    this.#stage = undefined;
    this.#stagedBytes = 0;
    this.#send(stage, count === stage.length ? stage : stage.subarray(0, count));
  }

  /** @param bytes of the stage, which goes back when they have been written. */
  #send(stage: Buffer, bytes: Buffer): void {
    if (this.#socket.writableEnded) {
      this.#stages.give(stage);
      return;
    }
    this.#writesUnderWay += 1;
    if (this.#isConsumed) {
      this.#socket.write(bytes, (error) => this.#onWritten(stage, error));
    } else {
      this.#socket.write(Buffer.from(bytes), () => this.#onWritten(undefined));
      this.#stages.give(stage);
    }
  }

  /** @param stage to be used again; after an error nobody knows who may still read it. */
  #onWritten(stage: Buffer | undefined, error?: Error | null): void {
    this.#writesUnderWay -= 1;
    if (stage !== undefined && (error === undefined || error === null) && !this.#socket.destroyed) {
      this.#stages.give(stage);
    }
    if (this.#writesUnderWay === 0 && !this.#isEnded) {
      if (this.#stagedBytes > 0) this.#sendStage();
      else this.#sendNextApart();
      this.#runIdle(); // first, as it fills again what drained
    }
    this.#runDrained();
  }
}

function isWriteConsumer(socket: Duplex): boolean {
  return 'isWriteConsumer' in socket && socket.isWriteConsumer === true;
}
