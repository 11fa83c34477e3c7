import { expect } from 'chai';
import fc from 'fast-check';

import { codeOf } from '../../../src/base/errors.ts';
import { HeaderDecoder } from '../../../src/protocol/http2/header-decoder.ts';
import { encodeHeaderBlock, noTable } from '../../../src/protocol/http2/header-encoder.ts';
import type { RawHeaders } from '../../../src/protocol/raw-headers.ts';

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const decoder = (maxTableBytes = 4096, maxListBytes = 1024 * 1024): HeaderDecoder =>
  new HeaderDecoder({ maxTableBytes, maxListBytes });

function problemOf(run: () => unknown): string {
  try {
    return JSON.stringify(run());
  } catch (error) {
    return `${codeOf(error)}: ${error instanceof Error ? error.message.replace(/^[^:]*: /, '') : ''}`;
  }
}

describe('HeaderDecoder, on the examples of RFC 7541', () => {
  const sequences: readonly {
    readonly name: string;
    readonly maxTableBytes: number;
    readonly blocks: readonly (readonly [hex: string, headers: RawHeaders])[];
  }[] = [
    {
      name: 'C.2: a field with each kind of indexing',
      maxTableBytes: 4096,
      blocks: [
        ['400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572', [['custom-key', 'custom-header']]],
        ['040c 2f73 616d 706c 652f 7061 7468', [[':path', '/sample/path']]],
        ['1008 7061 7373 776f 7264 0673 6563 7265 74', [['password', 'secret']]],
        ['82', [[':method', 'GET']]],
      ],
    },
    {
      name: 'C.4: requests in Huffman code',
      maxTableBytes: 4096,
      blocks: [
        [
          '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
          [
            [':method', 'GET'],
            [':scheme', 'http'],
            [':path', '/'],
            [':authority', 'www.example.com'],
          ],
        ],
        [
          '8286 84be 5886 a8eb 1064 9cbf',
          [
            [':method', 'GET'],
            [':scheme', 'http'],
            [':path', '/'],
            [':authority', 'www.example.com'],
            ['cache-control', 'no-cache'],
          ],
        ],
        [
          '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
          [
            [':method', 'GET'],
            [':scheme', 'https'],
            [':path', '/index.html'],
            [':authority', 'www.example.com'],
            ['custom-key', 'custom-value'],
          ],
        ],
      ],
    },
    {
      name: 'C.6: answers in Huffman code, with a table of 256 bytes that overflows',
      maxTableBytes: 256,
      blocks: [
        [
          '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
          [
            [':status', '302'],
            ['cache-control', 'private'],
            ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
            ['location', 'https://www.example.com'],
          ],
        ],
        [
          '4883 640e ffc1 c0bf',
          [
            [':status', '307'],
            ['cache-control', 'private'],
            ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
            ['location', 'https://www.example.com'],
          ],
        ],
        [
          '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07',
          [
            [':status', '200'],
            ['cache-control', 'private'],
            ['date', 'Mon, 21 Oct 2013 20:13:22 GMT'],
            ['location', 'https://www.example.com'],
            ['content-encoding', 'gzip'],
            ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
          ],
        ],
      ],
    },
  ];
  for (const { name, maxTableBytes, blocks } of sequences) {
    it(`reads ${name}`, () => {
      const reading = decoder(maxTableBytes);
      expect(blocks.map(([hex]) => reading.decode(bytes(hex)))).to.deep.equal(
        blocks.map(([, headers]) => ({ headers, isTooLarge: false })),
      );
    });
  }

  it('reads numbers that go beyond their prefix', () => {
    // C.1.2: 1337 after a prefix of five bits; here as a size of the table.
    const sized = decoder(1337);
    expect(sized.decode(bytes('3f9a0a 82')).headers).to.deep.equal([[':method', 'GET']]);
    const value = 'v'.repeat(300);
    expect(decoder().decode(Buffer.concat([bytes('0001 61 7fad01'), Buffer.from(value)])).headers).to.deep.equal([
      ['a', value],
    ]);
  });
});

