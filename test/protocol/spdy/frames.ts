// Helpers of the SPDY tests: frames joined, split and written again, and the SPDY directions of the recordings.

import { unreachable } from '../../../src/base/unreachable.ts';
import { SpdyDecoder, type SpdyDecoderOptions } from '../../../src/protocol/spdy/decoder.ts';
import { SpdyEncoder } from '../../../src/protocol/spdy/encoder.ts';
import type { SpdyFrame } from '../../../src/protocol/spdy/frame.ts';
import { readConnections, streamNames, type RecordedDirection } from '../../support/recordings.ts';

/** Frames with neighbouring pieces of DATA of one stream joined, as text: equal for every way of splitting the bytes. */
export function joined(frames: readonly SpdyFrame[]): SpdyFrame[] {
  const result: SpdyFrame[] = [];
  for (const frame of frames) {
    const last = result.at(-1);
    if (frame.type !== 'data' || last?.type !== 'data' || last.streamId !== frame.streamId || last.fin) {
      result.push(frame);
      continue;
    }
    result[result.length - 1] = { ...frame, bytes: Buffer.concat([last.bytes, frame.bytes]) };
  }
  return result;
}

/** Decodes chunks one after the other with a new decoder, which must end on a frame boundary. */
export function decodeAll(chunks: readonly Buffer[], options: SpdyDecoderOptions = {}): SpdyFrame[] {
  const decoder = new SpdyDecoder({}, options);
  const frames = chunks.flatMap((chunk) => decoder.acceptChunk(chunk));
  if (decoder.failure !== undefined) throw decoder.failure;
  if (!decoder.atFrameBoundary) throw new Error('not at a frame boundary');
  return frames;
}

export function encodeAll(frames: readonly SpdyFrame[]): Buffer {
  const encoder = new SpdyEncoder();
  return Buffer.concat(frames.flatMap((frame) => encodeFrame(encoder, frame)));
}

export function encodeFrame(encoder: SpdyEncoder, frame: SpdyFrame): Buffer[] {
  switch (frame.type) {
    case 'synStream':
      return [encoder.synStream(frame.streamId, frame.headers, frame)];
    case 'synReply':
      return [encoder.synReply(frame.streamId, frame.headers, frame)];
    case 'headers':
      return [encoder.headers(frame.streamId, frame.headers, frame)];
    case 'rstStream':
      return [encoder.rstStream(frame.streamId, frame.status)];
    case 'ping':
      return [encoder.ping(frame.id)];
    case 'goaway':
      return [encoder.goaway(frame.lastStreamId, frame.status)];
    case 'data':
      return [encoder.dataHeader(frame.streamId, frame.bytes.length, frame.fin), frame.bytes];
    case 'settings':
      return [control(4, 0, Buffer.from('0000000101000004000003e8', 'hex'))];
    case 'windowUpdate':
      return [control(9, 0, words(frame.streamId, frame.delta))];
    default:
      return unreachable(frame);
  }
}

/** A control frame from its parts, right or wrong. */
export function control(type: number, flags: number, payload: Buffer, version = 3): Buffer {
  const head = words(0x80_00_00_00 + version * 0x1_00_00 + type, flags * 0x1_00_00_00 + payload.length);
  return Buffer.concat([head, payload]);
}

/** 32-bit words, big endian. */
export function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, index * 4);
  return bytes;
}

export interface RecordedSpdy {
  readonly name: string;
  readonly chunks: readonly Buffer[];
  readonly bytes: Buffer;
}

/** Every recorded direction that speaks SPDY, natively or inside a WebSocket tunnel. */
export function recordedSpdy(): RecordedSpdy[] {
  return streamNames().flatMap((stream) =>
    readConnections(stream).flatMap(({ client, kubelet }) => {
      const isSpdy = /^upgrade: spdy\/3\.1/im.test(client.head);
      const isTunnel = /^sec-websocket-protocol: spdy\/3\.1/im.test(client.head);
      if (!isSpdy && !isTunnel) return [];
      const read = (name: string, direction: RecordedDirection): RecordedSpdy => {
        const chunks = isTunnel ? unframe(direction.body) : direction.chunks;
        return { name: `${stream} from ${name}`, chunks, bytes: Buffer.concat(chunks) };
      };
      return [read('client', client), read('kubelet', kubelet)];
    }),
  );
}

/** Payloads of the binary WebSocket messages in `bytes`, empty ones included; for recordings, whose frames are whole and short. */
function unframe(bytes: Buffer): Buffer[] {
  const payloads: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const opcode = bytes[at]! & 0x0f;
    const isMasked = (bytes[at + 1]! & 0x80) !== 0;
    let length = bytes[at + 1]! & 0x7f;
    at += 2;
    if (length === 126) {
      length = bytes.readUInt16BE(at);
      at += 2;
    }
    const mask = isMasked ? bytes.subarray(at, at + 4) : Buffer.alloc(4);
    at += isMasked ? 4 : 0;
    const payload = Buffer.from(bytes.subarray(at, at + length).map((byte, index) => byte ^ mask[index % 4]!));
    if (opcode === 2) payloads.push(payload);
    at += length;
  }
  return payloads;
}
