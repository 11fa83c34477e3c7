// Bytes from an HTTP/2 server to frames, incrementally and synchronously. DATA is handed out in the pieces it came in, by reference; other
// payloads are copied together. A header block comes out whole, its CONTINUATIONs joined. Frames of unknown types and PRIORITY are
// dropped, as the protocol wants; PUSH_PROMISE is an error, because kexer never allows it. An error is the connection's end.

import { Buffer } from 'node:buffer';

import { KexerError } from '../../base/errors.ts';
import {
  defaultMaxFrameBytes,
  frameFlag,
  frameHeadBytes,
  frameType,
  type Http2Frame,
  maxUint31,
  settingId,
} from './frame.ts';

export interface FrameReaderOptions {
  /** Of one header block, compressed, over all its frames. */
  readonly maxBlockBytes: number;
}

/** A block of the largest size needs 65 full frames; a peer that sends it in crumbs has another intention. */
const maxContinuations = 256;

/** The block that CONTINUATIONs must complete before anything else. */
interface OpenBlock {
  readonly streamId: number;
  readonly isEnd: boolean;
  readonly pieces: Buffer[];
  size: number;
}

export class FrameReader {
  readonly #maxBlockBytes: number;
  /** Of the frame being read: its head, then its payload if that is not DATA. */
  #pending: Buffer[];
  #pendingBytes: number;
  #wantedBytes: number;
  #length: number;
  #type: number;
  #flags: number;
  #streamId: number;
  #isInPayload: boolean;
  /** Of the DATA frame being read: payload still to come without padding, and padding. */
  #dataLeft: number;
  #paddingLeft: number;
  #block: OpenBlock | undefined;

  constructor(options: FrameReaderOptions) {
    this.#maxBlockBytes = options.maxBlockBytes;
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#wantedBytes = frameHeadBytes;
    this.#length = 0;
    this.#type = 0;
    this.#flags = 0;
    this.#streamId = 0;
    this.#isInPayload = false;
    this.#dataLeft = 0;
    this.#paddingLeft = 0;
    this.#block = undefined;
  }

