import zlib from 'node:zlib';

import { expect } from 'chai';

import { KexerError } from '../../../src/base/errors.ts';
import { spdyDictionary, spdyDictionaryAdler } from '../../../src/protocol/spdy/dictionary.ts';
import { buildCode, readSymbol } from '../../../src/protocol/spdy/huffman.ts';
import { HeaderInflater } from '../../../src/protocol/spdy/inflate.ts';

/** One zlib stream with a flush after each block, as spdystream writes it. */
async function deflateBlocks(blocks: readonly Buffer[], options: zlib.ZlibOptions = {}): Promise<Buffer[]> {
  const stream = zlib.createDeflate({ dictionary: spdyDictionary, level: 9, ...options });
  const compressed: Buffer[] = [];
  for (const block of blocks) {
    const parts: Buffer[] = [];
    const collect = (part: Buffer): void => void parts.push(part);
    stream.on('data', collect);
    stream.write(block);
    await new Promise<void>((resolve) => {
      stream.flush(zlib.constants.Z_SYNC_FLUSH, () => resolve());
    });
    stream.off('data', collect);
    compressed.push(Buffer.concat(parts));
  }
  stream.destroy();
  return compressed;
}

/** A reproducible generator (mulberry32). */
function randomBytes(seed: number, count: number, alphabet: number): Buffer {
  let state = seed;
  return Buffer.from(
    Uint8Array.from({ length: count }, () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) % alphabet;
    }),
  );
}

function newInflater(maxOutputBytes = 4 * 1024 * 1024): HeaderInflater {
  return new HeaderInflater({ maxOutputBytes });
}

function codeOfThrown(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof KexerError ? `${error.code}: ${error.message}` : `not a KexerError: ${String(error)}`;
  }
  return 'nothing thrown';
}

/** The zlib header that names SPDY/3's dictionary. */
const zlibHead = Buffer.from('78bbe3c6a7c2', 'hex');
const flush = Buffer.from('000000ffff', 'hex');

/** Bits as deflate packs them: from the lowest bit of each byte; spaces are for the reader. */
function bits(text: string): Buffer {
  const digits = text.replaceAll(' ', '');
  const bytes = Buffer.alloc(Math.ceil(digits.length / 8));
  for (const [index, digit] of digits.split('').entries()) {
    if (digit === '1') bytes[index >> 3]! |= 1 << (index % 8);
  }
  return bytes;
}

describe('spdyDictionary', () => {
  it('has the length and the Adler-32 that SPDY/3 gives', () => {
    let low = 1;
    let high = 0;
    for (const byte of spdyDictionary) {
      low = (low + byte) % 65521;
      high = (high + low) % 65521;
    }
    expect([spdyDictionary.length, high * 65536 + low]).to.deep.equal([1423, spdyDictionaryAdler]);
  });
});

