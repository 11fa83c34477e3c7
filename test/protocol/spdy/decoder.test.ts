import zlib from 'node:zlib';

import { expect } from 'chai';

import { KexerError } from '../../../src/base/errors.ts';
import { SpdyDecoder } from '../../../src/protocol/spdy/decoder.ts';
import { spdyDictionary } from '../../../src/protocol/spdy/dictionary.ts';
import { SpdyEncoder } from '../../../src/protocol/spdy/encoder.ts';
import type { SpdyFrame, SpdyLimits } from '../../../src/protocol/spdy/frame.ts';
import { control, decodeAll, encodeAll, joined, words } from './frames.ts';

/** A zlib stream with one header block of these bytes. */
function deflated(block: Buffer): Buffer {
  return zlib.deflateSync(block, { dictionary: spdyDictionary, finishFlush: zlib.constants.Z_SYNC_FLUSH });
}

/** A header block of the given number and the texts that follow, each with its length. */
function block(count: number, ...texts: string[]): Buffer {
  return Buffer.concat([words(count), ...texts.flatMap((text) => [words(text.length), Buffer.from(text, 'latin1')])]);
}

function synStream(headers: Buffer, streamId = 1, flags = 0): Buffer {
  return control(1, flags, Buffer.concat([words(streamId, 0), Buffer.alloc(2), deflated(headers)]));
}

function synReply(headers: Buffer): Buffer {
  return control(2, 0, Buffer.concat([words(1), deflated(headers)]));
}

function refusal(bytes: Buffer, limits: Partial<SpdyLimits> = {}): string {
  try {
    new SpdyDecoder(limits).acceptChunk(bytes);
  } catch (error) {
    return error instanceof KexerError ? `${error.code}: ${error.message}` : `not a KexerError: ${String(error)}`;
  }
  return 'accepted';
}

/** One of each kind, with stream ids that need all their bits. */
const everyFrame: SpdyFrame[] = [
  {
    type: 'synStream',
    streamId: 1,
    associatedId: 0,
    priority: 7,
    fin: false,
    unidirectional: true,
    headers: [['a', 'b']],
  },
  {
    type: 'synStream',
    streamId: 0x7fffffff,
    associatedId: 3,
    priority: 0,
    fin: true,
    unidirectional: false,
    headers: [],
  },
  {
    type: 'synReply',
    streamId: 129,
    fin: true,
    headers: [
      ['host', 'x'],
      ['v', ''],
      ['v', '\u00ff'],
    ],
  },
  { type: 'headers', streamId: 65_537, fin: false, headers: [['x', 'y'.repeat(300)]] },
  { type: 'rstStream', streamId: 0x7fffffff, status: 5 },
  { type: 'settings' },
  { type: 'windowUpdate', streamId: 0, delta: 0x7fffffff },
  { type: 'ping', id: 0xffffffff },
  { type: 'data', streamId: 0x7fffffff, bytes: Buffer.from('hello'), fin: true },
  { type: 'data', streamId: 1, bytes: Buffer.alloc(0), fin: false },
  { type: 'data', streamId: 3, bytes: Buffer.alloc(0), fin: true },
  { type: 'goaway', lastStreamId: 0, status: 2 },
];