  /**
   * Takes bytes as they come and hands on what they complete, in order, before it takes the next: frames in front of an error are not lost.
   * @throws KexerError protocol, tooLarge; whatever `onFrame` throws. Nothing may be read after it.
   */
  acceptChunk(chunk: Buffer, onFrame: (frame: Http2Frame) => void): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#dataLeft > 0) {
        const bytes = chunk.subarray(at, at + this.#dataLeft);
        at += bytes.length;
        this.#dataLeft -= bytes.length;
        const isEnd = this.#dataLeft === 0 && this.#paddingLeft === 0 && this.#hasFlag(frameFlag.endStream);
        onFrame({ type: 'data', streamId: this.#streamId, bytes, flowBytes: bytes.length, isEnd });
      } else if (this.#paddingLeft > 0) {
        const size = Math.min(this.#paddingLeft, chunk.length - at);
        at += size;
        this.#paddingLeft -= size;
        const isEnd = this.#paddingLeft === 0 && this.#hasFlag(frameFlag.endStream);
        onFrame({ type: 'data', streamId: this.#streamId, bytes: nothing, flowBytes: size, isEnd });
      } else if (this.#pendingBytes === 0 && chunk.length - at >= this.#wantedBytes) {
        // As nearly always: a head, or a payload, that came whole.
        const from = at;
        at += this.#wantedBytes;
        if (this.#isInPayload) this.#acceptPayload(chunk.subarray(from, at), onFrame);
        else this.#acceptHead(chunk, from, onFrame);
      } else {
        const piece = chunk.subarray(at, at + this.#wantedBytes - this.#pendingBytes);
        at += piece.length;
        this.#pending.push(piece);
        this.#pendingBytes += piece.length;
        if (this.#pendingBytes === this.#wantedBytes) this.#complete(onFrame);
      }
    }
    // What waits for more must not hold the whole chunk.
    if (this.#pendingBytes > 0) this.#pending = [Buffer.concat(this.#pending, this.#pendingBytes)];
  }

  #hasFlag(flag: number): boolean {
    return (this.#flags & flag) !== 0;
  }

  /** What came in pieces is whole. */
  #complete(onFrame: (frame: Http2Frame) => void): void {
    const bytes = Buffer.concat(this.#pending, this.#pendingBytes);
    this.#pending = [];
    this.#pendingBytes = 0;
    if (this.#isInPayload) this.#acceptPayload(bytes, onFrame);
    else this.#acceptHead(bytes, 0, onFrame);
  }

  #acceptPayload(bytes: Buffer, onFrame: (frame: Http2Frame) => void): void {
    this.#await(frameHeadBytes, false);
    if (this.#type === frameType.data) this.#startData(bytes[0] ?? 0, onFrame);
    else this.#payload(bytes, onFrame);
  }

  #acceptHead(bytes: Buffer, at: number, onFrame: (frame: Http2Frame) => void): void {
    this.#length = bytes.readUIntBE(at, 3);
    this.#type = bytes[at + 3] ?? 0;
    this.#flags = bytes[at + 4] ?? 0;
    this.#streamId = bytes.readUInt32BE(at + 5) & maxUint31;
    this.#head(onFrame);
  }

  #await(bytes: number, isInPayload: boolean): void {
    this.#wantedBytes = bytes;
    this.#isInPayload = isInPayload;
  }

  #head(onFrame: (frame: Http2Frame) => void): void {
    if (this.#length > defaultMaxFrameBytes) throw tooLarge(`a frame of ${this.#length} bytes`);
    const isContinuation = this.#type === frameType.continuation;
    if (this.#block === undefined ? isContinuation : !isContinuation || this.#block.streamId !== this.#streamId) {
      throw broken('a header block is not where it belongs');
    }
    if (this.#type === frameType.pushPromise) throw broken('it pushes, which it was told not to');
    if (this.#type === frameType.data) {
      if (this.#streamId === 0) throw broken('DATA on stream 0');
      // The length of the padding is the first byte of the payload.
      if (this.#hasFlag(frameFlag.padded)) this.#awaitPayload(onFrame, 1);
      else this.#startData(-1, onFrame);
      return;
    }
    this.#awaitPayload(onFrame, this.#length);
  }

  #awaitPayload(onFrame: (frame: Http2Frame) => void, bytes: number): void {
    if (bytes > this.#length) throw broken('a padded frame has no room for its padding');
    if (bytes > 0) this.#await(bytes, true);
    else this.#payload(nothing, onFrame);
  }

  /** @param padding the number in its first byte; -1: there is no such byte. */
  #startData(padding: number, onFrame: (frame: Http2Frame) => void): void {
    const overhead = padding + 1;
    if (overhead > this.#length) throw broken('a padded frame has no room for its padding');
    this.#dataLeft = this.#length - overhead;
    this.#paddingLeft = Math.max(0, padding);
    const isEnd = this.#dataLeft === 0 && this.#paddingLeft === 0 && this.#hasFlag(frameFlag.endStream);
    // The byte that says how much padding there is counts too; and an empty frame may be the end.
    if (padding >= 0 || isEnd) {
      onFrame({ type: 'data', streamId: this.#streamId, bytes: nothing, flowBytes: padding >= 0 ? 1 : 0, isEnd });
    }
  }

  #payload(payload: Buffer, onFrame: (frame: Http2Frame) => void): void {
    const streamId = this.#streamId;
    switch (this.#type) {
      case frameType.headers:
        this.#startBlock(payload, onFrame);
        return;
      case frameType.continuation:
        this.#extendBlock(payload, onFrame);
        return;
      case frameType.rstStream:
        requireLength(payload, 4, 'RST_STREAM');
        if (streamId === 0) throw broken('RST_STREAM on stream 0');
        onFrame({ type: 'rstStream', streamId, code: payload.readUInt32BE(0) });
        return;
      case frameType.settings:
        if (streamId !== 0) throw broken('SETTINGS on a stream');
        onFrame({ type: 'settings', isAck: this.#hasFlag(frameFlag.ack), values: this.#settings(payload) });
        return;
      case frameType.ping:
        requireLength(payload, 8, 'PING');
        if (streamId !== 0) throw broken('PING on a stream');
        onFrame({ type: 'ping', isAck: this.#hasFlag(frameFlag.ack), opaque: payload });
        return;
      case frameType.goaway:
        if (payload.length < 8 || streamId !== 0) throw broken('a GOAWAY that is none');
        onFrame({
          type: 'goaway',
          lastStreamId: payload.readUInt32BE(0) & maxUint31,
          code: payload.readUInt32BE(4),
        });
        return;
      case frameType.windowUpdate:
        requireLength(payload, 4, 'WINDOW_UPDATE');
        if ((payload.readUInt32BE(0) & maxUint31) === 0) throw broken('WINDOW_UPDATE by nothing');
        onFrame({ type: 'windowUpdate', streamId, increment: payload.readUInt32BE(0) & maxUint31 });
        return;
      default: // PRIORITY, and what later documents define
    }
  }

  #settings(payload: Buffer): (readonly [number, number])[] {
    if (payload.length % 6 !== 0 || (this.#hasFlag(frameFlag.ack) && payload.length > 0)) {
      throw broken(`SETTINGS of ${payload.length} bytes`);
    }
    const values: (readonly [number, number])[] = [];
    for (let at = 0; at < payload.length; at += 6) {
      const id = payload.readUInt16BE(at);
      const value = payload.readUInt32BE(at + 2);
      const isWrong =
        (id === settingId.enablePush && value !== 0) ||
        (id === settingId.initialWindowSize && value > maxUint31) ||
        (id === settingId.maxFrameSize && (value < defaultMaxFrameBytes || value > 0xff_ff_ff));
      if (isWrong) throw broken(`a setting ${id} of ${value}`);
      values.push([id, value]);
    }
    return values;
  }

  #startBlock(payload: Buffer, onFrame: (frame: Http2Frame) => void): void {
    if (this.#streamId === 0) throw broken('HEADERS on stream 0');
    const isPadded = this.#hasFlag(frameFlag.padded);
    const from = (isPadded ? 1 : 0) + (this.#hasFlag(frameFlag.priority) ? 5 : 0);
    const to = payload.length - (isPadded ? (payload[0] ?? 0) : 0);
    if (from > to) throw broken('a padded frame has no room for its padding');
    const streamId = this.#streamId;
    const isEnd = this.#hasFlag(frameFlag.endStream);
    const piece = from === 0 && to === payload.length ? payload : payload.subarray(from, to);
    if (this.#hasFlag(frameFlag.endHeaders) && piece.length <= this.#maxBlockBytes) {
      onFrame({ type: 'headers', streamId, block: piece, isEnd });
      return;
    }
    this.#block = { streamId, isEnd, pieces: [], size: 0 };
    this.#extendBlock(piece, onFrame);
  }

  #extendBlock(piece: Buffer, onFrame: (frame: Http2Frame) => void): void {
    const block = this.#block;
    if (block === undefined) return;
    block.pieces.push(piece);
    block.size += piece.length;
    if (block.size > this.#maxBlockBytes || block.pieces.length > maxContinuations) throw tooLarge('a header block');
    if (!this.#hasFlag(frameFlag.endHeaders)) return;
    this.#block = undefined;
    const { streamId, isEnd, pieces, size } = block;
    onFrame({ type: 'headers', streamId, block: Buffer.concat(pieces, size), isEnd });
  }
}

const nothing = Buffer.alloc(0);

function requireLength(payload: Buffer, bytes: number, what: string): void {
  if (payload.length !== bytes) throw broken(`${what} of ${payload.length} bytes`);
}

function broken(problem: string): KexerError {
  return new KexerError('protocol', `Cannot read HTTP/2 from the peer: ${problem}`);
}

function tooLarge(what: string): KexerError {
  return new KexerError('tooLarge', `Cannot read HTTP/2 from the peer: ${what} is beyond the limit`);
}
