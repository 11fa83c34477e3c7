// One stream of an SPDY connection.

import type { Buffer } from 'node:buffer';

import type { HeaderList } from '../protocol/spdy/frame.ts';

/**
 * How the peer's direction of a stream ended: `fin` half-close, `reset` RST_STREAM by the peer, `goaway` the connection ended in order
 * (Kubernetes peers end the error stream so), `cut` the connection ended without GOAWAY: nothing may be concluded from what came.
 */
export type SpdyStreamEnd = 'fin' | 'reset' | 'goaway' | 'cut';

export interface SpdyStreamHandlers {
  /** SYN_REPLY of a stream that we created. */
  onReply?(headers: HeaderList): void;
  /** By reference into the socket's chunk; may be kept or written elsewhere, never changed. Never empty. */
  onData?(bytes: Buffer): void;
  /** The peer's direction is over: exactly once, after all onData. Not called after our own reset(). */
  onEnd?(how: SpdyStreamEnd): void;
}

export interface SpdyStream {
  readonly id: number;
  /** Of the SYN_STREAM, whoever sent it. */
  readonly headers: HeaderList;
  /** Both directions are over: ended, reset, or the connection is gone. Writes are then dropped. */
  readonly isClosed: boolean;
  /** SYN_REPLY was received (our stream) or sent (the peer's). */
  readonly isReplied: boolean;
  setHandlers(handlers: SpdyStreamHandlers): void;
  /** Sends SYN_REPLY for a stream of the peer; idempotent. */
  reply(headers?: HeaderList): void;
  /** Sends DATA frames of at most 64 KiB, payload by reference. Held until the reply of a stream we created. False: wait for onDrain. */
  write(bytes: Buffer): boolean;
  /** Sends FIN after what was written; idempotent. */
  end(): void;
  /** Sends RST_STREAM (CANCEL by default) and forgets the stream: no handler is called any more. */
  reset(status?: number): void;
}
