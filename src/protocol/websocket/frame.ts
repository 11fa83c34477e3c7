// RFC 6455 frames between bytes and values.

import type { Buffer } from 'node:buffer';
import { KexerError } from '../../base/errors.ts';

export type WebSocketRole = 'client' | 'server';
export type DataOpcode = 'text' | 'binary';

export type WebSocketDataEvent = {
  readonly type: 'data';
  readonly opcode: DataOpcode;
  /** A piece of a message, by reference into the chunk given (already unmasked in place). */
  readonly bytes: Buffer;
  /** The first bytes of a message. */
  readonly isFirst: boolean;
  /** The last bytes of the message; continuation frames are joined. An empty message is one event with both set. */
  readonly isLast: boolean;
};
export type WebSocketEvent =
  | WebSocketDataEvent
  | { readonly type: 'ping' | 'pong'; readonly payload: Buffer }
  /** `code` 1005: none was sent. */
  | { readonly type: 'close'; readonly code: number; readonly reason: string };

/** A peer broke RFC 6455 or a limit; `closeCode` is what to answer with. */
export class WebSocketError extends KexerError {
  readonly closeCode: number;

  constructor(code: 'protocol' | 'tooLarge', closeCode: number, message: string) {
    super(code, message);
    this.closeCode = closeCode;
  }
}

export class WebSocketDecoder {
  /** Why decoding stopped; events before the offence were still given. Once set, further chunks give nothing. */
  get failure(): WebSocketError | undefined {
    throw new Error('not written yet');
  }

  /** @param options.role whose bytes these are NOT: the role of the reader. A server wants masked frames. */
  constructor(_options: { role: WebSocketRole; maxMessageBytes?: number }) {
    throw new Error('not written yet');
  }

  /** Takes the chunk over: payloads are unmasked in it and given by reference. Never throws; see {@link failure}. */
  acceptChunk(_chunk: Buffer): WebSocketEvent[] {
    throw new Error('not written yet');
  }
}
