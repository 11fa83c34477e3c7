// RFC 6455 frames between bytes and values. The decoder is incremental and hands out payload in the pieces it came in, by reference,
// unmasked in place: a message of 32 MiB costs no buffer. Fragments are joined into one message by `isFirst` and `isLast`. Extensions
// are never negotiated, so reserved bits are an error. Whether text is UTF-8 is the caller's matter.
//
//      0               1               2               3
//     +-+-+-+-+-------+-+-------------+-------------------------------+
//     |F|R|R|R| opcode|M| length 7    | extended length 16 or 64      |   section 5.2
//     |I|S|S|S|  4    |A| 126: 16 bit | (64: the first bit is 0)      |
//     |N|V|V|V|       |S| 127: 64 bit | then 4 bytes of key if MASK   |
//     +-+-+-+-+-------+-+-------------+-------------------------------+

import { isUtf8 } from 'node:buffer';
import { KexerError } from '../../base/errors.ts';
import { applyKeyWord, applyMask, keyWord } from './mask.ts';

export type WebSocketRole = 'client' | 'server';
export type DataOpcode = 'text' | 'binary';

export interface WebSocketDataEvent {
  readonly type: 'data';
  readonly opcode: DataOpcode;
  /** A piece of a message, by reference into the chunk given (already unmasked in place). Empty only in a last piece. */
  readonly bytes: Buffer;
  /** The first piece of a message. */
  readonly isFirst: boolean;
  /** The last piece of the message. An empty message is one event with both set. */
  readonly isLast: boolean;
}

export type WebSocketEvent =
  | WebSocketDataEvent
  | { readonly type: 'ping' | 'pong'; readonly payload: Buffer }
  /** `code` 1005: none was sent. Nothing follows. */
  | { readonly type: 'close'; readonly code: number; readonly reason: string };

/** Section 5.2. */
export const opcodes = Object.freeze({ continuation: 0x0, text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa });

/** Section 7.4.1; `none` and `lost` never travel. */
export const closeCodes = Object.freeze({
  normal: 1000,
  goingAway: 1001,
  protocolError: 1002,
  none: 1005,
  lost: 1006,
  badData: 1007,
  policy: 1008,
  tooLarge: 1009,
  internal: 1011,
  restart: 1012,
});

/** A peer broke RFC 6455 or a limit; `closeCode` is what to answer with. */
class WebSocketError extends KexerError {
  readonly closeCode: number;

  constructor(code: 'protocol' | 'tooLarge', closeCode: number, message: string) {
    super(code, `Cannot read a WebSocket frame: ${message}`);
    this.name = 'WebSocketError';
    this.closeCode = closeCode;
  }
}

/** What golang.org/x/net/websocket in kubelets and apiservers takes in one frame. */
const defaultMaxMessageBytes = 32 * 1024 * 1024;

const finBit = 0x80;
const reservedBits = 0x70;
const opcodeMask = 0x0f;
const controlBit = 0x08;
const maskBit = 0x80;
const lengthMask = 0x7f;
const length16 = 126;
const length64 = 127;
const maxControlBytes = 125;
const maxHeaderBytes = 14;

export interface WebSocketDecoderOptions {
  /** The reader's own role: a server wants masked frames, a client unmasked ones. */
  readonly role: WebSocketRole;
  /** Bytes of all fragments of a message together. */
  readonly maxMessageBytes?: number | undefined;
}

export class WebSocketDecoder {
  readonly #isMasked: boolean;
  readonly #maxMessageBytes: number;

  // The frame header, collected byte by byte where it straddles chunks.
  readonly #header = Buffer.alloc(maxHeaderBytes);
  #headerLength = 0;

  // The frame whose payload is being read; valid while `#isInPayload`.
  #isInPayload = false;
  #isFin = false;
  #opcode = 0;
  #key = 0; // as a word
  #length = 0;
  #done = 0; // payload bytes of this frame already read

  // The message that spans frames.
  #message: DataOpcode | undefined;
  #messageBytes = 0;
  #isFirst = true; // no piece of the message was given yet

  #control: Buffer[] = [];
  #failure: WebSocketError | undefined;
  #isClosed = false;

  constructor(options: WebSocketDecoderOptions) {
    const max = options.maxMessageBytes ?? defaultMaxMessageBytes;
    if (!Number.isSafeInteger(max) || max < 1)
      throw new RangeError(`maxMessageBytes is ${max}, want a positive integer`);
    this.#isMasked = options.role === 'server';
    this.#maxMessageBytes = max;
  }

  /** Why decoding stopped; events before the offence were still given. Once set, further chunks give nothing. */
  get failure(): WebSocketError | undefined {
    return this.#failure;
  }

  /** Whether a Close was read; further chunks give nothing. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether the bytes so far end with a whole message: an end of the connection here cuts no message. */
  get isAtMessageBoundary(): boolean {
    return this.#headerLength === 0 && !this.#isInPayload && this.#message === undefined;
  }

