// Which way streams of another cluster go, and that its admission is watched only while it matters.

import { expect } from 'chai';

import { RemoteStreamRoute } from '../../src/clusters/remote-route.ts';
import { notFound, StatusError } from '../../src/kube/status.ts';
import { FakeClock } from '../support/fake-clock.ts';

const never = new AbortController().signal;
const webhook = {
  metadata: { name: 'rewriter', resourceVersion: '1' },
  webhooks: [
    { name: 'w', rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CONNECT'], resources: ['pods/exec'] }] },
  ],
};

describe('RemoteStreamRoute', () => {
  let clock: FakeClock;
  let listed: string[];
  let items: unknown[];
  let route: RemoteStreamRoute;

  function make(streams: 'kubelet' | 'apiserver'): RemoteStreamRoute {
    clock = new FakeClock();
    listed = [];
    items = [];
    route = new RemoteStreamRoute(
      {
        clock,
        onError: () => {},
        client: {
          userAgent: 'test',
          json: async ({ target }) => {
            listed.push(target);
            if (!target.includes('/v1/mutatingwebhookconfigurations')) {
              throw new StatusError(notFound({ group: '', resource: 'x' }, ''));
            }
            return { metadata: { resourceVersion: '1' }, items };
          },
          stream: (_request, sink) => ({
            pause: () => {},
            resume: () => {},
            abort: (reason) => sink.onError(reason),
          }),
        },
      },
      { streams, name: 'clusters/far' },
    );
    return route;
  }

  it('is the detour for everything where the Secret does not say otherwise, and asks nothing', async () => {
    make('apiserver');
    await route.whenKnown(never);
    const detour = { reason: 'setting', detail: 'streams of the Secret clusters/far' };
    expect([route.detourOf('exec'), route.detourOf('log'), listed, clock.pendingCount]).to.deep.equal([
      detour,
      detour,
      [],
      0,
    ]);
  });

  it('is straight where nothing mutates', async () => {
    make('kubelet');
    await route.whenKnown(never);
    expect([route.detourOf('exec'), route.detourOf('portforward'), route.detourOf('log')]).to.deep.equal([
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('is the detour for what a webhook there may change', async () => {
    make('kubelet');
    items = [webhook];
    await route.whenKnown(never);
    expect(route.detourOf('exec')).to.deep.equal({ reason: 'mutatingWebhook', detail: 'rewriter/w' });
    expect([route.detourOf('portforward'), route.detourOf('log')]).to.deep.equal([undefined, undefined]);
  });

  it('is the detour while it is not known', () => {
    make('kubelet');
    expect(route.detourOf('exec')).to.have.property('reason', 'notSynced');
  });

  it('is the detour for nodes that ask for it', () => {
    make('kubelet');
    const labels = { 'backup.cv.io/streams': 'apiserver' };
    expect([
      route.hasNodeDetours,
      route.detourOfNode({ metadata: { name: 'n1', labels } }),
      route.detourOfNode({ metadata: { name: 'n2' } }),
    ]).to.deep.equal([true, { reason: 'nodeLabel', detail: 'n1' }, undefined]);
  });

  it('watches nothing any more some time after the last stream', async () => {
    make('kubelet');
    await route.whenKnown(never);
    const once = listed.length;
    clock.advance(9 * 60_000);
    route.detourOf('exec');
    clock.advance(9 * 60_000);
    await route.whenKnown(never);
    const before = listed.filter((target) => target.includes('webhook')).length;
    clock.advance(10 * 60_000);
    await route.whenKnown(never);
    expect([once > 0, before, listed.filter((target) => target.includes('webhook')).length]).to.deep.equal([
      true,
      1,
      2,
    ]);
    await route.stop();
    expect(clock.pendingCount).to.equal(0);
  });

  it('watches nothing for a call that began before the Secret changed', async () => {
    make('kubelet');
    await route.stop();
    await route.whenKnown(never);
    expect([route.detourOf('exec'), listed, clock.pendingCount]).to.deep.equal([
      { reason: 'notSynced', detail: 'the Secret has changed' },
      [],
      0,
    ]);
  });

  afterEach(() => route.stop());
});
