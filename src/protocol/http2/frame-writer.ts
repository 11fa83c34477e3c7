// Frames of HTTP/2 that a client without bodies sends, as bytes (RFC 9113, section 6):
//
//   length 24 | type 8 | flags 8 | 0 | stream id 31 | payload

import { Buffer } from 'node:buffer';

import type { RawHeaders } from '../raw-headers.ts';
import { defaultMaxFrameBytes, frameFlag, frameHeadBytes, frameType } from './frame.ts';
import { headerBlockBound, noTable, writeHeaderBlock } from './header-encoder.ts';

/** What a client's connection begins with; SETTINGS must follow. */
export const connectionPreface: Buffer = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

export function encodeSettings(values: readonly (readonly [id: number, value: number])[]): Buffer {
  const frame = frameOf(frameType.settings, 0, 0, values.length * 6);
  let at = frameHeadBytes;
  for (const [id, value] of values) {
    frame.writeUInt16BE(id, at);
    frame.writeUInt32BE(value, at + 2);
    at += 6;
  }
  return frame;
}

export function encodeSettingsAck(): Buffer {
  return frameOf(frameType.settings, frameFlag.ack, 0, 0);
}

/** @param opaque eight bytes. */
export function encodePing(opaque: Buffer, isAck: boolean): Buffer {
  const frame = frameOf(frameType.ping, isAck ? frameFlag.ack : 0, 0, 8);
  opaque.copy(frame, frameHeadBytes, 0, 8);
  return frame;
}

/** `streamId` 0: the connection's window. */
export function encodeWindowUpdate(streamId: number, increment: number): Buffer {
  return withNumber(frameType.windowUpdate, streamId, increment);
}

export function encodeRstStream(streamId: number, code: number): Buffer {
  return withNumber(frameType.rstStream, streamId, code);
}

/** No stream of the peer was processed: a server opens none. */
export function encodeGoaway(code: number): Buffer {
  const frame = frameOf(frameType.goaway, 0, 0, 8);
  frame.writeUInt32BE(code, frameHeadBytes + 4);
  return frame;
}

/**
 * A request without a body: HEADERS with END_STREAM, and CONTINUATIONs behind it where the block is longer than a frame.
 * @param isFirst of its connection: the peer is told to keep no table.
 */
export function encodeRequestHead(streamId: number, headers: RawHeaders, isFirst: boolean): Buffer {
  const whole = Buffer.allocUnsafe(frameHeadBytes + noTable.length + headerBlockBound(headers));
  const from = isFirst ? frameHeadBytes + noTable.copy(whole, frameHeadBytes) : frameHeadBytes;
  const end = writeHeaderBlock(whole, from, headers);
  if (end - frameHeadBytes > defaultMaxFrameBytes) return inFrames(streamId, whole.subarray(frameHeadBytes, end));
  writeFrameHead(whole, end - frameHeadBytes, frameType.headers, frameFlag.endHeaders | frameFlag.endStream, streamId);
  return whole.subarray(0, end);
}

function inFrames(streamId: number, block: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let from = 0; from < block.length; from += defaultMaxFrameBytes) {
    const piece = block.subarray(from, from + defaultMaxFrameBytes);
    const end = from + piece.length === block.length ? frameFlag.endHeaders : 0;
    const head = Buffer.allocUnsafe(frameHeadBytes);
    if (from === 0) writeFrameHead(head, piece.length, frameType.headers, end | frameFlag.endStream, streamId);
    else writeFrameHead(head, piece.length, frameType.continuation, end, streamId);
    parts.push(head, piece);
  }
  return Buffer.concat(parts);
}

function withNumber(type: number, streamId: number, value: number): Buffer {
  const frame = frameOf(type, 0, streamId, 4);
  frame.writeUInt32BE(value, frameHeadBytes);
  return frame;
}

/** A frame with `room` zero bytes of payload. */
function frameOf(type: number, flags: number, streamId: number, room: number): Buffer {
  const frame = Buffer.alloc(frameHeadBytes + room);
  writeFrameHead(frame, room, type, flags, streamId);
  return frame;
}

function writeFrameHead(frame: Buffer, length: number, type: number, flags: number, streamId: number): void {
  frame.writeUIntBE(length, 0, 3);
  frame[3] = type;
  frame[4] = flags;
  frame.writeUInt32BE(streamId, 5);
}