  /** Takes the chunk over: payloads are unmasked in it and given by reference. Never throws; see {@link failure}. */
  acceptChunk(chunk: Buffer): WebSocketEvent[] {
    const events: WebSocketEvent[] = [];
    let at = 0;
    try {
      while (!this.#isClosed && this.#failure === undefined) {
        if (!this.#isInPayload) {
          at = this.#readHeader(chunk, at);
          if (!this.#isInPayload) break;
        }
        if (at === chunk.length && this.#done < this.#length) break;
        at = this.#readPayload(chunk, at, events);
      }
    } catch (error) {
      if (!(error instanceof WebSocketError)) throw error;
      this.#failure = error;
    }
    return events;
  }

  /** Collects header bytes; the frame's fields are set once it is whole. Gives the position after what it took. */
  #readHeader(chunk: Buffer, from: number): number {
    let at = from;
    while (at < chunk.length) {
      this.#header[this.#headerLength] = chunk[at] ?? 0;
      this.#headerLength += 1;
      at += 1;
      if (this.#headerLength === 1) this.#checkFirstByte(this.#header[0] ?? 0);
      else if (this.#headerLength === 2) this.#checkSecondByte(this.#header[1] ?? 0);
      if (this.#headerLength >= 2 && this.#headerLength === this.#wantedHeaderLength()) {
        this.#openFrame();
        return at;
      }
    }
    return at;
  }

  #wantedHeaderLength(): number {
    const length = (this.#header[1] ?? 0) & lengthMask;
    return 2 + (length === length16 ? 2 : length === length64 ? 8 : 0) + (this.#isMasked ? 4 : 0);
  }

  #checkFirstByte(byte: number): void {
    if ((byte & reservedBits) !== 0) throw broken('a reserved bit is set, though no extension was negotiated');
    const opcode = byte & opcodeMask;
    switch (opcode) {
      case opcodes.continuation:
        if (this.#message === undefined) throw broken('a continuation without a message to continue');
        return;
      case opcodes.text:
      case opcodes.binary:
        if (this.#message !== undefined) throw broken('a new message inside a fragmented one');
        return;
      case opcodes.close:
      case opcodes.ping:
      case opcodes.pong:
        if ((byte & finBit) === 0) throw broken('a fragmented control frame');
        return;
      default:
        throw broken(`the unknown opcode ${opcode}`);
    }
  }

  #checkSecondByte(byte: number): void {
    if (((byte & maskBit) !== 0) !== this.#isMasked) {
      throw broken(this.#isMasked ? 'a frame of a client that is not masked' : 'a frame of a server that is masked');
    }
    const isControl = ((this.#header[0] ?? 0) & controlBit) !== 0;
    if (isControl && (byte & lengthMask) > maxControlBytes) throw broken('a control frame of over 125 bytes');
  }

  /** RFC 6455 wants the shortest length form; like Go's and every other peer this takes a longer one as well. */
  #openFrame(): void {
    const [first = 0, second = 0] = this.#header;
    const short = second & lengthMask;
    if (short === length16) this.#length = this.#header.readUInt16BE(2);
    else if (short === length64) this.#length = this.#readLength64();
    else this.#length = short;
    if (this.#isMasked) this.#key = keyWord(this.#header.subarray(this.#headerLength - 4, this.#headerLength));
    this.#headerLength = 0;
    this.#isFin = (first & finBit) !== 0;
    this.#opcode = first & opcodeMask;
    this.#done = 0;
    this.#isInPayload = true;
    if ((first & controlBit) !== 0) return;
    if (this.#message === undefined) {
      this.#message = this.#opcode === opcodes.text ? 'text' : 'binary';
      this.#messageBytes = 0;
      this.#isFirst = true;
    }
    this.#messageBytes += this.#length;
    if (this.#messageBytes > this.#maxMessageBytes) {
      const text = `a message of at least ${this.#messageBytes} bytes, want at most ${this.#maxMessageBytes}`;
      throw new WebSocketError('tooLarge', closeCodes.tooLarge, text);
    }
  }

  #readLength64(): number {
    const high = this.#header.readUInt32BE(2);
    if (high >= 0x80000000) throw broken('a length with its first bit set');
    // Above 2^53 the number is rounded; every limit is far below.
    return high * 0x1_0000_0000 + this.#header.readUInt32BE(6);
  }

  #readPayload(chunk: Buffer, from: number, events: WebSocketEvent[]): number {
    const to = Math.min(chunk.length, from + this.#length - this.#done);
    const bytes = chunk.subarray(from, to);
    if (this.#isMasked && bytes.length > 0) applyKeyWord(bytes, this.#key, this.#done & 3);
    this.#done += bytes.length;
    const isWhole = this.#done === this.#length;
    if (isWhole) this.#isInPayload = false;
    if ((this.#opcode & controlBit) === 0) this.#giveData(bytes, isWhole && this.#isFin, events);
    else this.#collectControl(bytes, isWhole, events);
    return to;
  }

  #giveData(bytes: Buffer, isLast: boolean, events: WebSocketEvent[]): void {
    // An empty fragment says nothing unless it ends the message; `isFirst` then waits for the first real piece.
    if (bytes.length === 0 && !isLast) return;
    events.push({ type: 'data', opcode: this.#message ?? 'binary', bytes, isFirst: this.#isFirst, isLast });
    this.#isFirst = false;
    if (isLast) this.#message = undefined;
  }

  #collectControl(bytes: Buffer, isWhole: boolean, events: WebSocketEvent[]): void {
    if (!isWhole) {
      this.#control.push(Buffer.from(bytes)); // the chunk is its owner's again after this call
      return;
    }
    this.#control.push(bytes);
    const payload = this.#control.length === 1 ? bytes : Buffer.concat(this.#control);
    this.#control = [];
    if (this.#opcode !== opcodes.close) {
      events.push({ type: this.#opcode === opcodes.ping ? 'ping' : 'pong', payload });
      return;
    }
    events.push(parseClose(payload));
    this.#isClosed = true;
  }
}

function broken(text: string): WebSocketError {
  return new WebSocketError('protocol', closeCodes.protocolError, text);
}

/** Section 5.5.1: nothing, or a 2-byte code and a reason in UTF-8. */
function parseClose(payload: Buffer): WebSocketEvent {
  if (payload.length === 0) return { type: 'close', code: closeCodes.none, reason: '' };
  if (payload.length === 1) throw broken('a close frame of one byte');
  const code = payload.readUInt16BE(0);
  if (!mayTravel(code)) throw broken(`the close code ${code}`);
  const reason = payload.subarray(2);
  if (!isUtf8(reason)) {
    throw new WebSocketError('protocol', closeCodes.badData, 'a close reason that is no UTF-8');
  }
  return { type: 'close', code, reason: reason.toString() };
}

/** Section 7.4 and the IANA registry: 1004 to 1006 and 1015 are reserved for inside use, below 1000 and from 1015 to 2999 is nothing. */
function mayTravel(code: number): boolean {
  if (code >= 1000 && code <= 1014) return code < 1004 || code > 1006;
  return code >= 3000 && code <= 4999;
}

/** The header of one frame; with `key` (4 bytes) of a masked one, whose payload the caller must mask. */
export function encodeFrameHeader(frame: {
  opcode: number;
  length: number;
  isFin?: boolean;
  key?: Uint8Array | undefined;
}): Buffer {
  const { opcode, length, key } = frame;
  const lengthBytes = length < length16 ? 0 : length <= 0xffff ? 2 : 8;
  const header = Buffer.allocUnsafe(2 + lengthBytes + (key === undefined ? 0 : 4));
  header[0] = (frame.isFin === false ? 0 : finBit) | opcode;
  header[1] =
    (key === undefined ? 0 : maskBit) | (lengthBytes === 0 ? length : lengthBytes === 2 ? length16 : length64);
  if (lengthBytes === 2) header.writeUInt16BE(length, 2);
  if (lengthBytes === 8) {
    header.writeUInt32BE(Math.floor(length / 0x1_0000_0000), 2);
    header.writeUInt32BE(length >>> 0, 6);
  }
  if (key !== undefined) header.set(key, 2 + lengthBytes);
  return header;
}

/**
 * A whole frame from payload parts, as buffers to be written in order. Without `key` (servers) the parts pass by reference; with it
 * (clients) they are copied and masked, since they belong to the caller.
 */
export function encodeFrame(
  opcode: number,
  parts: readonly Buffer[],
  options: { isFin?: boolean; key?: Uint8Array | undefined } = {},
): Buffer[] {
  let length = 0;
  for (const part of parts) length += part.length;
  const header = encodeFrameHeader({ opcode, length, ...options });
  if (options.key === undefined) return [header, ...parts];
  const frame = Buffer.concat([header, ...parts], header.length + length);
  applyMask(frame.subarray(header.length), options.key, 0);
  return [frame];
}

/** The payload of a Close; `reason` is cut to what a control frame holds, between characters. Code 1005 gives an empty one. */
export function closePayload(code: number, reason = ''): Buffer {
  if (code === closeCodes.none) return Buffer.alloc(0);
  if (!mayTravel(code)) throw new RangeError(`The close code ${code} may not be sent`);
  const text = Buffer.from(reason);
  let length = Math.min(text.length, maxControlBytes - 2);
  // Not between the bytes of one character: a continuation byte is 10xxxxxx.
  while (length < text.length && length > 0 && ((text[length] ?? 0) & 0xc0) === 0x80) length -= 1;
  const payload = Buffer.allocUnsafe(2 + length);
  payload.writeUInt16BE(code, 0);
  text.copy(payload, 2, 0, length);
  return payload;
}
