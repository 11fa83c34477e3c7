// Watches in virtual time: where they start, what they show of objects that begin or cease to match, bookmarks, ends.

import { expect } from 'chai';
import {
  configMap,
  configMaps,
  MemoryServer,
  type MemoryAnswer,
  tableAccept,
  watchEvents,
} from '../memory-exchange.ts';

type Json = Record<string, unknown>;

function shown(answer: MemoryAnswer): string[] {
  return watchEvents(answer.text).map(({ type, object }) => {
    const metadata = object['metadata'] as unknown as Json;
    return `${type} ${typeof metadata['name'] === 'string' ? metadata['name'] : ''}`.trim();
  });
}

async function settle(): Promise<void> {
  await new Promise(setImmediate);
}

const labelled = (name: string, labels: Json): Json => configMap(name, { metadata: { name, labels } });

describe('watches', () => {
  it('start with what is there, then follow', async () => {
    const server = new MemoryServer();
    await server.ask('POST', configMaps, { body: configMap('a') });
    const { answer, done } = server.begin('GET', `${configMaps}?watch=1&timeoutSeconds=10`);
    await settle();
    await server.ask('POST', configMaps, { body: configMap('b') });
    await server.ask('PATCH', `${configMaps}/a`, {
      headers: { 'Content-Type': 'application/merge-patch+json' },
      body: { data: { x: 'y' } },
    });
    await server.ask('DELETE', `${configMaps}/b`);
    expect([shown(answer), answer.isEnded]).to.deep.equal([['ADDED a', 'ADDED b', 'MODIFIED a', 'DELETED b'], false]);
    server.clock.advance(10_000);
    await done;
    expect([answer.isEnded, server.store.watchCount, server.clock.pendingCount]).to.deep.equal([true, 0, 0]);
  });

  it('resume after a version, with nothing lost and nothing twice', async () => {
    const server = new MemoryServer();
    await server.ask('POST', configMaps, { body: configMap('a') });
    const version = server.store.resourceVersion;
    await server.ask('POST', configMaps, { body: configMap('b') });
    const { answer } = server.begin('GET', `${configMaps}?watch=1&resourceVersion=${version}&timeoutSeconds=10`);
    await settle();
    await server.ask('POST', configMaps, { body: configMap('c') });
    server.clock.advance(10_000);
    expect(shown(answer)).to.deep.equal(['ADDED b', 'ADDED c']);
  });

  it('tell a version too old to resume from', async () => {
    const server = new MemoryServer();
    const { answer, done } = server.begin('GET', `${configMaps}?watch=1&resourceVersion=1`);
    await done;
    expect(watchEvents(answer.text)).to.deep.equal([
      {
        type: 'ERROR',
        object: {
          kind: 'Status',
          apiVersion: 'v1',
          metadata: {},
          status: 'Failure',
          message: 'too old resource version: 1 (1000)',
          reason: 'Expired',
          code: 410,
        },
      },
    ]);
    expect(server.clock.pendingCount).to.equal(0);
  });

  it('show an object that begins to match as added, and one that ceases to as deleted', async () => {
    const server = new MemoryServer();
    await server.ask('POST', configMaps, { body: labelled('a', { x: '1' }) });
    const { answer } = server.begin('GET', `${configMaps}?watch=1&labelSelector=x%3D1&timeoutSeconds=10`);
    await settle();
    const relabel = (value: string): Promise<MemoryAnswer> =>
      server.ask('PATCH', `${configMaps}/a`, {
        headers: { 'Content-Type': 'application/merge-patch+json' },
        body: { metadata: { labels: { x: value } } },
      });
    const away = await relabel('2');
    await relabel('3');
    await relabel('1');
    server.clock.advance(10_000);
    expect(shown(answer)).to.deep.equal(['ADDED a', 'DELETED a', 'ADDED a']);
    // The last state that matched, at the version at which it left.
    const left = watchEvents(answer.text)[1]?.object['metadata'] as unknown as Json;
    expect([left['labels'], left['resourceVersion']]).to.deep.equal([
      { x: '1' },
      (away.json['metadata'] as Json)['resourceVersion'],
    ]);
  });

  it('narrow to a namespace, to a name, and to fields', async () => {
    const server = new MemoryServer();
    await server.ask('POST', '/api/v1/namespaces', { body: { metadata: { name: 'other' } } });
    const watches = ['', '&fieldSelector=metadata.name%3Da'].map((more) =>
      server.begin('GET', `${configMaps}?watch=1&timeoutSeconds=9${more}`),
    );
    watches.push(server.begin('GET', `/api/v1/watch/namespaces/default/configmaps/b?timeoutSeconds=9`));
    watches.push(server.begin('GET', `/api/v1/configmaps?watch=1&timeoutSeconds=9`));
    await settle();
    for (const name of ['a', 'b']) await server.ask('POST', configMaps, { body: configMap(name) });
    await server.ask('POST', '/api/v1/namespaces/other/configmaps', { body: configMap('c') });
    server.clock.advance(9000);
    expect(watches.map(({ answer }) => shown(answer))).to.deep.equal([
      ['ADDED a', 'ADDED b'],
      ['ADDED a'],
      ['ADDED b'],
      ['ADDED a', 'ADDED b', 'ADDED c'],
    ]);
  });

  it('send bookmarks with the version they have reached, to who allows them', async () => {
    const server = new MemoryServer();
    const version = server.store.resourceVersion;
    const with_ = server.begin(
      'GET',
      `${configMaps}?watch=1&resourceVersion=${version}&allowWatchBookmarks=true&timeoutSeconds=150`,
    );
    const without = server.begin('GET', `${configMaps}?watch=1&resourceVersion=${version}&timeoutSeconds=150`);
    await settle();
    server.clock.advance(60_000);
    await server.ask('POST', '/api/v1/namespaces', { body: { metadata: { name: 'n' } } });
    server.clock.advance(90_000);
    const bookmark = (resourceVersion: string): unknown => ({
      type: 'BOOKMARK',
      object: { kind: 'ConfigMap', apiVersion: 'v1', metadata: { resourceVersion } },
    });
    expect(watchEvents(with_.answer.text)).to.deep.equal([bookmark(version), bookmark(server.store.resourceVersion)]);
    expect(without.answer.text).to.equal('');
  });

  it('mark the end of the initial list', async () => {
    const server = new MemoryServer();
    await server.ask('POST', configMaps, { body: configMap('a') });
    const query =
      'watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=5';
    const { answer } = server.begin('GET', `${configMaps}?${query}`);
    await settle();
    server.clock.advance(5000);
    const last = watchEvents(answer.text).at(-1)?.object['metadata'] as unknown as Json;
    expect([shown(answer), last['annotations']]).to.deep.equal([
      ['ADDED a', 'BOOKMARK'],
      { 'k8s.io/initial-events-end': 'true' },
    ]);
  });

  it('show tables, with columns once', async () => {
    const server = new MemoryServer();
    for (const name of ['a', 'b']) await server.ask('POST', configMaps, { body: configMap(name) });
    const { answer } = server.begin('GET', `${configMaps}?watch=1&timeoutSeconds=5`, {
      headers: { Accept: tableAccept },
    });
    await settle();
    server.clock.advance(5000);
    const tables = watchEvents(answer.text).map(
      ({ object }) => object as unknown as { columnDefinitions: unknown[] | null; rows: { cells: unknown[] }[] },
    );
    expect(tables.map((it) => [it.columnDefinitions?.length, it.rows[0]?.cells])).to.deep.equal([
      [3, ['a', 1, '0s']],
      [undefined, ['b', 1, '0s']],
    ]);
  });

  it('end when the client leaves', async () => {
    const server = new MemoryServer();
    const leaving = new AbortController();
    const { answer, done } = server.begin('GET', `${configMaps}?watch=1`, { signal: leaving.signal });
    await settle();
    leaving.abort();
    await done;
    expect([answer.isEnded, server.store.watchCount, server.clock.pendingCount]).to.deep.equal([true, 0, 0]);
  });

  it('wait for a client that reads slowly, and give up on one that does not read', async () => {
    const server = new MemoryServer();
    const slow = server.begin('GET', `${configMaps}?watch=1`, { isReading: false });
    const dead = server.begin('GET', `${configMaps}?watch=1`, { isReading: false });
    await settle();
    const write = (index: number): unknown =>
      server.store.create(
        { group: '', resource: 'configmaps' },
        { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `m${index}`, namespace: 'default' } },
      );
    for (let index = 0; index < 50; index += 1) write(index);
    expect([slow.answer.pieces, dead.answer.pieces]).to.deep.equal([1, 1]);
    slow.answer.resume();
    await settle();
    expect(slow.answer.pieces).to.equal(50);
    for (let index = 50; index < 10_060; index += 1) write(index);
    await dead.done;
    expect([slow.answer.isEnded, dead.answer.isEnded, server.store.watchCount]).to.deep.equal([false, true, 1]);
  });

  it('are cheap: a thousand of them see a change at once', async () => {
    const server = new MemoryServer();
    const watches = Array.from({ length: 1000 }, () => server.begin('GET', `${configMaps}?watch=1&timeoutSeconds=5`));
    await settle();
    await server.ask('POST', configMaps, { body: configMap('a') });
    server.clock.advance(5000);
    await Promise.all(watches.map(({ done }) => done));
    expect(watches.every(({ answer }) => shown(answer).join() === 'ADDED a')).to.equal(true);
    expect(server.store.watchCount).to.equal(0);
  });
});
