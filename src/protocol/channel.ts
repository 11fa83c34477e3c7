// The channel.k8s.io family over WebSocket messages: the first byte names the channel, the rest is payload. Payload passes by reference in
// the pieces it came in; a message is never joined.

import type { Buffer } from 'node:buffer';

/** Channels of exec and attach. */
export const channels = Object.freeze({ stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 });

export type ChannelEvent =
  /** A piece of a channel's bytes, never empty. */
  | { readonly type: 'data'; readonly channel: number; readonly bytes: Buffer; readonly isLast: boolean }
  /** v5: the peer half-closed this channel. Repeated ones are given again. */
  | { readonly type: 'close'; readonly channel: number };

export class ChannelDecoder {
  /**
   * @param options.isBase64 messages are an ASCII digit and base64 text.
   * @param options.hasHalfClose v5: a message `FF cc` half-closes channel cc.
   * @param options.channelCount channels from this number on are ignored (5 for exec and attach, twice the ports for port-forward).
   */
  constructor(_options: { isBase64: boolean; hasHalfClose: boolean; channelCount: number }) {
    throw new Error('not written yet');
  }

  /** One piece of a message (a WebSocket data event of either opcode) gives at most one event. @throws KexerError protocol */
  accept(_piece: { bytes: Buffer; isFirst: boolean; isLast: boolean }): ChannelEvent | undefined {
    throw new Error('not written yet');
  }
}

/** The first byte of a binary channel message, to be sent before the payload: `sendBinary(channelByte(1), bytes)`. */
export function channelByte(_channel: number): Buffer {
  throw new Error('not written yet');
}

/** A base64 channel message, to be sent as text. */
export function base64Message(_channel: number, _bytes: Buffer): string {
  throw new Error('not written yet');
}

/** v5: the message that half-closes `channel` (client to server only). */
export function closeMessage(_channel: number): Buffer {
  throw new Error('not written yet');
}
