import { expect } from 'chai';
import fc from 'fast-check';
import { codeOf } from '../../src/base/errors.ts';
import { ChunkedDecoder, requestFraming, responseFraming } from '../../src/protocol/framing.ts';
import type { RawHeader } from '../../src/protocol/raw-headers.ts';

type Given = [name: string, value: string][];

function outcome(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return codeOf(error);
  }
}

describe('requestFraming', () => {
  const cl = (value: string): RawHeader => ['Content-Length', value];
  const te = (value: string): RawHeader => ['Transfer-Encoding', value];
  const cases: [what: string, headers: RawHeader[], want: unknown][] = [
    ['no framing', [['Host', 'h']], { kind: 'none' }],
    ['a length', [cl('5')], { kind: 'length', length: 5 }],
    ['length 0', [cl('0')], { kind: 'length', length: 0 }],
    ['leading zeros', [cl('005')], { kind: 'length', length: 5 }],
    ['chunked', [te('chunked')], { kind: 'chunked' }],
    ['Chunked in any case', [te('ChunKed')], { kind: 'chunked' }],
    ['CL.TE', [cl('5'), te('chunked')], 'badRequest'],
    ['TE.CL', [te('chunked'), cl('5')], 'badRequest'],
    ['CL.TE with an unknown coding', [cl('5'), te('xchunked')], 'badRequest'],
    ['CL.0 and TE', [cl('0'), te('chunked')], 'badRequest'],
    ['two lengths', [cl('5'), cl('6')], 'badRequest'],
    ['two equal lengths', [cl('5'), cl('5')], 'badRequest'],
    ['two lengths in other case', [cl('5'), ['content-length', '5']], 'badRequest'],
    ['a list of lengths', [cl('5, 5')], 'badRequest'],
    ['a signed length', [cl('+5')], 'badRequest'],
    ['a negative length', [cl('-5')], 'badRequest'],
    ['a hexadecimal length', [cl('0x5')], 'badRequest'],
    ['a length with an exponent', [cl('1e3')], 'badRequest'],
    ['an empty length', [cl('')], 'badRequest'],
    ['a length of blanks', [cl('5 5')], 'badRequest'],
    ['a length over 2^53', [cl('9007199254740993')], 'badRequest'],
    ['an endless length', [cl('1'.repeat(40))], 'badRequest'],
    ['an unknown coding', [te('gzip')], 'badRequest'],
    ['chunked not last', [te('chunked, gzip')], 'badRequest'],
    ['chunked last of two', [te('gzip, chunked')], 'badRequest'],
    ['chunked twice', [te('chunked, chunked')], 'badRequest'],
    ['chunked on two lines', [te('chunked'), te('chunked')], 'badRequest'],
    ['identity', [te('identity')], 'badRequest'],
    ['identity, then chunked', [te('identity'), te('chunked')], 'badRequest'],
    ['chunked in quotes', [te('"chunked"')], 'badRequest'],
    ['chunked with a vertical tab', [te('\x0bchunked')], 'badRequest'],
    ['chunked with a parameter', [te('chunked;q=1')], 'badRequest'],
    ['an empty coding', [te('')], 'badRequest'],
  ];
  for (const [what, headers, want] of cases) {
    it(`HTTP/1.1 with ${what}`, () => {
      expect(outcome(() => requestFraming({ headers, httpVersion: '1.1' }))).to.deep.equal(want);
    });
  }

  const others: [what: string, request: Parameters<typeof requestFraming>[0], want: unknown][] = [
    ['1.0 and chunked', { headers: [te('chunked')], httpVersion: '1.0' }, 'badRequest'],
    ['1.0 and a length', { headers: [cl('3')], httpVersion: '1.0' }, { kind: 'length', length: 3 }],
    ['2.0, body of unknown length', { headers: [], httpVersion: '2.0', isEndOfStream: false }, { kind: 'chunked' }],
    ['2.0, nothing known', { headers: [], httpVersion: '2.0' }, { kind: 'chunked' }],
    ['2.0, no body', { headers: [], httpVersion: '2.0', isEndOfStream: true }, { kind: 'none' }],
    ['2.0, a length', { headers: [cl('3')], httpVersion: '2.0', isEndOfStream: false }, { kind: 'length', length: 3 }],
    [
      '2.0, length 0, no body',
      { headers: [cl('0')], httpVersion: '2.0', isEndOfStream: true },
      { kind: 'length', length: 0 },
    ],
    ['2.0, a length without a body', { headers: [cl('3')], httpVersion: '2.0', isEndOfStream: true }, 'badRequest'],
    ['2.0 and Transfer-Encoding (H2.TE)', { headers: [te('chunked')], httpVersion: '2.0' }, 'badRequest'],
    ['2.0 and two lengths (H2.CL)', { headers: [cl('0'), cl('5')], httpVersion: '2.0' }, 'badRequest'],
  ];
  for (const [what, request, want] of others) {
    it(`HTTP/${what}`, () => {
      expect(outcome(() => requestFraming(request))).to.deep.equal(want);
    });
  }
});

