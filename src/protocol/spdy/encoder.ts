// SPDY/3.1 frames to bytes. Header blocks are written as stored deflate blocks: nothing is compressed, so that a session holds no
// zlib state; any inflater accepts it. Frames must be sent in the order they were encoded, as the header blocks of a direction are
// one zlib stream. DATA payload is not touched: the caller writes `dataHeader` and then the payload by reference.
//
//   header block on the wire:  [78 20 e3c6a7c2 first time] 00 LEN NLEN bytes … | 00 0000 FFFF
//
// The empty stored block at the end is the flush: Go's compress/flate hands out what it has read only at one, or when its 32 KiB
// window is full (compress/flate/inflate.go, dataBlock), and spdystream fails a frame whose payload was not consumed to its last byte.

import { Buffer } from 'node:buffer';

import { spdyDictionaryAdler } from './dictionary.ts';
import { frameFlag, frameType, maxFrameLength, maxStreamId, spdyVersion, type HeaderList } from './frame.ts';
import { encodeHeaderBlock } from './header-block.ts';

/** Bytes of a frame before its payload. */
export const frameHeadBytes = 8;

/** LEN of a stored block has 16 bits. */
const maxStoredBytes = 0xffff;
const storedHeadBytes = 5;

/** CMF 78 (deflate, 32 KiB window), FLG 20 (FDICT, fastest); together a multiple of 31. */
const zlibHead = 0x7820;
const zlibHeadBytes = 6;

export interface SynStreamOptions {
  readonly fin?: boolean;
  readonly unidirectional?: boolean;
  /** 0 (highest) to 7. */
  readonly priority?: number;
  readonly associatedId?: number;
}

export class SpdyEncoder {
  #hasZlibHead = false;

  synStream(streamId: number, headers: HeaderList, options: SynStreamOptions = {}): Buffer {
    const flags =
      (options.fin === true ? frameFlag.fin : 0) | (options.unidirectional === true ? frameFlag.unidirectional : 0);
    const frame = this.#headerFrame(frameType.synStream, flags, 10, streamId, headers);
    frame.writeUInt32BE((options.associatedId ?? 0) & maxStreamId, frameHeadBytes + 4);
    frame.writeUInt16BE(((options.priority ?? 0) & 0x07) << 13, frameHeadBytes + 8); // 3 bits, 5 unused, and the slot: always 0
    return frame;
  }

  synReply(streamId: number, headers: HeaderList = [], options: { fin?: boolean } = {}): Buffer {
    return this.#streamHeaders(frameType.synReply, streamId, headers, options);
  }

  /** Kubernetes sends none of these. */
  headers(streamId: number, headers: HeaderList, options: { fin?: boolean } = {}): Buffer {
    return this.#streamHeaders(frameType.headers, streamId, headers, options);
  }

  rstStream(streamId: number, status: number): Buffer {
    return pairFrame(frameType.rstStream, checkedStreamId(streamId), status);
  }

  ping(id: number): Buffer {
    const frame = controlFrame(frameType.ping, 0, 4);
    frame.writeUInt32BE(id, frameHeadBytes);
    return frame;
  }

  goaway(lastStreamId: number, status = 0): Buffer {
    return pairFrame(frameType.goaway, lastStreamId, status);
  }

  /** The 8 bytes in front of a DATA payload of `length` bytes. */
  dataHeader(streamId: number, length: number, fin: boolean): Buffer {
    if (length > maxFrameLength) throw new RangeError(`Cannot write a DATA frame of ${length} bytes: want 24 bits`);
    const head = Buffer.allocUnsafe(frameHeadBytes);
    head.writeUInt32BE(checkedStreamId(streamId), 0);
    head.writeUInt32BE((fin ? frameFlag.fin << 24 : 0) | length, 4);
    return head;
  }

  #streamHeaders(type: number, streamId: number, headers: HeaderList, options: { fin?: boolean }): Buffer {
    return this.#headerFrame(type, options.fin === true ? frameFlag.fin : 0, 4, streamId, headers);
  }

  /**
   * A control frame whose payload is `fieldBytes` bytes, of which the first four are the stream id and the rest is left for the caller to
   * fill, and the deflated header block. Whatever can throw comes before the zlib head is taken as written.
   */
  #headerFrame(type: number, flags: number, fieldBytes: number, streamId: number, headers: HeaderList): Buffer {
    const block = encodeHeaderBlock(headers);
    const storedBlocks = Math.ceil(block.length / maxStoredBytes); // a block is never empty: it has its count
    const zlibBytes = this.#hasZlibHead ? 0 : zlibHeadBytes;
    const length = fieldBytes + zlibBytes + block.length + (storedBlocks + 1) * storedHeadBytes;
    const frame = controlFrame(type, flags, length);
    frame.writeUInt32BE(checkedStreamId(streamId), frameHeadBytes);
    let at = frameHeadBytes + fieldBytes;
    if (!this.#hasZlibHead) {
      at = frame.writeUInt16BE(zlibHead, at);
      at = frame.writeUInt32BE(spdyDictionaryAdler, at);
      this.#hasZlibHead = true;
    }
    for (let from = 0; from < block.length; from += maxStoredBytes) {
      const part = block.subarray(from, from + maxStoredBytes);
      at = writeStoredHead(frame, at, part.length);
      at += part.copy(frame, at);
    }
    writeStoredHead(frame, at, 0);
    return frame;
  }
}

/** BFINAL 0 and BTYPE 00 with five bits of padding, LEN, NLEN. */
function writeStoredHead(frame: Buffer, at: number, length: number): number {
  frame.writeUInt8(0, at);
  frame.writeUInt16LE(length, at + 1);
  return frame.writeUInt16LE(length ^ 0xffff, at + 3);
}

function pairFrame(type: number, first: number, second: number): Buffer {
  const frame = controlFrame(type, 0, 8);
  frame.writeUInt32BE(first, frameHeadBytes);
  frame.writeUInt32BE(second, frameHeadBytes + 4);
  return frame;
}

function controlFrame(type: number, flags: number, length: number): Buffer {
  if (length > maxFrameLength) throw new RangeError(`Cannot write an SPDY frame of ${length} bytes: want 24 bits`);
  const frame = Buffer.allocUnsafe(frameHeadBytes + length);
  frame.writeUInt16BE(0x8000 | spdyVersion, 0);
  frame.writeUInt16BE(type, 2);
  frame.writeUInt32BE(((flags << 24) | length) >>> 0, 4);
  return frame;
}

function checkedStreamId(streamId: number): number {
  if (streamId < 1 || streamId > maxStreamId)
    throw new RangeError(`Cannot write SPDY stream id ${streamId}: want 31 bits`);
  return streamId;
}
