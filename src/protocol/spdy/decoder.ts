// Bytes to SPDY/3.1 frames, incrementally and synchronously. DATA payload is handed out in the pieces it came in, by reference, unless small
// pieces are to be joined; a control frame that is split over chunks is copied together. Every header block goes through the inflater, whatever becomes of its
// stream, because the blocks of a direction are one zlib stream.
//
//   control:  1 | version 15 = 3 | type 16 | flags 8 | length 24 | payload
//   data:     0 | stream id 31             | flags 8 | length 24 | payload
//
// Stricter than spdystream in what its reader lets pass by accident (version, lengths of control frames, repeated names); what both
// accept has one meaning.

import { Buffer } from 'node:buffer';

import { KexerError, describeError } from '../../base/errors.ts';
import { quote } from '../../base/quote.ts';
import { frameHeadBytes } from './encoder.ts';
import {
  defaultSpdyLimits,
  frameFlag,
  frameType,
  maxFrameLength,
  maxStreamId,
  spdyVersion,
  type HeaderList,
  type SpdyFrame,
  type SpdyLimits,
} from './frame.ts';
import { decodeHeaderBlock } from './header-block.ts';
import { HeaderInflater } from './inflate.ts';

/** Names that spdystream refuses (its invalidReqHeaders and invalidRespHeaders; `host` only in requests). */
const forbiddenNames: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
]);

/** Least payload of the control frames that are known, and whether it is also the most. */
const payloadRules: ReadonlyMap<number, { readonly bytes: number; readonly isExact: boolean }> = new Map([
  [frameType.synStream, { bytes: 10, isExact: false }],
  [frameType.synReply, { bytes: 4, isExact: false }],
  [frameType.headers, { bytes: 4, isExact: false }],
  [frameType.settings, { bytes: 4, isExact: false }],
  [frameType.rstStream, { bytes: 8, isExact: true }],
  [frameType.ping, { bytes: 4, isExact: true }],
  [frameType.goaway, { bytes: 8, isExact: true }],
  [frameType.windowUpdate, { bytes: 8, isExact: true }],
]);

const controlBit = 0x80_00_00_00;

/**
 * Payload of frames up to this is joined with what precedes it. A frame by itself costs half a microsecond on its way, to move so much a tenth of
 * that.
 */
const maxJoinedPayload = 2048;

/** Below this a loop moves bytes faster than a call of `copyWithin`. */
const minMovedByCall = 32;

export interface SpdyDecoderOptions {
  /**
   * Gives the payload of small DATA frames of one stream that stand side by side in a chunk as one frame, for owners to whom the borders mean nothing.
   * The chunks given are changed then: payload moves over the heads between.
   */
  readonly isJoining?: boolean;
}

/** The partly received payload of a control frame. */
interface PendingControl {
  readonly payload: Buffer;
  filled: number;
}

export class SpdyDecoder {
  readonly #limits: SpdyLimits;
  readonly #isJoining: boolean;
  readonly #inflater: HeaderInflater;
  // The frame head being read. Numbers rather than a buffer, so that an idle session keeps no slice of a pool alive.
  #word0 = 0;
  #word1 = 0;
  #headBytes = 0; // of 8
  #dataLeft = 0; // payload bytes of the current DATA frame that are still to come
  #control: PendingControl | undefined;
  #failure: KexerError | undefined;

