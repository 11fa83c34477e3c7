// Bytes that no honest peer sends: frames in wrong places, with wrong lengths, header blocks that are no header blocks, and good ones with a few
// bytes changed. Built from a seeded Random, so that a case can be had again.

import { constants, createDeflate, deflateRawSync } from 'node:zlib';

import { spdyDictionary } from '../../../src/protocol/spdy/dictionary.ts';
import { SpdyEncoder } from '../../../src/protocol/spdy/encoder.ts';
import { encodeFrame, encodeFrameHeader, opcodes } from '../../../src/protocol/websocket/frame.ts';
import type { Random } from '../../faults/support/random.ts';

/** A control frame with any content. */
export function controlFrame(type: number, flags: number, payload: Buffer, length: number = payload.length): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16BE(0x8003, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt32BE((((flags & 0xff) << 24) | (length & 0xff_ffff)) >>> 0, 4);
  return Buffer.concat([head, payload]);
}

export function dataFrame(streamId: number, payload: Buffer, isFin = false, length: number = payload.length): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(streamId & 0x7fff_ffff, 0);
  head.writeUInt32BE(((isFin ? 0x0100_0000 : 0) | (length & 0xff_ffff)) >>> 0, 4);
  return Buffer.concat([head, payload]);
}

/** A header block of zlib, as Go's peers compress it: `content` may be anything. */
export function compressedBlock(content: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const deflate = createDeflate({ dictionary: spdyDictionary, level: 9 });
    const parts: Buffer[] = [];
    deflate.on('data', (part: Buffer) => parts.push(part));
    deflate.on('error', reject);
    deflate.write(content);
    deflate.flush(constants.Z_SYNC_FLUSH, () => {
      deflate.destroy();
      resolve(Buffer.concat(parts));
    });
  });
}

/** SYN_STREAM of stream 1 whose header block inflates to `bytes` zeros: 1,000 times what is sent. */
export async function headerBomb(bytes: number): Promise<Buffer> {
  const block = await compressedBlock(Buffer.alloc(bytes));
  return controlFrame(1, 0, Buffer.concat([Buffer.from([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]), block]));
}

const streamTypes = ['error', 'stdin', 'stdout', 'stderr', 'resize', 'data', 'nonsense', ''];

/** Frames of one peer, mostly well formed in themselves and mostly out of place. */
export function spdyFrames(random: Random, options: { role: 'client' | 'server'; count: number }): Buffer[] {
  const encoder = new SpdyEncoder();
  const frames: Buffer[] = [];
  let nextId = options.role === 'client' ? 1 : 2;
  const anyId = (): number =>
    random.weighted([
      [random.between(0, 20), 6],
      [random.between(0, 0x7fff_ffff), 1],
      [nextId, 2],
    ]);
  const makers: readonly (readonly [() => Buffer, number])[] = [
    [
      () => {
        const id = nextId;
        nextId += 2;
        return encoder.synStream(id, [['streamtype', random.pick(streamTypes)]], { fin: random.chance(0.1) });
      },
      6,
    ],
    [() => encoder.synStream(random.between(1, 30), [['streamtype', random.pick(streamTypes)]]), 1],
    [() => encoder.synReply(random.between(1, 12), [], { fin: random.chance(0.1) }), options.role === 'server' ? 6 : 1],
    [() => encoder.headers(random.between(1, 12), [['a', 'b']], { fin: random.chance(0.2) }), 1],
    [() => dataFrame(anyId(), random.bytes(random.between(0, 300)), random.chance(0.1)), 6],
    [() => encoder.rstStream(random.between(1, 12), random.between(0, 20)), 2],
    [() => encoder.ping(random.between(0, 9)), 2],
    [() => controlFrame(4, 0, Buffer.from([0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 100])), 1],
    [() => controlFrame(9, 0, Buffer.from([0, 0, 0, 1, 0, 1, 0, 0])), 1],
    [() => controlFrame(random.between(0, 20), random.between(0, 255), random.bytes(random.between(0, 40))), 1],
    [() => controlFrame(random.pick([1, 2, 8]), 0, random.bytes(random.between(0, 60))), 1],
    [() => controlFrame(random.between(1, 9), 0, random.bytes(4), random.between(0, 0xff_ffff)), 1],
    [() => Buffer.concat([Buffer.from([0x80, random.between(0, 255)]), random.bytes(6)]), 0.5],
    [() => encoder.goaway(random.between(0, 20)), 0.3],
    [() => random.bytes(random.between(1, 60)), 0.5],
  ];
  for (let index = 0; index < options.count; index += 1) frames.push(random.weighted(makers)());
  return frames;
}

