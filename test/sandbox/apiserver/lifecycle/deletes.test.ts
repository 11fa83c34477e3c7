// Deleting through the resource server: graces, preconditions, collections, dependents, and the pod’s own subresources.

import { expect } from 'chai';
import type { KubeObject } from '../../../../src/sandbox/apiserver/store.ts';
import { configMap, configMaps, MemoryServer } from '../memory-exchange.ts';
import { type Json, pod, pods } from './bodies.ts';

describe('deleting', () => {
  const bound = { ...pod('p', { nodeName: 'node1' }) };

  it('marks a pod on a node, and lets its kubelet remove it', async () => {
    const server = new MemoryServer();
    await server.ask('POST', pods, { body: bound });
    const answer = await server.ask('DELETE', `${pods}/p`);
    const { deletionTimestamp, deletionGracePeriodSeconds, generation } = answer.json['metadata'] as Json;
    expect({ deletionTimestamp, deletionGracePeriodSeconds, generation, kind: answer.json['kind'] }).to.deep.equal({
      deletionTimestamp: '2026-11-20T21:38:00Z',
      deletionGracePeriodSeconds: 30,
      generation: 2,
      kind: 'Pod',
    });
    const key = { group: '', resource: 'pods', namespace: 'default', name: 'p' };
    expect(server.store.delete(key).isGone).to.equal(true);
  });

  it('shortens a grace and never lengthens it', async () => {
    const server = new MemoryServer();
    await server.ask('POST', pods, { body: bound });
    const grace = async (seconds: number): Promise<unknown> => {
      const answer = await server.ask('DELETE', `${pods}/p?gracePeriodSeconds=${seconds}`);
      const { deletionTimestamp, deletionGracePeriodSeconds } = answer.json['metadata'] as Json;
      return [deletionTimestamp, deletionGracePeriodSeconds];
    };
    expect([await grace(30), await grace(60), await grace(5)]).to.deep.equal([
      ['2026-11-20T21:38:00Z', 30],
      ['2026-11-20T21:38:00Z', 30],
      ['2026-11-20T21:37:35Z', 5],
    ]);
    await server.ask('DELETE', `${pods}/p`, {
      body: { kind: 'DeleteOptions', apiVersion: 'v1', gracePeriodSeconds: 0 },
    });
    expect(await server.refusal('GET', `${pods}/p`)).to.equal('404 pods "p" not found');
  });

  it('removes a pod that no kubelet runs at once', async () => {
    const server = new MemoryServer();
    await server.ask('POST', pods, { body: pod('p') });
    const answer = await server.ask('DELETE', `${pods}/p`);
    expect([answer.json['kind'], await server.refusal('GET', `${pods}/p`)]).to.deep.equal([
      'Pod',
      '404 pods "p" not found',
    ]);
  });

  it('turns a namespace to Terminating, in which nothing new is made', async () => {
    const server = new MemoryServer();
    await server.ask('POST', '/api/v1/namespaces', { body: { metadata: { name: 'n' } } });
    const answer = await server.ask('DELETE', '/api/v1/namespaces/n');
    expect(answer.json['status']).to.deep.equal({ phase: 'Terminating' });
    expect(await server.refusal('POST', '/api/v1/namespaces/n/configmaps', { body: configMap('m') })).to.equal(
      '403 configmaps "m" is forbidden: unable to create new content in namespace n because it is being terminated',
    );
    await server.ask('PUT', '/api/v1/namespaces/n/finalize', { body: { metadata: { name: 'n' }, spec: {} } });
    expect(await server.refusal('GET', '/api/v1/namespaces/n')).to.equal('404 namespaces "n" not found');
  });

  it('refuses what may not go, what does not fit its precondition, and bad options', async () => {
    const server = new MemoryServer();
    await server.ask('POST', configMaps, { body: configMap('m') });
    expect([
      await server.refusal('DELETE', '/api/v1/namespaces/default'),
      (await server.refusal('DELETE', `${configMaps}/m`, { body: { preconditions: { uid: 'x' } } })).slice(0, 90),
      await server.refusal('DELETE', `${configMaps}/m?propagationPolicy=Maybe`),
      await server.refusal('DELETE', `${configMaps}/m?gracePeriodSeconds=x`),
    ]).to.deep.equal([
      '403 namespaces "default" is forbidden: this namespace may not be deleted',
      '409 Operation cannot be fulfilled on ConfigMap "m": the UID in the precondition (x) does n',
      '422 DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Maybe": supported values: "Background", "Foreground", "Orphan"',
      '400 strconv.ParseInt: parsing "x": invalid syntax',
    ]);
  });

  it('leaves everything where it is in a dry run', async () => {
    const server = new MemoryServer();
    await server.ask('POST', configMaps, { body: configMap('m') });
    const answer = await server.ask('DELETE', `${configMaps}/m?dryRun=All`);
    expect([answer.json['status'], (await server.ask('GET', `${configMaps}/m`)).status]).to.deep.equal([
      'Success',
      200,
    ]);
  });

  it('deletes a collection by selector', async () => {
    const server = new MemoryServer();
    for (const name of ['a', 'b', 'c']) {
      await server.ask('POST', configMaps, { body: configMap(name, { metadata: { name, labels: { x: name } } }) });
    }
    const answer = await server.ask('DELETE', `${configMaps}?labelSelector=x!=b`);
    const left = await server.ask('GET', configMaps);
    const names = (list: Json): unknown => (list['items'] as KubeObject[]).map(({ metadata }) => metadata.name);
    expect([names(answer.json), names(left.json)]).to.deep.equal([['a', 'c'], ['b']]);
  });

  it('holds an object for its dependents when asked to', async () => {
    const server = new MemoryServer();
    await server.ask('POST', configMaps, { body: configMap('m') });
    const answer = await server.ask('DELETE', `${configMaps}/m?propagationPolicy=Foreground`);
    const { finalizers, deletionTimestamp } = answer.json['metadata'] as Json;
    expect({ finalizers, deletionTimestamp }).to.deep.equal({
      finalizers: ['foregroundDeletion'],
      deletionTimestamp: '2026-11-20T21:37:30Z',
    });
  });

  it('evicts and binds through the pod’s subresources', async () => {
    const server = new MemoryServer();
    await server.ask('POST', pods, { body: pod('p') });
    const binding = { metadata: { name: 'p' }, target: { kind: 'Node', name: 'node2' } };
    const boundTo = await server.ask('POST', `${pods}/p/binding`, { body: binding });
    const again = await server.refusal('POST', `${pods}/p/binding`, { body: binding });
    const evicted = await server.ask('POST', `${pods}/p/eviction`, { body: { metadata: { name: 'p' } } });
    const after = await server.ask('GET', `${pods}/p`);
    expect([
      boundTo.status,
      again,
      evicted.status,
      (after.json['spec'] as Json)['nodeName'],
      (after.json['metadata'] as Json)['deletionGracePeriodSeconds'],
    ]).to.deep.equal([
      201,
      '409 Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "node2"',
      201,
      'node2',
      30,
    ]);
  });
});
