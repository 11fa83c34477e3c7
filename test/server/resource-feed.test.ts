import { expect } from 'chai';

import { ResourceFeed } from '../../src/server/resource-feed.ts';
import type { ResourceObject } from '../../src/server/resource-kind.ts';
import { FakeClock } from '../support/fake-clock.ts';

function object(name: string, color = 'red', namespace = 'a'): ResourceObject {
  return {
    kind: 'Thing',
    apiVersion: 'backup.cv.io/v1',
    metadata: { name, namespace, uid: name, creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { color },
  };
}

describe('ResourceFeed', () => {
  let clock: FakeClock;
  let feed: ResourceFeed<ResourceObject>;
  let seen: string[];

  beforeEach(() => {
    clock = new FakeClock();
    feed = new ResourceFeed({ clock }, { maxEvents: 3 });
    seen = [];
    feed.onEvent(({ type, object: { metadata } }) => seen.push(`${type} ${metadata.name}`));
  });

  it('tells of what is added, changed and deleted, and not of what stays the same', () => {
    feed.set(object('x'));
    feed.set(object('x'));
    feed.set(object('x', 'blue'));
    feed.delete('a', 'x');
    feed.delete('a', 'x');
    expect(seen).to.deep.equal(['ADDED x', 'MODIFIED x', 'DELETED x']);
    expect(feed.get('a', 'x')).to.equal(undefined);
  });

  it('gives each change a higher version, also while the clock stands or runs back', () => {
    const before = feed.version;
    feed.set(object('x'));
    const first = Number(feed.get('a', 'x')?.metadata.resourceVersion);
    feed.set(object('x', 'blue'));
    const second = Number(feed.get('a', 'x')?.metadata.resourceVersion);
    clock.advance(-5000);
    feed.set(object('x', 'green'));
    const third = Number(feed.get('a', 'x')?.metadata.resourceVersion);
    expect([before < first, first < second, second < third, feed.version >= third]).to.deep.equal([
      true,
      true,
      true,
      true,
    ]);
    clock.advance(3_600_000);
    expect(feed.version).to.equal(clock.now() * 1000);
  });

  it('has the events since a version, and knows when it has not', () => {
    const start = feed.version;
    feed.set(object('x'));
    const { version } = feed;
    feed.set(object('y'));
    expect(feed.since(start)?.map((event) => event.object.metadata.name)).to.deep.equal(['x', 'y']);
    expect(feed.since(version)?.map((event) => event.object.metadata.name)).to.deep.equal(['y']);
    expect(feed.since(start - 1)).to.equal(undefined);
    feed.set(object('z'));
    feed.set(object('z', 'blue'));
    expect([feed.since(start), feed.since(version)?.length]).to.deep.equal([undefined, 3]);
  });

  it('shows a deleted object at the version at which it left', () => {
    feed.set(object('x'));
    const { version } = feed;
    feed.delete('a', 'x');
    const [event] = feed.since(version) ?? [];
    expect(event).to.have.nested.property('object.metadata.resourceVersion', String(event?.version));
  });

  it('lists by namespace and name', () => {
    for (const [name, namespace] of [
      ['b', 'z'],
      ['c', 'a'],
      ['a', 'z'],
    ] as const)
      feed.set(object(name, 'red', namespace));
    const names = (namespace?: string): string[] => feed.list(namespace).map(({ metadata }) => metadata.name);
    expect([names(), names('z'), names('q')]).to.deep.equal([['c', 'a', 'b'], ['a', 'b'], []]);
  });
});