/** Channel messages and whatever else a WebSocket can carry, of a client. */
export function webSocketFrames(random: Random, count: number): Buffer[] {
  const key = (): Uint8Array => new Uint8Array(random.bytes(4));
  const frame = (opcode: number, payload: Buffer, isFin = true): Buffer =>
    Buffer.concat(encodeFrame(opcode, [payload], { isFin, key: key() }));
  const channelMessage = (): Buffer =>
    Buffer.concat([Buffer.of(random.between(0, 6)), random.bytes(random.between(0, 200))]);
  const makers: readonly (readonly [() => Buffer, number])[] = [
    [() => frame(opcodes.binary, channelMessage()), 8],
    [() => frame(opcodes.text, channelMessage()), 2],
    [() => frame(opcodes.binary, channelMessage(), false), 1],
    [() => frame(opcodes.continuation, random.bytes(10)), 1],
    [() => frame(opcodes.binary, Buffer.alloc(0)), 1],
    [() => frame(opcodes.binary, Buffer.concat([Buffer.of(255), random.bytes(random.between(0, 3))])), 1],
    [() => frame(opcodes.binary, Buffer.from(`\u0004{"Width":${random.between(-5, 70_000)},"Height":"x"`)), 1],
    [() => frame(opcodes.ping, random.bytes(random.between(0, 200))), 1],
    [() => frame(opcodes.pong, random.bytes(random.between(0, 125))), 1],
    [() => frame(opcodes.close, random.bytes(random.between(0, 10))), 0.3],
    [() => frame(random.between(3, 15), random.bytes(5)), 0.5],
    [() => Buffer.concat(encodeFrame(opcodes.binary, [channelMessage()])), 0.5], // unmasked
    [() => encodeFrameHeader({ opcode: opcodes.binary, length: 2 ** random.between(10, 52), key: key() }), 0.5],
    [() => random.bytes(random.between(1, 60)), 0.5],
    [
      () => {
        const bytes = frame(opcodes.binary, channelMessage());
        bytes[0] = (bytes[0] ?? 0) | (0x10 << random.between(0, 2)); // a reserved bit
        return bytes;
      },
      0.5,
    ],
  ];
  return Array.from({ length: count }, () => random.weighted(makers)());
}

/** Compressed data where a frame is expected, so that an inflater somewhere could be tempted. */
export function deflated(random: Random): Buffer {
  return deflateRawSync(Buffer.alloc(random.between(1, 100_000)));
}

/** Changes some bytes, cuts the end off, or leaves all as it is. */
export function mutate(random: Random, bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  if (random.chance(0.4)) {
    for (let times = random.between(1, 6); times > 0 && changed.length > 0; times -= 1) {
      changed[random.between(0, changed.length - 1)] = random.between(0, 255);
    }
  }
  return random.chance(0.3) ? changed.subarray(0, random.between(0, changed.length)) : changed;
}

/** In pieces, as TCP may deliver it. */
export function split(random: Random, bytes: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = random.weighted([
      [random.between(1, 12), 2],
      [random.between(1, 2000), 3],
      [bytes.length, 2],
    ]);
    pieces.push(bytes.subarray(at, at + length));
    at += length;
  }
  return pieces;
}