describe('HeaderDecoder, on what no block may be', () => {
  const cases: readonly (readonly [what: string, hex: string, problem: string])[] = [
    ['an index of 0', '80', 'protocol: there is no entry 0 in its tables'],
    ['an entry that does not exist', 'be', 'protocol: there is no entry 62 in its tables'],
    ['a name that does not exist', '7f00 01 61', 'protocol: there is no entry 63 in its tables'],
    ['a size beyond what was allowed', '3fe21f', 'protocol: its table is to have 4097 bytes'],
    ['a size after the beginning', '82 20', 'protocol: a change of the table is not at its beginning'],
    ['a number without end', `ff${'80'.repeat(8)}`, 'protocol: a number in it is too large'],
    ['a number too large', 'ffffffffff7f', 'protocol: a number in it is too large'],
    ['a cut number', 'ff', 'protocol: it is cut'],
    ['a cut text', '0003 6161', 'protocol: it is cut'],
    ['a missing value', '0001 61', 'protocol: it is cut'],
    ['EOS in a text', '0001 61 84 ffffffff', 'protocol: its text holds the code of EOS'],
    ['padding that is no padding', '0001 61 81 00', 'protocol: its text ends in the middle of a code'],
    ['padding of a whole byte', '0001 61 82 1fff', 'protocol: its text ends in the middle of a code'],
  ];
  for (const [what, hex, problem] of cases) {
    it(`refuses ${what}`, () => {
      expect(problemOf(() => decoder().decode(bytes(hex)))).to.equal(problem);
    });
  }

  it('empties its table for an entry that does not fit, and for a size of 0', () => {
    const reading = decoder(64);
    reading.decode(bytes('4001 61 01 62')); // 34 bytes
    expect(reading.decode(bytes('be')).headers).to.deep.equal([['a', 'b']]);
    reading.decode(Buffer.concat([bytes('4001 61 7f00'), Buffer.alloc(127)]));
    expect(problemOf(() => reading.decode(bytes('be')))).to.contain('no entry 62');
    reading.decode(bytes('4001 61 01 62'));
    reading.decode(bytes('20'));
    expect(problemOf(() => reading.decode(bytes('be')))).to.contain('no entry 62');
  });

  it('keeps its table right through a list that is too large, and hands on its beginning alone', () => {
    const reading = decoder(4096, 100);
    const { headers, isTooLarge } = reading.decode(
      Buffer.concat([bytes('4001 61 01 62'), bytes('0001 63 3c'), Buffer.alloc(60, 'x'), bytes('4001 64 01 65')]),
    );
    expect([headers, isTooLarge]).to.deep.equal([[['a', 'b']], true]);
    expect(reading.decode(bytes('be bf')).headers).to.deep.equal([
      ['d', 'e'],
      ['a', 'b'],
    ]);
  });

  it('fails by its own errors alone on any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (input) => {
        expect(problemOf(() => decoder().decode(Buffer.from(input)))).to.match(/^\{|^protocol: /);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('encodeHeaderBlock', () => {
  it('writes entries of the static table as such, and everything else so that no table keeps it', () => {
    expect(
      encodeHeaderBlock([
        [':method', 'GET'],
        [':scheme', 'https'],
        [':path', '/x'],
        ['authorization', 'b'],
        ['x', ''],
        ['accept', 'a'],
      ]).toString('hex'),
    ).to.equal(bytes('82 87 04022f78 1f08 0162 000178 00 0f04 0161').toString('hex'));
    expect(noTable.toString('hex')).to.equal('20');
  });

  it('gives back what it was given, repeated names, empty values and bytes above ASCII too', () => {
    const name = fc.stringMatching(/^[a-z0-9-]{1,20}$/);
    const value = fc.string({
      unit: fc.integer({ min: 32, max: 255 }).map((code) => String.fromCodePoint(code)),
      maxLength: 300,
    });
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 12 }), (headers) => {
        expect(decoder().decode(Buffer.concat([noTable, encodeHeaderBlock(headers)])).headers).to.deep.equal(headers);
      }),
      { numRuns: 300 },
    );
  });

  it('lets no table keep a secret on its way', () => {
    const reading = decoder();
    reading.decode(
      encodeHeaderBlock([
        ['authorization', 'Bearer secret'],
        ['impersonate-user', 'jane'],
      ]),
    );
    expect(problemOf(() => reading.decode(bytes('be')))).to.contain('no entry 62');
  });
});