  /** @throws RangeError for limits that are not positive whole numbers, or beyond a frame's length. */
  constructor(limits: Partial<SpdyLimits> = {}, options: SpdyDecoderOptions = {}) {
    this.#isJoining = options.isJoining === true;
    this.#limits = { ...defaultSpdyLimits, ...limits };
    for (const [name, value] of Object.entries(this.#limits)) {
      if (!Number.isInteger(value) || value < 1 || value > maxFrameLength) {
        throw new RangeError(`Cannot make an SPDY decoder with ${name} ${value}: want 1 to ${maxFrameLength}`);
      }
    }
    this.#inflater = new HeaderInflater({ maxOutputBytes: this.#limits.maxHeaderBlockBytes });
  }

  /** True if all bytes so far make up whole frames. */
  get atFrameBoundary(): boolean {
    return this.#headBytes === 0 && this.#dataLeft === 0 && this.#control === undefined;
  }

  /** Why decoding ended; look here after each call, as frames that precede the error in one chunk are returned first. */
  get failure(): KexerError | undefined {
    return this.#failure;
  }

  /**
   * Takes bytes as they come and returns what they complete. Frames in front of an error are returned, `failure` is set, and the next
   * call throws it; so no byte that was sent in order is lost to the garbage behind it.
   * @throws KexerError 'protocol' or 'tooLarge'.
   */
  acceptChunk(chunk: Buffer): SpdyFrame[] {
    if (this.#failure !== undefined) throw this.#failure;
    const frames: SpdyFrame[] = [];
    try {
      this.#decode(chunk, frames);
    } catch (error) {
      this.#failure =
        error instanceof KexerError ? error : new KexerError('internal', describeError(error), { cause: error });
      this.#control = undefined;
      if (frames.length === 0) throw this.#failure;
    }
    return frames;
  }

  #decode(chunk: Buffer, frames: SpdyFrame[]): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#dataLeft > 0) at = this.#takeData(chunk, at, frames);
      else if (this.#control !== undefined) at = this.#takeControl(this.#control, chunk, at, frames);
      else at = this.#takeHead(chunk, at, frames);
    }
  }

  #takeHead(chunk: Buffer, from: number, frames: SpdyFrame[]): number {
    let at = from;
    if (this.#headBytes === 0 && chunk.length - at >= frameHeadBytes) {
      this.#word0 = chunk.readUInt32BE(at);
      this.#word1 = chunk.readUInt32BE(at + 4);
      at += frameHeadBytes;
    } else {
      for (; at < chunk.length && this.#headBytes < frameHeadBytes; at += 1) {
        const byte = chunk[at] ?? 0;
        if (this.#headBytes < 4) this.#word0 = ((this.#word0 << 8) | byte) >>> 0;
        else this.#word1 = ((this.#word1 << 8) | byte) >>> 0;
        this.#headBytes += 1;
      }
      if (this.#headBytes < frameHeadBytes) return at;
      this.#headBytes = 0;
    }
    return this.#word0 >= controlBit ? this.#startControl(chunk, at, frames) : this.#startData(at, frames);
  }

  #startData(at: number, frames: SpdyFrame[]): number {
    if (this.#word0 === 0) throw broken('DATA on stream 0');
    this.#dataLeft = this.#word1 & maxFrameLength;
    if (this.#dataLeft === 0) {
      frames.push({ type: 'data', streamId: this.#word0, bytes: Buffer.alloc(0), fin: this.#hasFinFlag });
    }
    return at;
  }

  #takeData(chunk: Buffer, at: number, frames: SpdyFrame[]): number {
    const end = at + Math.min(this.#dataLeft, chunk.length - at);
    this.#dataLeft -= end - at;
    let payloadEnd = end;
    let next = end;
    if (this.#isJoining && this.#dataLeft === 0) {
      let length = this.#nextToJoin(chunk, next);
      while (length > 0) {
        const from = next + frameHeadBytes;
        this.#word1 = chunk.readUInt32BE(next + 4);
        next = from + length;
        if (length < minMovedByCall) {
          for (let index = from; index < next; index += 1) chunk[payloadEnd + index - from] = chunk[index] ?? 0;
        } else {
          chunk.copyWithin(payloadEnd, from, next);
        }
        payloadEnd += length;
        length = this.#nextToJoin(chunk, next);
      }
    }
    frames.push({
      type: 'data',
      streamId: this.#word0,
      bytes: payloadEnd - at === chunk.length ? chunk : chunk.subarray(at, payloadEnd),
      fin: this.#dataLeft === 0 && this.#hasFinFlag,
    });
    return next;
  }

  /** The payload's length of the frame at `at`, if it is to be joined with the one before, whose head is the current one; else 0. */
  #nextToJoin(chunk: Buffer, at: number): number {
    if (this.#hasFinFlag || chunk.length - at <= frameHeadBytes || chunk.readUInt32BE(at) !== this.#word0) return 0;
    const length = chunk.readUInt32BE(at + 4) & maxFrameLength;
    return length <= maxJoinedPayload && length <= chunk.length - at - frameHeadBytes ? length : 0;
  }

  /** Checks all that the head tells before a byte of payload is held, then reads the payload, in place if it is all there. */
  #startControl(chunk: Buffer, at: number, frames: SpdyFrame[]): number {
    const version = (this.#word0 >>> 16) & 0x7fff;
    if (version !== spdyVersion) throw broken(`version ${version}, want ${spdyVersion}`);
    const type = this.#word0 & 0xffff;
    const rule = payloadRules.get(type);
    if (rule === undefined) throw broken(`a control frame of unknown type ${type}`);
    const length = this.#word1 & maxFrameLength;
    if (length < rule.bytes || (rule.isExact && length !== rule.bytes)) {
      throw broken(`a control frame of type ${type} with ${length} bytes`);
    }
    if (length > this.#limits.maxControlBytes) {
      throw new KexerError(
        'tooLarge',
        `Cannot read SPDY: a control frame of ${length} bytes, want at most ${this.#limits.maxControlBytes}`,
      );
    }
    if (chunk.length - at < length) {
      this.#control = { payload: Buffer.allocUnsafeSlow(length), filled: 0 };
      return at;
    }
    frames.push(this.#parseControl(type, chunk.subarray(at, at + length)));
    return at + length;
  }

  #takeControl(control: PendingControl, chunk: Buffer, at: number, frames: SpdyFrame[]): number {
    const count = chunk.copy(control.payload, control.filled, at);
    control.filled += count;
    if (control.filled === control.payload.length) {
      this.#control = undefined;
      frames.push(this.#parseControl(this.#word0 & 0xffff, control.payload));
    }
    return at + count;
  }

  #parseControl(type: number, payload: Buffer): SpdyFrame {
    switch (type) {
      case frameType.synStream:
        return this.#parseSynStream(payload);
      case frameType.synReply:
        return { type: 'synReply', ...this.#parseStreamHeaders(payload) };
      case frameType.headers:
        return { type: 'headers', ...this.#parseStreamHeaders(payload) };
      case frameType.rstStream:
        return this.#parseRstStream(payload);
      case frameType.ping:
        return this.#parsePing(payload);
      case frameType.goaway:
        this.#refuseFlags('GOAWAY');
        return { type: 'goaway', lastStreamId: readStreamId(payload, 0), status: payload.readUInt32BE(4) };
      case frameType.windowUpdate:
        this.#refuseFlags('WINDOW_UPDATE');
        return { type: 'windowUpdate', streamId: readStreamId(payload, 0), delta: readStreamId(payload, 4) };
      default: // SETTINGS: the rules let no other type through
        if (payload.length !== 4 + payload.readUInt32BE(0) * 8) throw broken('SETTINGS whose count is not its length');
        return { type: 'settings' };
    }
  }

  /** Payload: u32 stream id, u32 associated stream id, 3 bits priority, 5 unused, 8 slot, header block. */
  #parseSynStream(payload: Buffer): SpdyFrame {
    const headers = this.#parseHeaders(payload.subarray(10));
    const host = headers.find(([name]) => name === 'host');
    if (host !== undefined) throw forbidden('host');
    return {
      type: 'synStream',
      streamId: nonZero(readStreamId(payload, 0)),
      associatedId: readStreamId(payload, 4),
      priority: (payload[8] ?? 0) >>> 5,
      fin: this.#hasFinFlag,
      unidirectional: ((this.#word1 >>> 24) & frameFlag.unidirectional) !== 0,
      headers,
    };
  }

  /** Payload of SYN_REPLY and HEADERS: u32 stream id, header block. */
  #parseStreamHeaders(payload: Buffer): { streamId: number; fin: boolean; headers: HeaderList } {
    const headers = this.#parseHeaders(payload.subarray(4));
    return { streamId: nonZero(readStreamId(payload, 0)), fin: this.#hasFinFlag, headers };
  }

  #parseHeaders(compressed: Buffer): HeaderList {
    const headers = decodeHeaderBlock(this.#inflater.inflate(compressed), this.#limits);
    for (const [name] of headers) if (forbiddenNames.has(name)) throw forbidden(name);
    return headers;
  }

  #parseRstStream(payload: Buffer): SpdyFrame {
    this.#refuseFlags('RST_STREAM');
    const status = payload.readUInt32BE(4);
    if (status === 0) throw broken('RST_STREAM without a status');
    return { type: 'rstStream', streamId: nonZero(readStreamId(payload, 0)), status };
  }

  #parsePing(payload: Buffer): SpdyFrame {
    this.#refuseFlags('PING');
    const id = payload.readUInt32BE(0);
    if (id === 0) throw broken('PING with id 0');
    return { type: 'ping', id };
  }

  get #hasFinFlag(): boolean {
    return ((this.#word1 >>> 24) & frameFlag.fin) !== 0;
  }

  #refuseFlags(frame: string): void {
    if (this.#word1 >>> 24 !== 0) throw broken(`${frame} with flags`);
  }
}

function broken(what: string): KexerError {
  return new KexerError('protocol', `Cannot read SPDY: ${what}`);
}

function forbidden(name: string): KexerError {
  return broken(`the header ${quote(name)}, which SPDY/3 forbids`);
}

/** The highest bit is reserved and ignored. */
function readStreamId(payload: Buffer, at: number): number {
  return payload.readUInt32BE(at) & maxStreamId;
}

function nonZero(streamId: number): number {
  if (streamId === 0) throw broken('a control frame for stream 0');
  return streamId;
}
