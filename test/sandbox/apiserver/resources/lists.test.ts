// Lists: pages, selectors, forms, streaming with backpressure.

import { expect } from 'chai';
import type { KubeObject } from '../../../../src/sandbox/apiserver/store.ts';
import { configMap, configMaps, MemoryServer, tableAccept } from '../memory-exchange.ts';

type Json = Record<string, unknown>;

async function filled(names: readonly string[]): Promise<MemoryServer> {
  const server = new MemoryServer();
  for (const name of names) {
    await server.ask('POST', configMaps, { body: configMap(name, { metadata: { name, labels: { n: name } } }) });
  }
  return server;
}

const namesOf = (list: Json): string[] => (list['items'] as KubeObject[]).map(({ metadata }) => metadata.name);
const metadataOf = (list: Json): Json => list['metadata'] as Json;

describe('lists', () => {
  it('come in pages that show one state', async () => {
    const server = await filled(['a', 'b', 'c', 'd', 'e']);
    const first = await server.ask('GET', `${configMaps}?limit=2`);
    // What changes between pages does not show in them.
    await server.ask('DELETE', `${configMaps}/d`);
    await server.ask('POST', configMaps, { body: configMap('bb') });
    const token = encodeURIComponent(String(metadataOf(first.json)['continue']));
    const second = await server.ask('GET', `${configMaps}?limit=2&continue=${token}`);
    const next = encodeURIComponent(String(metadataOf(second.json)['continue']));
    const third = await server.ask('GET', `${configMaps}?limit=2&continue=${next}`);
    expect([namesOf(first.json), namesOf(second.json), namesOf(third.json)]).to.deep.equal([
      ['a', 'b'],
      ['c', 'd'],
      ['e'],
    ]);
    const left = [first, second, third].map(({ json }) => metadataOf(json)['remainingItemCount']);
    expect(left).to.deep.equal([3, 1, undefined]);
    const versions = new Set([first, second, third].map(({ json }) => metadataOf(json)['resourceVersion']));
    expect(versions.size).to.equal(1);
  });

  it('do not say how many are left when a selector narrows them', async () => {
    const server = await filled(['a', 'b', 'c']);
    const page = await server.ask('GET', `${configMaps}?limit=1&labelSelector=n!=a`);
    expect([namesOf(page.json), Object.keys(metadataOf(page.json))]).to.deep.equal([
      ['b'],
      ['resourceVersion', 'continue'],
    ]);
  });

  it('give a way on when the state of a page is forgotten', async () => {
    const server = await filled(['a', 'b', 'c']);
    const stale = Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: 5, start: '/a\0' })).toString('base64url');
    const refused = await server.ask('GET', `${configMaps}?limit=1&continue=${stale}`);
    expect([refused.status, refused.json['reason']]).to.deep.equal([410, 'Expired']);
    const token = encodeURIComponent(String(metadataOf(refused.json)['continue']));
    const rest = await server.ask('GET', `${configMaps}?continue=${token}`);
    expect(namesOf(rest.json)).to.deep.equal(['b', 'c']);
  });

  const refusals: readonly [query: string, refusal: string][] = [
    ['limit=x', '400 strconv.ParseInt: parsing "x": invalid syntax'],
    ['continue=x', '400 continue key is not valid: '],
    [
      'resourceVersion=x',
      '422 ListOptions.meta.k8s.io "" is invalid: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax',
    ],
    ['resourceVersion=999999', '504 Timeout: Too large resource version: 999999, current: '],
    [
      'resourceVersionMatch=Exact',
      '422 ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided',
    ],
    [
      'watch=1&sendInitialEvents=true',
      '422 ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
    ],
  ];
  for (const [query, refusal] of refusals) {
    it(`refuse ${query}`, async () => {
      const server = await filled(['a']);
      expect(await server.refusal('GET', `${configMaps}?${query}`)).to.satisfy((text: string) =>
        text.startsWith(refusal),
      );
    });
  }

  it('show tables, metadata alone, and YAML', async () => {
    const server = await filled(['a']);
    const table = await server.ask('GET', '/api/v1/configmaps', { headers: { Accept: tableAccept } });
    const partial = await server.ask('GET', configMaps, {
      headers: { Accept: 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io' },
    });
    const yaml = await server.ask('GET', configMaps, { headers: { Accept: 'application/yaml' } });
    expect((table.json['rows'] as { cells: unknown[] }[]).map(({ cells }) => cells)).to.deep.equal([['a', 1, '0s']]);
    expect((partial.json['items'] as Json[]).map((it) => Object.keys(it))).to.deep.equal([
      ['kind', 'apiVersion', 'metadata'],
    ]);
    expect(yaml.contentType).to.equal('application/yaml');
    expect(yaml.text).to.match(/^apiVersion: v1\nitems:\n {2}- data:\n {6}a: "1"\n/);
  });

  it('are written as the client reads, when large', async () => {
    const server = new MemoryServer();
    const data = { a: 'x'.repeat(100_000) };
    for (let index = 0; index < 20; index += 1) {
      server.store.create(
        { group: '', resource: 'configmaps' },
        { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `m${index}`, namespace: 'default' }, data },
      );
    }
    const { answer, done } = server.begin('GET', configMaps, { isReading: false });
    await new Promise(setImmediate);
    const written = answer.text.length;
    expect([answer.pieces, written < 300_000]).to.deep.equal([1, true]);
    answer.resume();
    await done;
    expect((answer.json['items'] as Json[]).length).to.equal(20);
  });

  it('stop when the client leaves half-way', async () => {
    const server = await filled([]);
    for (let index = 0; index < 20; index += 1) {
      server.store.create(
        { group: '', resource: 'configmaps' },
        {
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: { name: `m${index}`, namespace: 'default' },
          data: { a: 'x'.repeat(100_000) },
        },
      );
    }
    const leaving = new AbortController();
    const { answer, done } = server.begin('GET', configMaps, { isReading: false, signal: leaving.signal });
    await new Promise(setImmediate);
    leaving.abort();
    answer.resume();
    await done;
    expect([answer.pieces, answer.isEnded]).to.deep.equal([1, false]);
  });
});
