// Frames without end at the least cost: one block of many equal frames, written again and again under backpressure.

import type { Duplex } from 'node:stream';

/** Bytes of one write, unless a single frame is longer. */
const blockBytes = 256 * 1024;

export interface Frames {
  readonly block: Buffer;
  readonly count: number;
}

/** Equal frames in one buffer: `head` and `payloadBytes` of payload each, which `fill` may write. */
export function framesOf(
  head: Uint8Array,
  payloadBytes: number,
  fill: (payload: Buffer) => void = (payload) => payload.fill('a'),
): Frames {
  const frameBytes = head.length + payloadBytes;
  // Small frames are written one by one, as a process's small writes come.
  const count = payloadBytes < 4096 ? 1 : Math.max(1, Math.floor(blockBytes / frameBytes));
  const block = Buffer.allocUnsafe(count * frameBytes);
  for (let at = 0; at < block.length; at += frameBytes) {
    block.set(head, at);
    fill(block.subarray(at + head.length, at + frameBytes));
  }
  return { block, count };
}

/** Writes `frameCount` frames, then calls `done`; stops at backpressure. */
export function pour(socket: Duplex, frames: Frames, frameCount: number, done: () => void): void {
  const frameBytes = frames.block.length / frames.count;
  let left = frameCount;
  const more = (): void => {
    while (left > 0) {
      if (socket.destroyed) return;
      const now = Math.min(left, frames.count);
      left -= now;
      const hasRoom = socket.write(now === frames.count ? frames.block : frames.block.subarray(0, now * frameBytes));
      if (!hasRoom && left > 0) {
        socket.once('drain', more);
        return;
      }
    }
    done();
  };
  more();
}