describe('SpdyDecoder', () => {
  it('reads every kind of frame, split at every offset and byte by byte', () => {
    const bytes = encodeAll(everyFrame);
    for (let at = 0; at <= bytes.length; at += 1) {
      const frames = joined(decodeAll([bytes.subarray(0, at), bytes.subarray(at)]));
      expect(frames, `split at ${at}`).to.deep.equal(everyFrame);
    }
    const single = Array.from({ length: bytes.length }, (_, index) => bytes.subarray(index, index + 1));
    expect(joined(decodeAll(single))).to.deep.equal(everyFrame);
  });

  it('hands DATA out by reference, in the pieces it came in', () => {
    const payload = Buffer.alloc(100, 'x');
    const decoder = new SpdyDecoder();
    const head = new SpdyEncoder().dataHeader(1, 250, true);
    const first = Buffer.concat([head, payload]);
    const pieces = [
      ...decoder.acceptChunk(first),
      ...decoder.acceptChunk(payload),
      ...decoder.acceptChunk(Buffer.concat([payload.subarray(0, 50), head])),
    ].map((frame) => (frame.type === 'data' ? frame : undefined));
    expect({
      lengths: pieces.map((piece) => piece?.bytes.length),
      fins: pieces.map((piece) => piece?.fin),
      sharesFirst: pieces[0]?.bytes.buffer === first.buffer && pieces[0].bytes.byteOffset === first.byteOffset + 8,
      isSecond: pieces[1]?.bytes === payload,
      atFrameBoundary: decoder.atFrameBoundary,
    }).to.deep.equal({
      lengths: [100, 100, 50],
      fins: [false, false, true],
      sharesFirst: true,
      isSecond: true,
      atFrameBoundary: false,
    });
  });

  it('reads the longest DATA frame without holding it', () => {
    const decoder = new SpdyDecoder();
    decoder.acceptChunk(new SpdyEncoder().dataHeader(5, 0xffffff, true));
    const chunk = Buffer.alloc(65_536);
    let bytes = 0;
    let fins = 0;
    for (let left = 0xffffff; left > 0; left -= chunk.length) {
      for (const frame of decoder.acceptChunk(chunk.subarray(0, Math.min(left, chunk.length)))) {
        if (frame.type !== 'data') continue;
        bytes += frame.bytes.length;
        fins += frame.fin ? 1 : 0;
      }
    }
    expect({ bytes, fins, atFrameBoundary: decoder.atFrameBoundary }).to.deep.equal({
      bytes: 0xffffff,
      fins: 1,
      atFrameBoundary: true,
    });
  });

  it('knows when it stands on a frame boundary', () => {
    const bytes = Buffer.concat([
      new SpdyEncoder().ping(1),
      new SpdyEncoder().dataHeader(1, 2, false),
      Buffer.from('ab'),
    ]);
    const decoder = new SpdyDecoder();
    const boundaries = [...bytes].flatMap((byte, index) => {
      decoder.acceptChunk(Buffer.of(byte));
      return decoder.atFrameBoundary ? [index + 1] : [];
    });
    expect(boundaries).to.deep.equal([12, 22]);
  });

  it('ignores the reserved bit of stream ids in control frames', () => {
    expect(decodeAll([control(3, 0, words(0x80000005, 5))])).to.deep.equal([
      { type: 'rstStream', streamId: 5, status: 5 },
    ]);
  });

  it('splits values at NUL', () => {
    expect(decodeAll([synReply(block(2, 'a', '1\x002\x00', 'b', ''))])).to.deep.equal([
      {
        type: 'synReply',
        streamId: 1,
        fin: false,
        headers: [
          ['a', '1'],
          ['a', '2'],
          ['a', ''],
          ['b', ''],
        ],
      },
    ]);
  });

  it('returns the frames in front of an error, and the error next time', () => {
    const decoder = new SpdyDecoder();
    const frames = decoder.acceptChunk(
      Buffer.concat([new SpdyEncoder().dataHeader(1, 4, false), Buffer.from('tail'), words(0, 0)]),
    );
    expect(joined(frames)).to.deep.equal([{ type: 'data', streamId: 1, bytes: Buffer.from('tail'), fin: false }]);
    expect(decoder.failure?.message).to.equal('Cannot read SPDY: DATA on stream 0');
    expect(() => decoder.acceptChunk(Buffer.alloc(0))).to.throw('Cannot read SPDY: DATA on stream 0');
  });

  const hugeName = 'n'.repeat(100);
  const refusals: [name: string, bytes: Buffer, expected: string, limits?: Partial<SpdyLimits>][] = [
    ['DATA on stream 0', words(0, 5), 'protocol: Cannot read SPDY: DATA on stream 0'],
    ['version 2', control(6, 0, words(1), 2), 'protocol: Cannot read SPDY: version 2, want 3'],
    ...[0, 5, 10, 11, 0x7fff, 0xffff].map((type): [string, Buffer, string] => [
      `control type ${type}`,
      control(type, 0, Buffer.alloc(4)),
      `protocol: Cannot read SPDY: a control frame of unknown type ${type}`,
    ]),
    ...(
      [
        [1, 9],
        [2, 3],
        [3, 7],
        [3, 9],
        [4, 3],
        [6, 3],
        [6, 5],
        [7, 4],
        [7, 9],
        [8, 3],
        [9, 7],
        [9, 9],
      ] as const
    ).map(([type, length]): [string, Buffer, string] => [
      `type ${type} with ${length} bytes`,
      control(type, 0, Buffer.alloc(length)),
      `protocol: Cannot read SPDY: a control frame of type ${type} with ${length} bytes`,
    ]),
    [
      'a long control frame',
      words(0x80030001, 65_537),
      'tooLarge: Cannot read SPDY: a control frame of 65537 bytes, want at most 65536',
    ],
    ['PING 0', control(6, 0, words(0)), 'protocol: Cannot read SPDY: PING with id 0'],
    ['PING with flags', control(6, 1, words(1)), 'protocol: Cannot read SPDY: PING with flags'],
    ['RST_STREAM with flags', control(3, 1, words(1, 5)), 'protocol: Cannot read SPDY: RST_STREAM with flags'],
    ['RST_STREAM of stream 0', control(3, 0, words(0, 5)), 'protocol: Cannot read SPDY: a control frame for stream 0'],
    [
      'RST_STREAM without status',
      control(3, 0, words(1, 0)),
      'protocol: Cannot read SPDY: RST_STREAM without a status',
    ],
    ['GOAWAY with flags', control(7, 2, words(1, 0)), 'protocol: Cannot read SPDY: GOAWAY with flags'],
    ['WINDOW_UPDATE with flags', control(9, 1, words(1, 5)), 'protocol: Cannot read SPDY: WINDOW_UPDATE with flags'],
    [
      'SETTINGS of another length',
      control(4, 0, words(2, 0, 0)),
      'protocol: Cannot read SPDY: SETTINGS whose count is not its length',
    ],
    ['SYN_STREAM of stream 0', synStream(block(0), 0), 'protocol: Cannot read SPDY: a control frame for stream 0'],
    [
      'SYN_STREAM with host',
      synStream(block(1, 'host', 'x')),
      'protocol: Cannot read SPDY: the header "host", which SPDY/3 forbids',
    ],
    ...['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding'].map((name): [string, Buffer, string] => [
      `SYN_REPLY with ${name}`,
      synReply(block(1, name, 'x')),
      `protocol: Cannot read SPDY: the header "${name}", which SPDY/3 forbids`,
    ]),
    [
      'an upper-case name',
      synReply(block(1, 'streamType', 'x')),
      'protocol: Cannot read an SPDY header block: the header name "streamType" is not lower case',
    ],
    ['an empty name', synReply(block(1, '', 'x')), 'protocol: Cannot read an SPDY header block: an empty header name'],
    [
      'a repeated name',
      synReply(block(2, 'a', '1', 'a', '2')),
      'protocol: Cannot read an SPDY header block: the header name "a" is repeated',
    ],
    ['an empty header block', synReply(Buffer.alloc(0)), 'protocol: Cannot read an SPDY header block: it is cut'],
    ['a cut header block', synReply(block(1, 'a')), 'protocol: Cannot read an SPDY header block: it is cut'],
    ['a length past the end', synReply(words(1, 0xffffffff)), 'protocol: Cannot read an SPDY header block: it is cut'],
    [
      'bytes after the headers',
      synReply(block(1, 'a', 'b', 'c')),
      'protocol: Cannot read an SPDY header block: 5 bytes are left over',
    ],
    [
      'too many headers',
      synReply(block(3, 'a', '', 'b', '', 'c', '')),
      'tooLarge: Cannot read an SPDY header block: it has more than 2 headers',
      { maxHeaders: 2 },
    ],
    [
      'too many values',
      synReply(block(1, 'a', '\0\0')),
      'tooLarge: Cannot read an SPDY header block: it has more than 2 headers',
      { maxHeaders: 2 },
    ],
    [
      'a count of 2^32-1',
      synReply(words(0xffffffff)),
      'tooLarge: Cannot read an SPDY header block: it has more than 1000 headers',
    ],
    [
      'an inflated block over its limit',
      synReply(block(1, hugeName, '')),
      'tooLarge: Cannot inflate an SPDY header block: more than 111 bytes come out of it',
      { maxHeaderBlockBytes: 111 },
    ],
    [
      'a header block that is not compressed',
      control(2, 0, Buffer.concat([words(1), block(0)])),
      'protocol: Cannot inflate an SPDY header block: the zlib header is cut',
    ],
  ];

  for (const [name, bytes, expected, limits] of refusals) {
    it(`refuses ${name}`, () => {
      expect(refusal(bytes, limits)).to.equal(expected);
    });
  }

  it('accepts what stands exactly at a limit', () => {
    const exact = synReply(block(1, hugeName, ''));
    expect(refusal(exact, { maxHeaderBlockBytes: 112, maxHeaders: 1, maxControlBytes: exact.length - 8 })).to.equal(
      'accepted',
    );
  });

  it('refuses a zip bomb with little work and memory', () => {
    const bomb = synReply(Buffer.alloc(16 * 1024 * 1024));
    const before = process.memoryUsage().arrayBuffers;
    expect({ compressed: bomb.length < 64 * 1024, answer: refusal(bomb) }).to.deep.equal({
      compressed: true,
      answer: 'tooLarge: Cannot inflate an SPDY header block: more than 1048576 bytes come out of it',
    });
    expect(process.memoryUsage().arrayBuffers - before).to.be.below(8 * 1024 * 1024);
  });

  it('refuses limits without a meaning', () => {
    for (const limits of [{ maxHeaders: 0 }, { maxControlBytes: 0x1000000 }, { maxHeaderBlockBytes: 1.5 }]) {
      const [[name, value]] = Object.entries(limits) as [[string, number]];
      expect(() => new SpdyDecoder(limits)).to.throw(
        `Cannot make an SPDY decoder with ${name} ${value}: want 1 to 16777215`,
      );
    }
  });
});

