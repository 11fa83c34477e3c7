import { expect } from 'chai';
import fc from 'fast-check';

import { codeOf } from '../../../src/base/errors.ts';
import type { Http2Frame } from '../../../src/protocol/http2/frame.ts';
import { FrameReader } from '../../../src/protocol/http2/frame-reader.ts';
import {
  encodeGoaway,
  encodePing,
  encodeRequestHead,
  encodeRstStream,
  encodeSettings,
  encodeSettingsAck,
  encodeWindowUpdate,
} from '../../../src/protocol/http2/frame-writer.ts';
import { HeaderDecoder } from '../../../src/protocol/http2/header-decoder.ts';
import { noTable } from '../../../src/protocol/http2/header-encoder.ts';
import type { RawHeaders } from '../../../src/protocol/raw-headers.ts';

const opaque = Buffer.from('12345678');

/** length 24 | type 8 | flags 8 | stream id 32 | payload */
function frame(type: number, flags: number, streamId: number, payload: Buffer | string = ''): Buffer {
  const body = Buffer.from(payload);
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, body]);
}

function read(chunks: readonly Buffer[], maxBlockBytes = 1000): Http2Frame[] {
  const reader = new FrameReader({ maxBlockBytes });
  const frames: Http2Frame[] = [];
  for (const chunk of chunks) reader.acceptChunk(chunk, (one) => frames.push(one));
  return frames;
}

/** Pieces of one stream's data joined, since they depend on the chunks. */
function joined(frames: readonly Http2Frame[]): unknown[] {
  const result: unknown[] = [];
  let open: { bytes: string; flowBytes: number; isEnd: boolean; streamId: number } | undefined;
  for (const one of frames) {
    if (one.type !== 'data') {
      open = undefined;
      result.push(one);
    } else if (open?.streamId === one.streamId && !open.isEnd) {
      open.bytes += one.bytes.toString('latin1');
      open.flowBytes += one.flowBytes;
      open.isEnd = one.isEnd;
    } else {
      const { streamId, flowBytes, isEnd } = one;
      open = { streamId, bytes: one.bytes.toString('latin1'), flowBytes, isEnd };
      result.push(open);
    }
  }
  return result;
}

const stream = Buffer.concat([
  encodeSettings([
    [3, 100],
    [4, 65_535],
  ]),
  encodeSettingsAck(),
  frame(1, 0x2c, 1, Buffer.from('\u0002.....block\0\0', 'latin1')),
  frame(1, 1, 3, 'bl'),
  frame(9, 0, 3, 'o'),
  frame(9, 4, 3, 'ck'),
  frame(0, 0, 1, 'hello'),
  frame(0, 8, 1, Buffer.from('\u0003abc\0\0\0', 'latin1')),
  frame(0, 9, 1, Buffer.from('\u0002\0\0', 'latin1')),
  frame(0, 1, 5, ''),
  frame(77, 255, 9, 'unknown'),
  frame(2, 0, 1, '12345'),
  encodePing(opaque, false),
  encodePing(opaque, true),
  encodeRstStream(3, 8),
  encodeWindowUpdate(0, 1000),
  encodeGoaway(2),
]);

const frames = [
  {
    type: 'settings',
    isAck: false,
    values: [
      [3, 100],
      [4, 65_535],
    ],
  },
  { type: 'settings', isAck: true, values: [] },
  { type: 'headers', streamId: 1, block: Buffer.from('block'), isEnd: false },
  { type: 'headers', streamId: 3, block: Buffer.from('block'), isEnd: true },
  { streamId: 1, bytes: 'helloabc', flowBytes: 5 + 7 + 3, isEnd: true },
  { streamId: 5, bytes: '', flowBytes: 0, isEnd: true },
  { type: 'ping', isAck: false, opaque },
  { type: 'ping', isAck: true, opaque },
  { type: 'rstStream', streamId: 3, code: 8 },
  { type: 'windowUpdate', streamId: 0, increment: 1000 },
  { type: 'goaway', lastStreamId: 0, code: 2 },
];

