import { expect } from 'chai';

import { parseQuery } from '../../src/protocol/query.ts';
import { kubeletLogQuery, logPreflightQuery, parseLogOptions } from '../../src/streams/log-options.ts';

describe('log options', () => {
  const cases: { query: string; preflight: string; kubelet: string }[] = [
    { query: '', preflight: 'tailLines=0', kubelet: '' },
    { query: 'follow=true&container=c', preflight: 'container=c&tailLines=0', kubelet: 'follow=true' },
    {
      query: 'previous=true&timestamps=1&tailLines=10&limitBytes=100',
      preflight: 'limitBytes=100&previous=true&tailLines=0&timestamps=true',
      kubelet: 'limitBytes=100&previous=true&tailLines=10&timestamps=true',
    },
    {
      query: 'sinceSeconds=%2B60&follow=false',
      preflight: 'sinceSeconds=%2B60&tailLines=0',
      kubelet: 'sinceSeconds=60',
    },
    {
      query: 'sinceTime=2026-01-01T01:00:00.5%2B01:00',
      preflight: 'sinceTime=2026-01-01T01%3A00%3A00.5%2B01%3A00&tailLines=0',
      kubelet: 'sinceTime=2026-01-01T00%3A00%3A00Z',
    },
    // tailLines is forbidden beside a single stream, so the preflight asks for one byte instead.
    { query: 'stream=Stdout', preflight: 'limitBytes=1&stream=Stdout', kubelet: 'stream=Stdout' },
    {
      query: 'stream=All&tailLines=5&limitBytes=9',
      preflight: 'limitBytes=1&stream=All&tailLines=5',
      kubelet: 'limitBytes=9&stream=All&tailLines=5',
    },
    {
      query: 'insecureSkipTLSVerifyBackend=true',
      preflight: 'insecureSkipTLSVerifyBackend=true&tailLines=0',
      kubelet: '',
    },
  ];
  for (const { query, preflight, kubelet } of cases) {
    it(`reads ${query === '' ? 'none' : query}`, () => {
      const options = parseLogOptions(parseQuery(query));
      expect([logPreflightQuery(options), kubeletLogQuery(options)]).to.deep.equal([preflight, kubelet]);
    });
  }

  for (const [query, preflight] of [
    ['tailLines=-1', 'tailLines=-1'],
    ['tailLines=x', 'tailLines=x'],
    ['tailLines=', 'tailLines='],
    ['limitBytes=0', 'limitBytes=0&tailLines=0'],
    [
      'sinceSeconds=1&sinceTime=2026-01-01T00%3A00%3A00Z',
      'sinceSeconds=1&sinceTime=2026-01-01T00%3A00%3A00Z&tailLines=0',
    ],
    ['sinceTime=nope', 'sinceTime=nope&tailLines=0'],
    ['stream=Stdout&limitBytes=0', 'limitBytes=0&stream=Stdout'],
  ] as const) {
    it(`lets kube-apiserver judge ${query}`, () => {
      expect(logPreflightQuery(parseLogOptions(parseQuery(query)))).to.equal(preflight);
    });
  }

  for (const query of [
    'tailLines=x',
    'tailLines=-1',
    'sinceTime=nope',
    'sinceTime=2026-13-01T00:00:00Z',
    'limitBytes=1_0',
  ]) {
    it(`never sends ${query} to a kubelet`, () => {
      expect(() => kubeletLogQuery(parseLogOptions(parseQuery(query)))).to.throw('Cannot read');
    });
  }
});