describe('SpdyDecoder that joins', () => {
  /** DATA frames as `stream:text`, with `.` for FIN. */
  function read(bytes: Buffer): string[] {
    const frames = new SpdyDecoder({}, { isJoining: true }).acceptChunk(bytes);
    return frames.map((frame) =>
      frame.type === 'data'
        ? `${frame.streamId}:${frame.bytes.length > 40 ? frame.bytes.length : frame.bytes.toString()}${frame.fin ? '.' : ''}`
        : frame.type,
    );
  }

  const data = (streamId: number, text: string, fin = false): SpdyFrame => ({
    type: 'data',
    streamId,
    bytes: Buffer.from(text),
    fin,
  });
  const ping: SpdyFrame = { type: 'ping', id: 1 };
  const large = 'x'.repeat(2049);
  const cases: Readonly<Record<string, readonly [frames: SpdyFrame[], want: string[]]>> = {
    'frames of one stream': [[data(1, 'a'), data(1, 'bc'), data(1, 'd'.repeat(33))], [`1:abc${'d'.repeat(33)}`]],
    'a FIN, and nothing after it': [
      [data(1, 'a'), data(1, 'b', true), data(1, 'c')],
      ['1:ab.', '1:c'],
    ],
    'not another stream': [
      [data(1, 'a'), data(3, 'b'), data(1, 'c'), data(1, 'd')],
      ['1:a', '3:b', '1:cd'],
    ],
    'not across a control frame': [
      [data(1, 'a'), ping, data(1, 'b'), data(1, 'c')],
      ['1:a', 'ping', '1:bc'],
    ],
    'not an empty frame': [
      [data(1, 'a'), data(1, '', true)],
      ['1:a', '1:.'],
    ],
    'small ones behind a large one, no large one': [
      [data(1, large), data(1, 'a'), data(1, large), data(1, 'b')],
      ['1:2050', '1:2050'],
    ],
  };
  for (const [what, [frames, want]] of Object.entries(cases)) {
    it(`joins ${what}`, () => {
      expect(read(encodeAll(frames))).to.deep.equal(want);
    });
  }

  it('leaves a frame that is not all there for later', () => {
    const bytes = encodeAll([data(1, 'a'), data(1, 'bcd'), data(1, 'e')]);
    const decoder = new SpdyDecoder({}, { isJoining: true });
    for (let cut = 1; cut < bytes.length; cut += 1) {
      const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)].map((piece) => Buffer.from(piece));
      const payload = pieces.flatMap((piece) =>
        decoder.acceptChunk(piece).map((frame) => (frame.type === 'data' ? frame.bytes.toString() : '')),
      );
      expect(payload.join(''), `cut at ${cut}`).to.equal('abcde');
    }
  });

  it('makes one frame of the thousands that fit into a record', () => {
    const frames = Array.from({ length: 1800 }, (_, index) => data(1, String.fromCharCode(97 + (index % 26))));
    expect(read(encodeAll(frames))).to.deep.equal(['1:1800']);
  });
});
