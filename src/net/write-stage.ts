// Memory in which the frames of one turn are put together before they leave as one write. It is used again and again: a fresh buffer for
// each chunk is memory outside V8's heap that only a garbage collection frees, and at full speed those collections were half of what a
// relay cost. What is kept here holds no data that anybody reads again, only room.

import { Buffer } from 'node:buffer';

/** Most turns write a ping, a keystroke or a status. */
export const smallStageBytes = 2048;

/** What a writer takes before it wants a pause (256 KiB), and what its source may still have had in hand then (a read of 64 KiB). */
export const largeStageBytes = 320 * 1024;

/**
 * Left free in front of what is collected for {@link SocketWriter.writeStageApart}: the longest head of a WebSocket frame without a mask is 10 bytes, and
 * protocols have a byte or two of their own.
 */
export const headRoomBytes = 16;

/** Stages kept for later: as many as a busy process uses at once, and no more memory than it would not notice (2.5 MiB and 128 KiB). */
const maxFreeLarge = 8;
const maxFreeSmall = 64;

export class StagePool {
  readonly #large: Buffer[] = [];
  readonly #small: Buffer[] = [];

  /** A buffer of {@link smallStageBytes} or, for more, of {@link largeStageBytes}; its content is anything. */
  take(byteCount: number): Buffer {
    if (byteCount <= smallStageBytes) return this.#small.pop() ?? Buffer.allocUnsafeSlow(smallStageBytes);
    return this.#large.pop() ?? Buffer.allocUnsafeSlow(largeStageBytes);
  }

  /** Gives one back that nobody reads any more. */
  give(stage: Buffer): void {
    if (stage.length === largeStageBytes) {
      if (this.#large.length < maxFreeLarge) this.#large.push(stage);
    } else if (this.#small.length < maxFreeSmall) {
      this.#small.push(stage);
    }
  }
}

/** Of all connections of the process, as `Buffer.allocUnsafe` has one: to hand it through every constructor would say nothing more. */
export const sharedStages = new StagePool();
