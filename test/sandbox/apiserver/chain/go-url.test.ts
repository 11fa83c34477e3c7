import { expect } from 'chai';

import {
  encodeGoQuery,
  escapeGoPath,
  parseGoQuery,
  parseGoTarget,
  splitPath,
} from '../../../../src/sandbox/apiserver/chain/go-url.ts';

describe('sandbox go-url', () => {
  const queries: readonly [query: string, pairs: readonly (readonly [string, string])[]][] = [
    ['', []],
    [
      'a=1&b=2&a=3',
      [
        ['a', '1'],
        ['b', '2'],
        ['a', '3'],
      ],
    ],
    ['command=a+b%20c', [['command', 'a b c']]],
    [
      'stdin=&tty',
      [
        ['stdin', ''],
        ['tty', ''],
      ],
    ],
    ['a=1;b=2&c=3', [['c', '3']]],
    ['a=%zz&b=%2&c=%41', [['c', 'A']]],
    ['%63ommand=x', [['command', 'x']]],
    ['a=b=c', [['a', 'b=c']]],
    ['&&a=1&', [['a', '1']]],
  ];
  for (const [query, pairs] of queries) {
    it(`reads ${JSON.stringify(query)} as url.ParseQuery does`, () => {
      expect([...parseGoQuery(query)]).to.deep.equal(pairs);
    });
  }

  it('writes queries sorted by key, with the order of values kept', () => {
    expect(encodeGoQuery(parseGoQuery("b=2&a=%20z&a=a&c=(x)*'!~"))).to.equal('a=+z&a=a&b=2&c=%28x%29%2A%27%21~');
  });

  it('decodes paths, and knows bad escapes', () => {
    expect([parseGoTarget('/a%2Fb?x=1').path, parseGoTarget('/a%zz').path]).to.deep.equal(['/a/b', undefined]);
  });

  it('writes paths as URL.EscapedPath', () => {
    expect(escapeGoPath("/a b/c:d@e;f,g=h&i$j+k/%/ü'")).to.equal('/a%20b/c:d@e;f,g=h&i$j+k/%25/%C3%BC%27');
  });

  it('splits paths as RequestInfo does: empty segments inside stay', () => {
    expect([splitPath('/'), splitPath('//api/v1//pods/')]).to.deep.equal([[], ['api', 'v1', '', 'pods']]);
  });
});