describe('responseFraming', () => {
  const cases: [method: string, status: number, headers: Given, want: unknown][] = [
    ['GET', 200, [], { kind: 'untilClose' }],
    ['GET', 200, [['Content-Length', '7']], { kind: 'length', length: 7 }],
    ['GET', 200, [['Transfer-Encoding', 'chunked']], { kind: 'chunked' }],
    ['HEAD', 200, [['Content-Length', '7']], { kind: 'none' }],
    ['GET', 101, [], { kind: 'none' }],
    ['GET', 204, [], { kind: 'none' }],
    ['GET', 304, [['Content-Length', '7']], { kind: 'none' }],
    [
      'GET',
      200,
      [
        ['Content-Length', '7'],
        ['Transfer-Encoding', 'chunked'],
      ],
      'protocol',
    ],
    [
      'GET',
      200,
      [
        ['Content-Length', '7'],
        ['Content-Length', '8'],
      ],
      'protocol',
    ],
    ['GET', 200, [['Transfer-Encoding', 'gzip']], 'protocol'],
  ];
  for (const [method, status, headers, want] of cases) {
    it(`${method} ${status} with ${JSON.stringify(headers)}`, () => {
      expect(outcome(() => responseFraming(method, { status, headers }))).to.deep.equal(want);
    });
  }
});

describe('ChunkedDecoder', () => {
  const wire = Buffer.from('5\r\nhello\r\n00A;name="v"\r\n, chunked!\r\n0\r\nTrailer: x\r\n\r\nGET /');

  function decode(chunks: readonly Buffer[]): { body: string; isDone: boolean; rest: string } {
    const decoder = new ChunkedDecoder();
    const body = chunks.flatMap((chunk) => (decoder.isDone ? [] : decoder.acceptChunk(chunk)));
    return { body: Buffer.concat(body).toString(), isDone: decoder.isDone, rest: decoder.rest.toString() };
  }

  it('reads whole, at every split, and byte by byte', () => {
    expect(decode([wire])).to.deep.equal({ body: 'hello, chunked!', isDone: true, rest: 'GET /' });
    for (let at = 1; at < wire.length; at += 1) {
      const { body, isDone } = decode([wire.subarray(0, at), wire.subarray(at)]);
      expect({ body, isDone }, `split at ${at}`).to.deep.equal({ body: 'hello, chunked!', isDone: true });
    }
    expect(decode([...wire].map((byte) => Buffer.of(byte))).body).to.equal('hello, chunked!');
  });

  it('gives payload by reference', () => {
    const [piece] = new ChunkedDecoder().acceptChunk(wire);
    expect(piece?.buffer).to.equal(wire.buffer);
  });

  it('is not done while anything is missing', () => {
    for (const part of ['', '5\r\nhel', '5\r\nhello\r\n', '0\r\n', '0\r\nA: b\r\n']) {
      expect(decode([Buffer.from(part)]).isDone, part).to.equal(false);
    }
  });

  const refused: [what: string, text: string, code: string][] = [
    ['bare LF after the size', '5\nhello\r\n', 'protocol'],
    ['a size that is no number', 'x\r\n', 'protocol'],
    ['an empty size', '\r\n', 'protocol'],
    ['a sign', '+5\r\nhello\r\n', 'protocol'],
    ['a 0x prefix', '0x5\r\nhello\r\n', 'protocol'],
    ['an underscore', '1_0\r\n', 'protocol'],
    ['a size of 13 digits', 'fffffffffffff\r\n', 'nothing'],
    ['a size of 14 digits', '10000000000000\r\n', 'protocol'],
    ['a longer chunk than said', '3\r\nhello\r\n', 'protocol'],
    ['no CRLF after the data', '5\r\nhello5\r\n', 'protocol'],
    ['bare LF after the data', '5\r\nhello\n0\r\n\r\n', 'protocol'],
    ['a control character in an extension', '5;\x01\r\nhello\r\n', 'protocol'],
    ['bare LF in a trailer', '0\r\nA: b\nC: d\r\n\r\n', 'protocol'],
    ['an endless size line', '0'.repeat(9000), 'tooLarge'],
    ['an endless extension', `5;${'a'.repeat(9000)}`, 'tooLarge'],
    ['endless trailers', `0\r\n${'A: bbbbbbbbbbbbbbbbbbbbbbbbb\r\n'.repeat(3000)}`, 'tooLarge'],
  ];
  for (const [what, text, code] of refused) {
    it(`with ${what}: ${code}`, () => {
      expect(outcome(() => (decode([Buffer.from(text)]), 'nothing'))).to.equal(code);
    });
  }

  it('reads any body in any chunks and splits', () => {
    const parts = fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 6 });
    fc.assert(
      fc.property(parts, fc.array(fc.nat(300), { maxLength: 5 }), (chunks, cuts) => {
        const encoded = Buffer.concat([
          ...chunks.flatMap((part) => [
            Buffer.from(`${part.length.toString(16)}\r\n`),
            Buffer.from(part),
            Buffer.from('\r\n'),
          ]),
          Buffer.from('0\r\n\r\n'),
        ]);
        const borders = [0, ...cuts.map((cut) => cut % encoded.length).toSorted((a, b) => a - b), encoded.length];
        const pieces = borders.slice(1).map((to, index) => encoded.subarray(borders[index], to));
        expect(decode(pieces)).to.deep.equal({ body: Buffer.concat(chunks).toString(), isDone: true, rest: '' });
      }),
      { numRuns: 200 },
    );
  });
});
