// One SPDY/3.1 endpoint over a Duplex: the sandbox (both roles), kexer's legs and test clients.

import type { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

import type { Clock } from '../base/clock.ts';
import type { HeaderList, SpdyLimits } from '../protocol/spdy/frame.ts';
import type { SpdyStream, SpdyStreamHandlers } from './spdy-stream.ts';

export type { SpdyStream, SpdyStreamEnd, SpdyStreamHandlers } from './spdy-stream.ts';

/** How a connection ended: the peer's GOAWAY, its FIN without one, an error (socket, protocol, limits), or us (destroy, or goaway and then the peer's end). */
export type SpdyEnd = { how: 'goaway' } | { how: 'fin' } | { how: 'error'; error: Error } | { how: 'closed' };

export interface SpdyConnectionHandlers {
  /** The peer opened a stream: call stream.setHandlers and stream.reply, or stream.reset. */
  onStream?(stream: SpdyStream): void;
  /** After the automatic echo. */
  onPing?(id: number): void;
  /** Exactly once, after onEnd of every open stream. Afterwards nothing is read; queued bytes still go out, then the socket closes. */
  onEnd(end: SpdyEnd): void;
  /** Exactly once, after onEnd: the socket is closed. */
  onClosed?(): void;
}

export interface SpdyConnectionOptions {
  readonly role: 'client' | 'server';
  /** Bytes that came with the upgrade head. */
  readonly head?: Buffer;
  readonly limits?: Partial<SpdyLimits>;
  /** Open streams that the peer may have; further ones are refused. */
  readonly maxStreams?: number;
  readonly pingIntervalMs?: number;
  /** A server behind an upgrade: client-go loses bytes that are sent before its first frame, so nothing is. */
  readonly isSilentUntilPeerSpeaks?: boolean;
}

export class SpdyConnection {
  constructor(
    deps: { socket: Duplex; clock: Clock },
    options: SpdyConnectionOptions,
    handlers: SpdyConnectionHandlers,
  ) {
    void [deps, options, handlers];
  }

  /** Sends SYN_STREAM; the stream is ready when onReply is called. Throws KexerError 'cut' on an ended connection. */
  createStream(headers: HeaderList, handlers: SpdyStreamHandlers, options: { fin?: boolean } = {}): SpdyStream {
    void [headers, handlers, options];
    throw new Error('not yet');
  }

  ping(): void {}

  /** Stops reading the whole socket until each pause has its resume; frames of the chunk in hand are still delivered. */
  pause(): void {}

  resume(): void {}

  /** GOAWAY and FIN after all queued bytes; then reads on until the peer ends (bounded). */
  goaway(): void {}

  destroy(error?: Error): void {
    void error;
  }

  get isEnded(): boolean {
    return false;
  }

  /** False while too many bytes wait for the socket. */
  get isWritable(): boolean {
    return true;
  }

  /** Calls `run` once when the connection is writable again (at once if it is); never on a connection that has ended. */
  onDrain(run: () => void): void {
    void run;
  }

  get bytesIn(): number {
    return 0;
  }

  get bytesOut(): number {
    return 0;
  }
}
