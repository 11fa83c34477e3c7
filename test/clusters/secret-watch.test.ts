// The copy of the Secrets that name clusters: one informer a namespace, of that type alone, and never one named local.

import { expect } from 'chai';

import { SecretWatch } from '../../src/clusters/secret-watch.ts';
import { forbidden, StatusError } from '../../src/kube/status.ts';
import { FakeClock } from '../support/fake-clock.ts';

function secret(name: string, type = 'backup.cv.io/cluster'): object {
  return { metadata: { name, namespace: 'clusters', uid: name, resourceVersion: '1' }, type, data: {} };
}

describe('SecretWatch', () => {
  let targets: string[];
  let told: string[];
  let items: object[];
  let secrets: SecretWatch;

  beforeEach(() => {
    targets = [];
    told = [];
    items = [];
    secrets = new SecretWatch(
      {
        clock: new FakeClock(),
        onError: (namespace, error) => told.push(`error ${namespace} ${error instanceof StatusError}`),
        onShadow: (namespace) => told.push(`shadow ${namespace}`),
        client: {
          userAgent: 'test',
          json: async ({ target }) => {
            targets.push(target);
            if (target.includes('/forbidden/'))
              throw new StatusError(forbidden({ group: '', resource: 'secrets' }, '', 'no'));
            return { metadata: { resourceVersion: '1' }, items };
          },
          stream: (_request, sink) => ({ pause: () => {}, resume: () => {}, abort: (reason) => sink.onError(reason) }),
        },
      },
      { namespaces: ['clusters', 'forbidden'] },
    );
    secrets.onChange(({ namespace, name, secret }) =>
      told.push(`${secret === undefined ? 'unset' : 'set'} ${namespace}/${name}`),
    );
  });

  afterEach(() => secrets.stop());

  async function started(): Promise<void> {
    secrets.start();
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }

  it('asks for the type alone, and tells what it finds', async () => {
    items = [secret('far'), secret('near')];
    expect(secrets.hasSynced('clusters')).to.equal(false);
    await started();
    expect(targets[0]).to.equal(
      '/api/v1/namespaces/clusters/secrets?limit=500&fieldSelector=type%3Dbackup.cv.io%2Fcluster',
    );
    expect(told).to.deep.equal(['set clusters/far', 'set clusters/near', 'error forbidden true']);
    expect([secrets.hasSynced('clusters'), secrets.hasSynced('forbidden')]).to.deep.equal([true, false]);
  });

  it('keeps nothing of another type, whatever the apiserver gives', async () => {
    items = [secret('far'), secret('other', 'Opaque')];
    await started();
    expect(told).to.contain('set clusters/far').and.not.contain('set clusters/other');
  });

  it('ignores one that would name the local cluster, and says so', async () => {
    items = [secret('local')];
    await started();
    expect(told).to.contain('shadow clusters').and.not.contain('set clusters/local');
  });

  it('knows whose Secrets count', () => {
    expect([secrets.has('clusters'), secrets.has('default'), secrets.hasSynced('default')]).to.deep.equal([
      true,
      false,
      false,
    ]);
  });
});
