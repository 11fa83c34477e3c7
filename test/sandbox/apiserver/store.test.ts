import { expect } from 'chai';
import { StatusError } from '../../../src/kube/status.ts';
import { type KubeObject, Store, type StoreEvent } from '../../../src/sandbox/apiserver/store.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const resource = { group: '', resource: 'configmaps' };
const key = (name: string): { group: string; resource: string; namespace: string; name: string } => ({
  ...resource,
  namespace: 'ns',
  name,
});

function object(name: string, data: Record<string, string> = {}, finalizers?: string[]): KubeObject {
  const metadata = { name, namespace: 'ns', ...(finalizers === undefined ? {} : { finalizers }) };
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata, data };
}

function refusal(run: () => unknown): string {
  try {
    run();
    return 'none';
  } catch (error) {
    return error instanceof StatusError ? `${error.status.code} ${error.status.message}` : String(error);
  }
}

describe('Store', () => {
  const make = (options = {}): Store => new Store({ clock: new FakeClock() }, options);

  it('gives a new object uid, time and version, and freezes it', () => {
    const store = make({ startRevision: 10 });
    const created = store.create(resource, object('a'));
    expect(created.metadata).to.include({ resourceVersion: '11', creationTimestamp: '2026-11-20T00:00:00Z' });
    expect(created.metadata.uid).to.match(/^[0-9a-f-]{36}$/);
    expect(Object.isFrozen(created['data'])).to.equal(true);
  });

  it('refuses a name that is taken, a name that is not there, and a stale version', () => {
    const store = make();
    store.create(resource, object('a'));
    expect([
      refusal(() => store.create(resource, object('a'))),
      refusal(() => store.update(resource, object('b'))),
      refusal(() =>
        store.update(resource, { ...object('a'), metadata: { name: 'a', namespace: 'ns', resourceVersion: '1' } }),
      ),
      refusal(() => store.delete(key('b'))),
      refusal(() => store.delete(key('a'), { uid: 'other' })).replace(/\([0-9a-f-]{36}\)/, '(UID)'),
    ]).to.deep.equal([
      '409 configmaps "a" already exists',
      '404 configmaps "b" not found',
      '409 Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again',
      '404 configmaps "b" not found',
      '409 Operation cannot be fulfilled on ConfigMap "a": the UID in the precondition (other) does not match the UID in record (UID). The object might have been deleted and then recreated',
    ]);
  });

  it('neither writes nor tells anybody when nothing changes', () => {
    const store = make();
    store.create(resource, object('a', { x: '1' }));
    const before = store.resourceVersion;
    const seen: StoreEvent[] = [];
    store.watch(resource, undefined, (event) => seen.push(event));
    store.mutate(key('a'), (draft) => {
      draft['data'] = { x: '1' };
    });
    expect({ version: store.resourceVersion, seen }).to.deep.equal({ version: before, seen: [] });
  });

  it('keeps identity and time of an object through updates', () => {
    const store = make();
    const created = store.create(resource, object('a'));
    const updated = store.update(resource, {
      ...object('a', { x: '2' }),
      metadata: { name: 'a', namespace: 'ns', uid: 'forged' },
    });
    expect(updated.metadata.uid).to.equal(created.metadata.uid);
    expect(updated.metadata.creationTimestamp).to.equal(created.metadata.creationTimestamp);
  });

  it('lists by namespace and name, and by namespace alone', () => {
    const store = make();
    for (const [namespace, name] of [
      ['b', 'x'],
      ['a', 'z'],
      ['a', 'y'],
    ]) {
      store.create(resource, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: name ?? '', namespace: namespace ?? '' },
      });
    }
    const names = (list: KubeObject[]): string[] =>
      list.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
    expect(names(store.list(resource))).to.deep.equal(['a/y', 'a/z', 'b/x']);
    expect(names(store.list(resource, 'a'))).to.deep.equal(['a/y', 'a/z']);
  });

  it('holds an object with finalizers until the last one is taken off', () => {
    const store = make();
    store.create(resource, object('a', {}, ['x/y']));
    const types: string[] = [];
    store.watch(resource, undefined, ({ type }) => types.push(type));
    const deletion = store.delete(key('a'));
    expect(deletion.isGone).to.equal(false);
    expect(deletion.object.metadata.deletionTimestamp).to.equal('2026-11-20T00:00:00Z');
    store.mutate(key('a'), (draft) => {
      draft.metadata.finalizers = [];
    });
    expect({ types, left: store.get(key('a')) }).to.deep.equal({ types: ['MODIFIED', 'DELETED'], left: undefined });
  });

  it('replays what happened since a version, then goes on live', () => {
    const store = make();
    store.create(resource, object('a'));
    const from = store.resourceVersion;
    store.create(resource, object('b'));
    const seen: string[] = [];
    const stop = store.watch(resource, from, ({ type, object: it }) => seen.push(`${type} ${it.metadata.name}`));
    store.delete(key('a'));
    stop();
    store.delete(key('b'));
    expect({ seen, watches: store.watchCount }).to.deep.equal({ seen: ['ADDED b', 'DELETED a'], watches: 0 });
  });

  it('refuses a version that the bounded history no longer covers', () => {
    const store = make({ maxHistoryEvents: 3, startRevision: 100 });
    expect(refusal(() => store.watch(resource, '99', () => {}))).to.equal('410 too old resource version: 99 (100)');
    for (let index = 0; index < 6; index += 1) store.create(resource, object(`n${index}`));
    // Six events reach twice the bound: the three oldest went.
    expect(refusal(() => store.watch(resource, '102', () => {}))).to.equal('410 too old resource version: 102 (103)');
    const seen: number[] = [];
    store.watch(resource, '103', ({ revision }) => seen.push(revision));
    expect(seen).to.deep.equal([104, 105, 106]);
  });

  it('forgets its whole history when compacted', () => {
    const store = make({ startRevision: 5 });
    store.create(resource, object('a'));
    store.compact();
    expect(refusal(() => store.watch(resource, '5', () => {}))).to.equal('410 too old resource version: 5 (6)');
    expect(() => store.watch(resource, '6', () => {})).to.not.throw();
  });

  it('tells every handler all events in order, even those made by a handler', () => {
    const store = make();
    const seen: string[] = [];
    store.watch(resource, undefined, ({ type, object: it }) => {
      seen.push(`first ${type} ${it.metadata.name}`);
      if (type === 'ADDED' && it.metadata.name === 'a') store.create(resource, object('b'));
    });
    store.watch(resource, undefined, ({ type, object: it }) => seen.push(`second ${type} ${it.metadata.name}`));
    store.create(resource, object('a'));
    expect(seen).to.deep.equal(['first ADDED a', 'second ADDED a', 'first ADDED b', 'second ADDED b']);
  });

  it('does not tell a handler that starts within a delivery what it could list already', () => {
    const store = make();
    const late: string[] = [];
    store.watch(resource, undefined, ({ object: it }) => {
      if (it.metadata.name !== 'a') return;
      store.create(resource, object('b'));
      store.watch(resource, undefined, ({ object: other }) => late.push(other.metadata.name));
    });
    store.create(resource, object('a'));
    store.create(resource, object('c'));
    expect(late).to.deep.equal(['c']);
  });
});
