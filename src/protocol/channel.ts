// The channel.k8s.io family over WebSocket messages: the first byte names the channel, the rest is payload. In the base64 forms the first
// byte is an ASCII digit and the rest base64. Payload passes by reference in the pieces it came in; a message is never joined. The
// opcode is not looked at: Python's client sends text messages on the binary protocols.

import { Buffer } from 'node:buffer';
import { KexerError } from '../base/errors.ts';

/** Channels of exec and attach; `close` exists since v5. */
export const channels = Object.freeze({ stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 });

/** How many channels exec and attach have (stdin to resize). */
export const execChannelCount = 5;

export type ChannelEvent =
  /** A piece of a channel's bytes, never empty; `isLast` ends the message, if that piece was not empty. */
  | { readonly type: 'data'; readonly channel: number; readonly bytes: Buffer; readonly isLast: boolean }
  /** v5: the peer half-closed this channel. Repeated ones are given again. */
  | { readonly type: 'close'; readonly channel: number };

export interface ChannelDecoderOptions {
  /** Messages are an ASCII digit and base64 text. */
  readonly isBase64: boolean;
  /** v5: a message `FF cc` half-closes channel cc. */
  readonly hasHalfClose: boolean;
  /** Channels from this number on are ignored (5 for exec and attach, twice the ports for port-forward). */
  readonly channelCount: number;
}

/** A piece of a message: a WebSocket data event of either opcode. */
export interface MessagePiece {
  readonly bytes: Buffer;
  readonly isFirst: boolean;
  readonly isLast: boolean;
}

const asciiZero = 0x30;

export class ChannelDecoder {
  readonly #options: ChannelDecoderOptions;
  #channel = -1; // of the message being read
  #closing: number | undefined; // v5: the second byte of an `FF` message
  #closeLength = 0;
  #base64 = new Base64Decoder();

  constructor(options: ChannelDecoderOptions) {
    this.#options = options;
  }

  /** One piece gives at most one event. Empty messages and those of unknown channels give none. @throws KexerError protocol */
  accept(piece: MessagePiece): ChannelEvent | undefined {
    let { bytes } = piece;
    if (piece.isFirst) {
      const first = bytes[0];
      if (first === undefined) return undefined; // the whole message is empty: a first piece is never empty otherwise
      this.#channel = this.#options.isBase64 ? first - asciiZero : first;
      this.#closing = undefined;
      this.#closeLength = 0;
      if (this.#options.isBase64) this.#base64 = new Base64Decoder();
      bytes = bytes.subarray(1);
    }
    if (this.#options.hasHalfClose && this.#channel === channels.close) return this.#acceptClose(bytes, piece.isLast);
    if (this.#channel < 0 || this.#channel >= this.#options.channelCount) return undefined;
    const payload = this.#options.isBase64 ? this.#base64.accept(bytes, piece.isLast) : bytes;
    if (payload.length === 0) return undefined;
    return { type: 'data', channel: this.#channel, bytes: payload, isLast: piece.isLast };
  }

  #acceptClose(bytes: Buffer, isLast: boolean): ChannelEvent | undefined {
    this.#closeLength += bytes.length;
    this.#closing ??= bytes[0];
    if (this.#closeLength > 1 || (isLast && this.#closing === undefined)) {
      throw new KexerError('protocol', 'Cannot read a half-close message: want one channel byte after FF');
    }
    if (!isLast || this.#closing === undefined) return undefined;
    if (this.#closing >= this.#options.channelCount) {
      throw new KexerError('protocol', `Cannot read a half-close message: channel ${this.#closing} does not exist`);
    }
    return { type: 'close', channel: this.#closing };
  }
}

/**
 * Standard base64 (RFC 4648, section 4), incrementally and as strictly as Go's StdEncoding: padding is required, nothing follows it,
 * line breaks are skipped.
 */
class Base64Decoder {
  #carry = ''; // up to 3 digits of an unfinished group of 4
  #isPadded = false;

  accept(bytes: Buffer, isLast: boolean): Buffer {
    const text = this.#carry + bytes.toString('latin1').replaceAll(/[\r\n]/g, '');
    const whole = text.length - (text.length % 4);
    const group = text.slice(0, whole);
    this.#carry = text.slice(whole);
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(group) || !/^[A-Za-z0-9+/]*={0,2}$/.test(this.#carry)) throw badBase64();
    if (this.#isPadded && text !== '') throw badBase64();
    if (isLast && this.#carry !== '') throw badBase64();
    if (group.endsWith('=')) {
      this.#isPadded = true;
      if (this.#carry !== '') throw badBase64();
    }
    return Buffer.from(group, 'base64');
  }
}

function badBase64(): KexerError {
  return new KexerError('protocol', 'Cannot read a channel message: its payload is no base64');
}

/** The first byte of a binary channel message, to be sent before the payload: `sendBinary(channelByte(1), bytes)`. */
export function channelByte(channel: number): Buffer {
  return Buffer.of(channel);
}

/** A base64 channel message, to be sent as text. Only channels 0 to 9 have a digit. */
export function base64Message(channel: number, bytes: Buffer): string {
  return String.fromCharCode(asciiZero + channel) + bytes.toString('base64');
}

/** v5: the message that half-closes `channel` (client to server only). */
export function closeMessage(channel: number): Buffer {
  return Buffer.of(channels.close, channel);
}

/**
 * The channel whose empty message a server sends first of all, the lowest it writes to: clients drop it, and some wait for it
 * (wsstream's and the translator's `initial empty message`).
 */
export function initialChannel(streams: { hasStdout: boolean; hasStderr: boolean }): number {
  if (streams.hasStdout) return channels.stdout;
  return streams.hasStderr ? channels.stderr : channels.error;
}
