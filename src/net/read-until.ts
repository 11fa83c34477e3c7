// Reading a connected duplex up to a point and no further: for heads and refusals before a protocol's own endpoint takes the socket over.
// Paused mode (`readable` and `read()`), so that whatever comes later stays in the stream's own buffer for the next owner.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import { type Clock, systemClock } from '../base/clock.ts';
import { ignoreErrors } from './ignore-errors.ts';

export interface ReadLimits {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock | undefined;
}

/** Why reading stopped before a result. */
export type ReadStop =
  /** The stream's own error. */
  | { readonly how: 'error'; readonly error: Error }
  /** The peer's FIN, or a close without an error. */
  | { readonly how: 'end' }
  | { readonly how: 'timeout' }
  | { readonly how: 'aborted' };

/**
 * Feeds chunks to `accept` until it gives a result; then nothing more is read. What `accept` throws rejects the promise; a stop
 * becomes what `stopped` gives or throws. Leaves a listener for 'error' that does nothing.
 */
export function readUntil<T>(
  socket: Duplex,
  limits: ReadLimits,
  accept: (chunk: Buffer) => T | undefined,
  stopped: (stop: ReadStop) => T,
): Promise<T> {
  // First of all and for good: the next owner attaches its own listener only after this promise settled.
  ignoreErrors(socket);
  return new Promise((resolve, reject) => {
    let isDone = false;
    const settle = (give: () => T): void => {
      if (isDone) return;
      isDone = true;
      timer.cancel();
      limits.signal?.removeEventListener('abort', onAbort);
      socket.off('readable', onReadable).off('end', onEnd).off('close', onClose).off('error', onError);
      // A stream decides its mode one tick after its last 'readable' listener left. The next owner must not run before that, or
      // its pause() would be undone.
      process.nextTick(() => {
        try {
          resolve(give());
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
    };
    const stop = (how: ReadStop): void => settle(() => stopped(how));
    const onReadable = (): void => {
      for (;;) {
        const chunk: unknown = socket.read();
        if (!Buffer.isBuffer(chunk) || feed(chunk)) return;
      }
    };
    const feed = (chunk: Buffer): boolean => {
      try {
        const result = accept(chunk);
        if (result !== undefined) settle(() => result);
      } catch (error) {
        settle(() => {
          throw error;
        });
      }
      return isDone;
    };
    const onEnd = (): void => stop({ how: 'end' });
    const onClose = (): void =>
      stop(socket.errored === null ? { how: 'end' } : { how: 'error', error: socket.errored });
    const onError = (error: Error): void => stop({ how: 'error', error });
    const onAbort = (): void => stop({ how: 'aborted' });
    const timer = (limits.clock ?? systemClock).after(limits.timeoutMs, () => stop({ how: 'timeout' }));
    socket.on('readable', onReadable).on('end', onEnd).on('close', onClose).on('error', onError);
    limits.signal?.addEventListener('abort', onAbort);
    if (limits.signal?.aborted === true) onAbort();
    else if (socket.destroyed) onClose();
    else if (socket.readableEnded) onEnd();
    else onReadable();
  });
}
