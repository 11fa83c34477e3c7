import { expect } from 'chai';
import fc from 'fast-check';

import { encodeQuery, parseQuery, type QueryPair } from '../../src/protocol/query.ts';
import { kubeletQuery, parseStreamOptions, portsOf, preflightQuery } from '../../src/streams/options.ts';

describe('stream options', () => {
  const cases: { what: string; query: string; preflight: string; kubelet: string }[] = [
    {
      what: 'kubectl exec',
      query: 'command=sh&command=-c&command=exit+3&container=demo&stderr=true&stdout=true',
      preflight: 'command=sh&command=-c&command=exit+3&container=demo&stderr=true&stdout=true',
      kubelet: 'command=sh&command=-c&command=exit+3&error=1&output=1',
    },
    {
      what: 'flags as Go reads them: empty and odd values are true, 0 and false are not',
      query: 'stdin=&stdout=1&stderr=FALSE&tty=0&command=x',
      preflight: 'command=x&stdin=true&stdout=true',
      kubelet: 'command=x&input=1&output=1',
    },
    {
      what: 'the first of repeated single values',
      query: 'container=a&container=b&stdin=false&stdin=true&command=',
      preflight: 'command=&container=a',
      kubelet: 'command=',
    },
    {
      what: 'no key in another case, no unknown key, but dryRun',
      query: 'Command=x&STDIN=true&input=1&dryRun=All',
      preflight: 'dryRun=All',
      kubelet: '',
    },
    {
      what: 'words with bytes that mean something in a query',
      query: 'command=a%26b%3Dc%2Bd+e%3B%25&command=%C3%A9&stdout=true',
      preflight: 'command=a%26b%3Dc%2Bd+e%3B%25&command=%C3%A9&stdout=true',
      kubelet: 'command=a%26b%3Dc%2Bd+e%3B%25&command=%C3%A9&output=1',
    },
  ];
  for (const { what, query, preflight, kubelet } of cases) {
    it(`reads ${what}`, () => {
      const options = parseStreamOptions('exec', parseQuery(query));
      expect([preflightQuery(options), kubeletQuery(options)]).to.deep.equal([preflight, kubelet]);
    });
  }

  it('gives attach no command and port-forward nothing but ports', () => {
    const pairs = parseQuery('command=x&stdin=true&container=c&ports=80,443&ports=22');
    expect([
      kubeletQuery(parseStreamOptions('attach', pairs)),
      preflightQuery(parseStreamOptions('portforward', pairs)),
      kubeletQuery(parseStreamOptions('portforward', pairs)),
    ]).to.deep.equal(['input=1', 'ports=80%2C443&ports=22', 'port=80%2C443%2C22']);
  });

  for (const ports of ['x', '', '65536', '-1', '1.5', '80,', ' 80']) {
    it(`refuses ports=${ports}, which kube-apiserver has refused before`, () => {
      const options = parseStreamOptions('portforward', [['ports', ports]]);
      expect(() => portsOf(options)).to.throw('Cannot read ports');
    });
  }

  it('makes of any query a preflight that reads back to the very options the kubelet gets', () => {
    const key = fc.oneof(
      fc.constantFrom('stdin', 'stdout', 'stderr', 'tty', 'container', 'command', 'Command', 'ports', 'x'),
      fc.string({ unit: 'grapheme', maxLength: 4 }),
    );
    const value = fc.oneof(
      fc.constantFrom('true', 'false', '0', '1', '', 'False', 'a;b', 'a&b=c', '%zz', '+'),
      fc.string({ unit: 'grapheme', maxLength: 8 }),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(key, value), { maxLength: 12 }), (pairs: QueryPair[]) => {
        const readable = pairs.filter(([name, text]) => !`${name}${text}`.includes('\0'));
        const options = parseStreamOptions('exec', parseQuery(encodeQuery(readable)));
        const seen = parseStreamOptions('exec', parseQuery(preflightQuery(options)));
        expect(seen).to.deep.equal(options);
        expect(kubeletQuery(seen)).to.equal(kubeletQuery(options));
      }),
      { numRuns: 300 },
    );
  });
});