const methods = ['GET', 'POST', 'PUT', 'DELETE', 'CONNECT', 'PRI', 'get', 'G\u0000T', 'OPTIONS', 'TRACE'];
const versions = ['HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0', 'HTTP/0.9', 'http/1.1', 'HTTP/1.1 ', ''];
const oddHeaders = [
  'Connection: Upgrade',
  'Connection: close, X-Remote-User',
  'Upgrade: SPDY/3.1',
  'Upgrade: websocket',
  'Upgrade: h2c',
  'Upgrade: SPDY/3.1, websocket',
  'X-Stream-Protocol-Version: v4.channel.k8s.io',
  'X-Stream-Protocol-Version:',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Key: x',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Version: 99',
  'Sec-WebSocket-Protocol: v5.channel.k8s.io',
  'Sec-WebSocket-Protocol: ,,,',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding : chunked',
  'Content-Length: 5',
  'Content-Length: -1',
  'Content-Length: 99999999999999999999',
  'Content-Length: 5\r\nContent-Length: 6',
  'Host: a\r\nHost: b',
  'Expect: 100-continue',
  'X-Remote-User: root',
  'Impersonate-User: root',
  'Authorization: Bearer ',
  ' folded: yes',
  'no colon',
  ': empty',
  'Bad\u0000Name: x',
  'Accept: */*',
];

/** A request head that may be good in parts. */
export function requestHead(random: Random, path: string): Buffer {
  const target = random.weighted([
    [path, 5],
    [`${path}/../..`, 1],
    [path.replace('exec', '%2e%2e'), 1],
    [`https://127.0.0.1${path}`, 1],
    ['*', 1],
    [`${path}?${'a'.repeat(random.between(0, 30_000))}`, 1],
    [random.bytes(20).toString('latin1').replaceAll(/\s/g, 'x'), 1],
  ]);
  const lines = [
    `${random.weighted(methods.map((name, at) => [name, at < 2 ? 8 : 1] as const))} ${target} ${random.weighted(versions.map((name, at) => [name, at === 0 ? 12 : 1] as const))}`,
  ];
  if (random.chance(0.8)) lines.push('Host: 127.0.0.1');
  for (let count = random.between(0, 8); count > 0; count -= 1) lines.push(random.pick(oddHeaders));
  if (random.chance(0.05)) lines.push(`X-Long: ${'x'.repeat(random.between(1000, 200_000))}`);
  if (random.chance(0.05)) for (let count = 0; count < 3000; count += 1) lines.push(`X-${count}: y`);
  const end = random.pick(['\r\n', '\r\n', '\r\n', '\n', '\r']);
  return Buffer.from(`${lines.join(end)}${end}${end}${random.chance(0.3) ? '5\r\nhello\r\n0\r\n\r\n' : ''}`, 'latin1');
}

const statusLines = [
  'HTTP/1.1 200 OK',
  'HTTP/1.1 204 No Content',
  'HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/',
  'HTTP/1.1 401 Unauthorized',
  'HTTP/1.1 403 Forbidden',
  'HTTP/1.1 404 Not Found',
  'HTTP/1.1 500 Internal Server Error',
  'HTTP/1.1 101 Switching Protocols',
  'HTTP/1.1 101',
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue',
  'HTTP/1.1 999 Odd',
  'HTTP/1.1 20 Short',
  'HTTP/2.0 101 Switching Protocols',
  'ICY 200 OK',
  '',
];

/** What a kubelet that is none might answer to an upgrade. */
export function answerHead(random: Random): Buffer {
  const lines = [random.pick(statusLines)];
  for (let count = random.between(0, 6); count > 0; count -= 1) lines.push(random.pick(oddHeaders));
  if (random.chance(0.05)) lines.push(`X-Long: ${'x'.repeat(random.between(1000, 300_000))}`);
  const body = random.chance(0.5) ? random.bytes(random.between(0, 3000)) : Buffer.from('pod does not exist');
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), body]);
}