describe('HeaderInflater', () => {
  const texts = [
    Buffer.from('streamtype'),
    Buffer.from('content-length accept-encoding HTTP/1.1 200 OK'), // mostly from the dictionary
    Buffer.alloc(0),
    Buffer.alloc(70_000, 'abc'),
    randomBytes(1, 5000, 256),
    randomBytes(2, 40_000, 7), // skewed, so that zlib sends Huffman codes of its own
    Buffer.concat([randomBytes(3, 32_768, 90), randomBytes(3, 32_768, 90)]), // copies from the far end of the window
    Buffer.from('streamtype'),
  ];
  const cases: [name: string, options: zlib.ZlibOptions][] = [
    ['level 9', { level: 9 }],
    ['level 1', { level: 1 }],
    ['stored blocks', { level: 0 }],
    ['fixed codes', { strategy: zlib.constants.Z_FIXED }],
    ['Huffman only', { strategy: zlib.constants.Z_HUFFMAN_ONLY }],
    ['run lengths', { strategy: zlib.constants.Z_RLE }],
    ['a small memory level', { memLevel: 1 }],
  ];

  for (const [name, options] of cases) {
    it(`reads what zlib writes with ${name}, block after block`, async () => {
      const blocks = [...texts, ...texts];
      const inflater = newInflater();
      const compressed = await deflateBlocks(blocks, options);
      // Copied at once: a result is valid until the next call.
      const inflated = compressed.map((block) => Buffer.from(inflater.inflate(block)));
      expect(inflated.map((block, index) => block.equals(blocks[index]!))).to.deep.equal(blocks.map(() => true));
    });
  }

  it('reads a large block when output was cut off the front before', async () => {
    const blocks = Array.from({ length: 40 }, (_, index) => randomBytes(index % 3, 9000, 60));
    const inflater = newInflater();
    const compressed = await deflateBlocks(blocks);
    for (const [index, block] of compressed.entries()) {
      expect(inflater.inflate(block).equals(blocks[index]!), `block ${index}`).to.equal(true);
    }
  });

  it('refuses what makes more than the limit, before it is made', async () => {
    const limit = 1000;
    const results = await Promise.all(
      [limit, limit + 1].map(async (length) => {
        const [bomb] = await deflateBlocks([Buffer.alloc(length)]);
        return codeOfThrown(() => newInflater(limit).inflate(bomb!));
      }),
    );
    expect(results).to.deep.equal([
      'nothing thrown',
      'tooLarge: Cannot inflate an SPDY header block: more than 1000 bytes come out of it',
    ]);
  });

  it('counts the limit for each block', async () => {
    const blocks = await deflateBlocks([Buffer.alloc(900), Buffer.alloc(900), Buffer.alloc(900)]);
    const inflater = newInflater(1000);
    expect(blocks.map((block) => inflater.inflate(block).length)).to.deep.equal([900, 900, 900]);
  });

  it('gives back the memory of a large block', async () => {
    const inflater = newInflater();
    const blocks = await deflateBlocks([Buffer.alloc(3 * 1024 * 1024), Buffer.from('x')]);
    inflater.inflate(blocks[0]!);
    const next = inflater.inflate(blocks[1]!);
    expect(next.buffer.byteLength).to.be.at.most(128 * 1024);
  });

  const table: [name: string, bytes: Buffer, expected: string][] = [
    ['nothing', Buffer.alloc(0), 'the zlib header is cut'],
    ['a cut zlib header', zlibHead.subarray(0, 5), 'the zlib header is cut'],
    ['another compression method', Buffer.from('79bbe3c6a7c2', 'hex'), 'it is not a zlib stream'],
    ['a window over 32 KiB', Buffer.from('88bbe3c6a7c2', 'hex'), 'it is not a zlib stream'],
    ['a wrong header check', Buffer.from('78bce3c6a7c2', 'hex'), 'it is not a zlib stream'],
    ['no dictionary', Buffer.from('789ce3c6a7c2', 'hex'), "it does not use SPDY/3's dictionary"],
    ['another dictionary', Buffer.from('78bbe3c6a7c3', 'hex'), "it does not use SPDY/3's dictionary"],
    ['no block', zlibHead, 'it does not end with a flush'],
    ['a final block', Buffer.concat([zlibHead, Buffer.from('010000ffff', 'hex')]), 'the stream ends'],
    ['a block of type 3', Buffer.concat([zlibHead, bits('0 11')]), 'a block of unknown type'],
    ['a cut stored head', Buffer.concat([zlibHead, Buffer.from('000000ff', 'hex')]), 'a stored block is cut'],
    [
      'wrong stored lengths',
      Buffer.concat([zlibHead, Buffer.from('000100ffff', 'hex')]),
      'lengths of a stored block differ',
    ],
    ['a cut stored block', Buffer.concat([zlibHead, Buffer.from('000200fdff61', 'hex')]), 'a stored block is cut'],
    ['no flush', Buffer.concat([zlibHead, Buffer.from('000100feff61', 'hex')]), 'it does not end with a flush'],
    ['a cut fixed block', Buffer.concat([zlibHead, bits('0 10 0011')]), 'it is cut'],
    ['a reserved length', Buffer.concat([zlibHead, bits('0 10 11000110'), flush]), 'a reserved symbol'],
    // A length of 3 (0000001) with distance symbol 30.
    ['a reserved distance', Buffer.concat([zlibHead, bits('0 10 0000001 11110'), flush]), 'a reserved symbol'],
    // Distance symbol 22 (base 2049, 10 extra bits) reaches 626 bytes before the dictionary.
    [
      'a distance before the dictionary',
      Buffer.concat([zlibHead, bits('0 10 0000001 10110 0000000000'), flush]),
      'a distance before the dictionary',
    ],
    ['too many literal codes', Buffer.concat([zlibHead, bits('0 01 01111 00000 0000')]), 'too many Huffman codes'],
    ['too many distance codes', Buffer.concat([zlibHead, bits('0 01 00000 01111 0000')]), 'too many Huffman codes'],
    // Code lengths 1, 1, 1 for symbols 16, 17, 18.
    [
      'an over-subscribed code',
      Buffer.concat([zlibHead, bits('0 01 00000 00000 0000 100 100 100 000'), flush]),
      'over-subscribed Huffman code',
    ],
    // One code of two bits.
    [
      'an incomplete code',
      Buffer.concat([zlibHead, bits('0 01 00000 00000 0000 010 000 000 000'), flush]),
      'incomplete Huffman code',
    ],
    // Codes of one bit for 16 (0) and 17 (1); the first thing is a repeat of what was before.
    [
      'a repeat of nothing',
      Buffer.concat([zlibHead, bits('0 01 00000 00000 0000 100 100 000 000 0'), flush]),
      'a code length repeats nothing',
    ],
    // Codes of one bit for 17 (0) and 18 (1): 138 zeros, 138 zeros pass the 258 that are wanted.
    [
      'too many code lengths',
      Buffer.concat([zlibHead, bits('0 01 00000 00000 0000 000 100 100 000 1 1111111 1 1111111'), flush]),
      'too many code lengths',
    ],
    // The same with 138 + 120 zeros: no code for the end of a block.
    [
      'no end of block',
      Buffer.concat([zlibHead, bits('0 01 00000 00000 0000 000 100 100 000 1 1111111 1 1011011'), flush]),
      'a block without an end',
    ],
  ];

  for (const [name, bytes, expected] of table) {
    it(`refuses ${name}`, () => {
      expect(codeOfThrown(() => newInflater().inflate(bytes))).to.equal(
        `protocol: Cannot inflate an SPDY header block: ${expected}`,
      );
    });
  }
});

describe('readSymbol', () => {
  it('refuses bits that are no code', () => {
    const code = buildCode(Uint8Array.of(1)); // 0 is the only code
    expect(codeOfThrown(() => readSymbol(code, () => 1))).to.equal(
      'protocol: Cannot inflate an SPDY header block: bits that are no Huffman code',
    );
  });

  it('reads a code of a single bit', () => {
    expect(readSymbol(buildCode(Uint8Array.of(0, 1)), () => 0)).to.equal(1);
  });
});