describe('FrameReader', () => {
  it('reads frames that come whole, byte by byte, and split anywhere', () => {
    expect(joined(read([stream]))).to.deep.equal(frames);
    expect(joined(read(Array.from(stream, (byte) => Buffer.from([byte]))))).to.deep.equal(frames);
    for (let at = 0; at <= stream.length; at += 1) {
      expect(joined(read([stream.subarray(0, at), stream.subarray(at)]))).to.deep.equal(frames);
    }
  });

  it('hands DATA on by reference', () => {
    const [piece] = read([frame(0, 0, 1, 'hello')]);
    expect(piece?.type === 'data' && piece.bytes.buffer.byteLength).to.be.greaterThan(5);
  });

  it('does not hold a chunk for the beginning of a frame in it', () => {
    const reader = new FrameReader({ maxBlockBytes: 1000 });
    const chunk = Buffer.concat([frame(0, 0, 1, 'x'.repeat(1000)), Buffer.from([0, 0])]);
    const seen: Http2Frame[] = [];
    reader.acceptChunk(chunk, (one) => seen.push(one));
    chunk.fill(0xff); // whoever kept it would read this
    reader.acceptChunk(Buffer.concat([Buffer.from([0, 0, 1, 5, 0, 0, 0])]), (one) => seen.push(one));
    expect(seen).to.have.length(2);
  });

  const cases: readonly (readonly [what: string, bytes: Buffer, problem: string])[] = [
    ['a frame beyond 16 KiB', frame(0, 0, 1, Buffer.alloc(16_385)), 'tooLarge'],
    ['DATA on stream 0', frame(0, 0, 0, 'a'), 'protocol'],
    ['HEADERS on stream 0', frame(1, 4, 0, 'a'), 'protocol'],
    ['RST_STREAM on stream 0', frame(3, 0, 0, '1234'), 'protocol'],
    ['RST_STREAM of three bytes', frame(3, 0, 1, '123'), 'protocol'],
    ['SETTINGS on a stream', frame(4, 0, 1), 'protocol'],
    ['SETTINGS of five bytes', frame(4, 0, 0, '12345'), 'protocol'],
    ['an acknowledgement with content', frame(4, 1, 0, '123456'), 'protocol'],
    ['a server that would push', encodeSettings([[2, 1]]), 'protocol'],
    ['a window beyond 31 bits', encodeSettings([[4, 2 ** 31]]), 'protocol'],
    ['frames below the least size', encodeSettings([[5, 16_383]]), 'protocol'],
    ['frames above the most', encodeSettings([[5, 2 ** 24]]), 'protocol'],
    ['PUSH_PROMISE', frame(5, 4, 1, '1234'), 'protocol'],
    ['PING of seven bytes', frame(6, 0, 0, '1234567'), 'protocol'],
    ['PING on a stream', frame(6, 0, 1, '12345678'), 'protocol'],
    ['GOAWAY of seven bytes', frame(7, 0, 0, '1234567'), 'protocol'],
    ['GOAWAY on a stream', frame(7, 0, 1, '12345678'), 'protocol'],
    ['WINDOW_UPDATE of three bytes', frame(8, 0, 1, '123'), 'protocol'],
    ['WINDOW_UPDATE by nothing', encodeWindowUpdate(1, 0), 'protocol'],
    ['CONTINUATION of nothing', frame(9, 4, 1, 'a'), 'protocol'],
    ['a frame in the middle of a block', Buffer.concat([frame(1, 0, 1, 'a'), frame(0, 0, 1, 'a')]), 'protocol'],
    ['CONTINUATION of another stream', Buffer.concat([frame(1, 0, 1, 'a'), frame(9, 4, 3, 'a')]), 'protocol'],
    ['padding longer than DATA', frame(0, 8, 1, Buffer.from([3, 0, 0])), 'protocol'],
    ['padded DATA without its length', frame(0, 8, 1), 'protocol'],
    ['padding longer than HEADERS', frame(1, 0xc, 1, Buffer.from([3, 0, 0])), 'protocol'],
    ['a priority that is cut', frame(1, 0x24, 1, '1234'), 'protocol'],
    ['a block beyond its limit', Buffer.concat([frame(1, 0, 1, 'a'), frame(9, 4, 1, 'a'.repeat(1000))]), 'tooLarge'],
    [
      'a block in crumbs',
      Buffer.concat([frame(1, 0, 1, 'a'), ...Array.from({ length: 256 }, () => frame(9, 0, 1))]),
      'tooLarge',
    ],
  ];
  for (const [what, bytes, problem] of cases) {
    it(`refuses ${what}`, () => {
      let code = '';
      try {
        read([bytes]);
      } catch (error) {
        code = codeOf(error);
      }
      expect(code).to.equal(problem);
    });
  }

  it('hands on what stands in front of an error', () => {
    const seen: Http2Frame[] = [];
    const reader = new FrameReader({ maxBlockBytes: 10 });
    const bytes = Buffer.concat([frame(0, 1, 1, 'last'), frame(5, 0, 1, '')]);
    expect(() => reader.acceptChunk(bytes, (one) => seen.push(one))).to.throw('it pushes');
    expect(joined(seen)).to.deep.equal([{ streamId: 1, bytes: 'last', flowBytes: 4, isEnd: true }]);
  });

  it('fails by its own errors alone on any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.integer({ min: 0, max: 10 }), (input, type) => {
        const bytes = Buffer.concat([Buffer.from([0, 0, input.length, type]), Buffer.from(input), Buffer.from(input)]);
        try {
          read([bytes]);
        } catch (error) {
          expect(codeOf(error)).to.match(/^(protocol|tooLarge)$/);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('encodeRequestHead', () => {
  for (const size of [0, 1, 16_377, 16_378, 16_379, 40_000]) {
    it(`cuts a block with a value of ${size} bytes into frames that the peer must take`, () => {
      const headers: RawHeaders = [
        [':method', 'GET'],
        ['x', 'y'.repeat(size)],
      ];
      const frames = read([encodeRequestHead(5, headers, false)], 100_000);
      expect(frames.map((frame) => (frame.type === 'headers' ? decoded(frame.block) : frame))).to.deep.equal([headers]);
      expect(frames.map((frame) => frame.type === 'headers' && [frame.streamId, frame.isEnd])).to.deep.equal([
        [5, true],
      ]);
    });
  }

  it('uses as few frames as there can be', () => {
    const framesOf = (size: number): number[] => {
      const bytes = encodeRequestHead(1, [['x', 'y'.repeat(size)]], false);
      const lengths: number[] = [];
      for (let at = 0; at < bytes.length; at += 9 + (lengths.at(-1) ?? 0)) lengths.push(bytes.readUIntBE(at, 3));
      return lengths;
    };
    expect([framesOf(16_378), framesOf(16_379), framesOf(2 * 16_384 - 7)]).to.deep.equal([
      [16_384],
      [16_384, 1],
      [16_384, 16_384],
    ]);
  });

  it('tells the peer to keep no table in front of the first block', () => {
    const headers: RawHeaders = [['x', 'y']];
    const first = encodeRequestHead(1, headers, true);
    const second = encodeRequestHead(3, headers, false);
    expect([first.readUIntBE(0, 3), first.subarray(9)]).to.deep.equal([
      second.length - 9 + 1,
      Buffer.concat([noTable, second.subarray(9)]),
    ]);
  });
});

function decoded(block: Buffer): RawHeaders {
  return new HeaderDecoder({ maxListBytes: 100_000 }).decode(block).headers;
}
