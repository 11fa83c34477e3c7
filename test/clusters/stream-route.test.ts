import { expect } from 'chai';

import type { NodeObject } from '../../src/clusters/cluster.ts';
import type { Detour } from '../../src/clusters/detour.ts';
import { LocalStreamRoute } from '../../src/clusters/stream-route.ts';
import type { InformerChange } from '../../src/kube/informer.ts';

const mutation: Detour = { reason: 'mutatingWebhook', detail: 'c/w' };

describe('LocalStreamRoute', () => {
  let change: (type: 'set' | 'delete', name: string, labels?: Record<string, string>) => void;
  let mutated: string[];
  let hasSynced: boolean;

  function make(streams: 'kubelet' | 'apiserver'): LocalStreamRoute {
    let listener: ((change: InformerChange<NodeObject>) => void) | undefined;
    change = (type, name, labels) =>
      listener?.({ type, key: name, object: { metadata: { name, ...(labels === undefined ? {} : { labels }) } } });
    return new LocalStreamRoute(
      {
        admission: { mutationOf: (kind) => (mutated.includes(kind) ? mutation : undefined) },
        nodes: {
          onChange: (given) => {
            listener = given;
            return () => {};
          },
          get hasSynced() {
            return hasSynced;
          },
        },
      },
      { streams },
    );
  }

  beforeEach(() => {
    mutated = [];
    hasSynced = true;
  });

  it('asks admission of each kind but logs, which have none', () => {
    const route = make('kubelet');
    mutated = ['exec', 'log'];
    expect([route.detourOf('exec'), route.detourOf('attach'), route.detourOf('log')]).to.deep.equal([
      mutation,
      undefined,
      undefined,
    ]);
  });

  it('takes every kind by kube-apiserver when the setting says so, logs too', () => {
    const route = make('apiserver');
    const forced = { reason: 'setting', detail: 'streams.local' };
    expect([route.detourOf('exec'), route.detourOf('log')]).to.deep.equal([forced, forced]);
  });

  it('follows the label of nodes', () => {
    const route = make('kubelet');
    const plain: NodeObject = { metadata: { name: 'plain' } };
    const far: NodeObject = { metadata: { name: 'far', labels: { 'backup.cv.io/streams': 'apiserver' } } };
    const label = { 'backup.cv.io/streams': 'apiserver' };
    change('set', 'plain', { 'backup.cv.io/streams': 'kubelet' });
    expect([route.hasNodeDetours, route.detourOfNode(plain)]).to.deep.equal([false, undefined]);
    change('set', 'far', label);
    expect([route.hasNodeDetours, route.detourOfNode(far), route.detourOfNode(plain)]).to.deep.equal([
      true,
      { reason: 'nodeLabel', detail: 'far' },
      undefined,
    ]);
    change('set', 'far', {});
    expect(route.hasNodeDetours).to.equal(false);
    change('set', 'far', label);
    change('delete', 'far', label);
    expect(route.hasNodeDetours).to.equal(false);
  });

  it('wants each node looked at until the nodes are known', () => {
    const route = make('kubelet');
    hasSynced = false;
    expect(route.hasNodeDetours).to.equal(true);
  });
});
