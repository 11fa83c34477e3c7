import { expect } from 'chai';
import fc from 'fast-check';
import { codeOf, describeError } from '../../src/base/errors.ts';
import { encodeQuery, firstQueryValue, parseQuery, queryEscape, queryValues } from '../../src/protocol/query.ts';

describe('parseQuery', () => {
  const accepted: [raw: string, pairs: [string, string][]][] = [
    ['', []],
    ['a=1', [['a', '1']]],
    ['a', [['a', '']]],
    ['a=', [['a', '']]],
    ['=1', [['', '1']]],
    ['&&a=1&', [['a', '1']]],
    ['a=b=c', [['a', 'b=c']]],
    [
      'command=sh&command=-c&container=x&command=ls',
      [
        ['command', 'sh'],
        ['command', '-c'],
        ['container', 'x'],
        ['command', 'ls'],
      ],
    ],
    ['a=x+y%2B', [['a', 'x y+']]],
    ['a%3Db=%26%3b', [['a=b', '&;']]],
    ['a=%e2%82%AC', [['a', '€']]],
    ['a=\xe2\x82\xac', [['a', '€']]],
    ['a=\xe2%82\xac', [['a', '€']]],
    ['a=%EF%BB%BFx', [['a', '\ufeffx']]],
    ['a=%0A%09', [['a', '\n\t']]],
    ["a=!'()*,/:@?$[]", [['a', "!'()*,/:@?$[]"]]],
  ];
  for (const [raw, pairs] of accepted) {
    it(`reads ${JSON.stringify(raw)}`, () => {
      expect(parseQuery(raw)).to.deep.equal(pairs);
    });
  }

  const refused: [raw: string, offence: string][] = [
    ['a=%zz', 'an invalid URL escape'],
    ['a=%4', 'an invalid URL escape'],
    ['a=%', 'an invalid URL escape'],
    ['%=1', 'an invalid URL escape'],
    ['a=1;b=2', 'a semicolon that is not escaped'],
    [';', 'a semicolon that is not escaped'],
    ['a=%ff', 'invalid UTF-8'],
    ['a=\xff', 'invalid UTF-8'],
    ['a=%C0%80', 'invalid UTF-8'],
    ['a=%ED%A0%80', 'invalid UTF-8'],
    ['%e2%82=1', 'invalid UTF-8'],
    ['a=%00', 'a NUL character'],
    ['a%00=', 'a NUL character'],
    ['a=b c', 'a character that may not stand in a URL'],
    ['a=\0', 'a character that may not stand in a URL'],
    ['a=\n', 'a character that may not stand in a URL'],
    ['a=\x7f', 'a character that may not stand in a URL'],
    ['a=1#b', 'a character that may not stand in a URL'],
    ['a=€', 'a character that may not stand in a URL'],
  ];
  for (const [raw, offence] of refused) {
    it(`refuses ${JSON.stringify(raw)}: ${offence}`, () => {
      let thrown: unknown;
      try {
        parseQuery(`ok=1&${raw}`);
      } catch (error) {
        thrown = error;
      }
      expect(codeOf(thrown)).to.equal('badRequest');
      expect(describeError(thrown)).to.contain(`it has ${offence}`);
    });
  }

  it('quotes and bounds what it refuses', () => {
    expect(() => parseQuery(`a=%zz"${'x'.repeat(1000)}`)).to.throw(
      /^invalid query parameter "a=%zz\\"x{70,80}…": it has/,
    );
  });
});

describe('encodeQuery', () => {
  it('sorts keys by bytes and keeps the order of values', () => {
    const pairs: [string, string][] = [
      ['b', '2'],
      ['command', 'z'],
      ['a', ''],
      ['command', 'a'],
      ['\uffff', 'byte order'],
      ['\u{10000}', 'not UTF-16 order'],
      ['A', '1'],
    ];
    expect(encodeQuery(pairs)).to.equal(
      'A=1&a=&b=2&command=z&command=a&%EF%BF%BF=byte+order&%F0%90%80%80=not+UTF-16+order',
    );
  });

  it('escapes as QueryEscape of Go does', () => {
    const ascii = Array.from({ length: 0x5f }, (_, index) => String.fromCharCode(0x20 + index)).join('');
    expect(queryEscape(ascii)).to.equal(
      '+%21%22%23%24%25%26%27%28%29%2A%2B%2C-.%2F0123456789%3A%3B%3C%3D%3E%3F%40ABCDEFGHIJKLMNOPQRSTUVWXYZ%5B%5C%5D%5E_%60abcdefghijklmnopqrstuvwxyz%7B%7C%7D~',
    );
    expect(queryEscape('é\n\ud800')).to.equal('%C3%A9%0A%EF%BF%BD');
  });

  it('gives back what was parsed, for any text without NUL', () => {
    const text = fc.string({ unit: 'grapheme' }).filter((value) => value.isWellFormed() && !value.includes('\0'));
    fc.assert(
      fc.property(fc.array(fc.tuple(text, text), { maxLength: 6 }), (pairs) => {
        const encoded = encodeQuery(pairs);
        expect(encodeQuery(parseQuery(encoded))).to.equal(encoded);
        for (const [key] of pairs) expect(queryValues(parseQuery(encoded), key)).to.deep.equal(queryValues(pairs, key));
      }),
      { numRuns: 200 },
    );
  });

  it('writes the kubelet URL of a recording byte for byte', () => {
    const raw = 'command=sh&command=-c&command=echo+out%3B+echo+err+%3E%262%3B+exit+3&error=1&output=1';
    const shuffled =
      'output=1&command=sh&error=1&command=-c&command=echo%20out%3b%20echo%20err%20%3e%262%3b%20exit%203';
    expect(encodeQuery(parseQuery(shuffled))).to.equal(raw);
    expect(encodeQuery(parseQuery(raw))).to.equal(raw);
  });
});

describe('queryValues and firstQueryValue', () => {
  it('find all and the first', () => {
    const pairs = parseQuery('a=1&b=2&a=3');
    expect([queryValues(pairs, 'a'), firstQueryValue(pairs, 'a'), firstQueryValue(pairs, 'c')]).to.deep.equal([
      ['1', '3'],
      '1',
      undefined,
    ]);
  });
});
