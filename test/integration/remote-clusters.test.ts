// Two clusters: kexer in one, a Secret for the other. What kubectl does in the far one, by both ways of streams and as both identities.

import { readFile } from 'node:fs/promises';

import { expect } from 'chai';

import { needsKubectl } from '../support/kubectl.ts';
import { clusterPath } from './support/cluster-secrets.ts';
import { firstOutput, itWorksThere } from './support/far-commands.ts';
import { kubectl } from './support/kubectl.ts';
import { collect } from './support/stage.ts';
import { TwoClusters } from './support/two-clusters.ts';

describe('a cluster that a Secret names', function () {
  this.timeout(120_000);
  let clusters: TwoClusters;

  before(needsKubectl);
  before(async () => {
    clusters = await TwoClusters.start();
    for (const identity of ['shared', 'impersonate']) {
      for (const streams of ['apiserver', 'kubelet']) {
        await clusters.secrets.put(`far-${identity}-${streams}`, clusters.secretData({ identity, streams }));
      }
    }
    const marked = await kubectl(['create', 'configmap', 'which', '--from-literal=cluster=far'], {
      kubeconfig: clusters.far.files.kubeconfig,
      context: 'cluster',
      home: clusters.far.dir,
    });
    expect(marked.code).to.equal(0);
  });

  after(async () => {
    // Nothing of this was a stream in the near cluster.
    expect(await clusters.near.connections()).to.deep.equal([]);
    await clusters.stop();
  });

  for (const identity of ['shared', 'impersonate']) {
    for (const streams of ['apiserver', 'kubelet']) {
      describe(`as ${identity}, by the ${streams}`, () => {
        const name = `far-${identity}-${streams}`;

        it('gets objects', async () => {
          const which = await clusters.kubectl(name, ['get', 'configmap', 'which', '-o', 'jsonpath={.data.cluster}']);
          expect(which).to.deep.include({ code: 0, stderr: '' });
          expect(which.stdout.toString()).to.equal('far');
          const who = await clusters.kubectl(name, ['auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}']);
          expect(who.stdout.toString()).to.equal(
            identity === 'shared' ? 'system:serviceaccount:kexer-remote:kexer' : 'alice',
          );
        });

        itWorksThere(() => clusters, name, {
          mebibytes: 256,
          breakStreams: async () => {
            const kubelet = clusters.far.kubelets.get('node1');
            await kubelet?.kill('rst');
            return async () => kubelet?.revive();
          },
        });
      });
    }
  }

  it('is reached through the aggregation layer too', async () => {
    const aggregated = ['--server', `${clusters.near.sandbox.apiserver.url}${clusterPath('far-impersonate-kubelet')}`];
    for (const isWebSocket of [true, false]) {
      const run = await clusters.near.kubectl([...aggregated, 'exec', 'demo', '--', 'sh', '-c', 'echo out; exit 3'], {
        context: 'kexer-aggregated-alice',
        isWebSocket,
      });
      expect([run.code, run.stdout.toString()]).to.deep.equal([3, 'out\n']);
    }
    const who = await clusters.near.kubectl(
      [...aggregated, 'auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}'],
      {
        context: 'kexer-aggregated-alice',
      },
    );
    expect(who.stdout.toString()).to.equal('alice');
  });

  it('goes the way its Secret says', async () => {
    const proxied = async (): Promise<number> =>
      (await readFile(clusters.far.files.connectionLog, 'utf8').catch(() => '')).split('\n').length;
    const before = await proxied();
    await clusters.kubectl('far-impersonate-kubelet', ['exec', 'demo', '--', 'true']);
    const between = await proxied();
    await clusters.kubectl('far-impersonate-apiserver', ['exec', 'demo', '--', 'true']);
    expect([between === before, (await proxied()) > between]).to.deep.equal([true, true]);
  });

  it('ends its sessions with a word when its Secret is deleted, and means nothing from then on', async () => {
    for (const isWebSocket of [true, false]) {
      await clusters.secrets.put('short', clusters.secretData());
      const child = clusters.near.spawnKubectl(
        [...clusters.args('short'), 'exec', 'demo', '--', 'sh', '-c', 'echo on; sleep 60'],
        { context: 'kexer-alice', isWebSocket },
      );
      const result = collect(child);
      await firstOutput(child);
      await clusters.secrets.delete('short');
      const { code, stderr } = await result;
      expect([code, stderr]).to.deep.equal([
        1,
        'error: Internal error occurred: the cluster clusters/short was removed: its Secret was deleted\n',
      ]);
      const after = await clusters.kubectl('short', ['get', 'pods']);
      expect(after.code).to.equal(1);
      expect(after.stderr).to.match(/^Error from server \(NotFound\): .*clusters\.backup\.cv\.io "short" not found\n$/);
    }
  });

  it('takes the detour where its own admission may change a stream', async () => {
    const group = 'admissionregistration.k8s.io';
    const resource = { group, resource: 'mutatingwebhookconfigurations' };
    const { store, files } = clusters.far;
    const proxied = async (): Promise<string> => readFile(files.connectionLog, 'utf8').catch(() => '');
    store.create(resource, {
      apiVersion: `${group}/v1`,
      kind: 'MutatingWebhookConfiguration',
      metadata: { name: 'rewriter' },
      webhooks: [
        {
          name: 'rewriter.example',
          failurePolicy: 'Ignore',
          sideEffects: 'None',
          admissionReviewVersions: ['v1'],
          clientConfig: { url: 'https://127.0.0.1:1/' },
          rules: [
            { apiGroups: [''], apiVersions: ['v1'], operations: ['CONNECT'], resources: ['pods/exec'], scope: '*' },
          ],
        },
      ],
    });
    // Its watch there begins with the first stream.
    await clusters.secrets.put('mutated', clusters.secretData({ streams: 'kubelet' }));
    const before = await proxied();
    const run = await clusters.kubectl('mutated', ['exec', 'demo', '--', 'echo', 'out']);
    expect([run.code, run.stdout.toString()]).to.deep.equal([0, 'out\n']);
    expect((await proxied()).length).to.be.greaterThan(before.length);
    store.delete({ ...resource, namespace: '', name: 'rewriter' });
    await clusters.secrets.delete('mutated');
  });

  for (const streams of ['kubelet', 'apiserver']) {
    it(`ends sessions whose pod is gone, by the ${streams}`, async () => {
      const name = `far-impersonate-${streams}`;
      await clusters.kubectl(name, ['run', 'short', '--image=busybox', '--', 'sleep', '600']);
      await clusters.kubectl(name, ['wait', '--for=condition=Ready', 'pod/short', '--timeout=30s']);
      const child = clusters.near.spawnKubectl([...clusters.args(name), 'port-forward', 'short', ':80'], {
        context: 'kexer-alice',
      });
      const result = collect(child);
      await firstOutput(child);
      await clusters.kubectl(name, ['delete', 'pod', 'short', '--now']);
      expect((await result).code).to.not.equal(null);
    });
  }

  it('cuts a watch when its Secret is deleted', async () => {
    await clusters.secrets.put('watched', clusters.secretData());
    const child = clusters.near.spawnKubectl([...clusters.args('watched'), 'get', 'pods', '-w', '-o', 'name'], {
      context: 'kexer-alice',
    });
    const result = collect(child);
    await firstOutput(child);
    await clusters.secrets.delete('watched');
    expect((await result).stdout.toString()).to.contain('pod/demo');
  });

  it('takes another content of its Secret at once', async () => {
    await clusters.secrets.put('changing', clusters.secretData({ identity: 'shared' }));
    const who = async (): Promise<string> =>
      (
        await clusters.kubectl('changing', ['auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}'])
      ).stdout.toString();
    const shared = await who();
    await clusters.secrets.put('changing', clusters.secretData({ identity: 'impersonate' }));
    expect([shared, await who()]).to.deep.equal(['system:serviceaccount:kexer-remote:kexer', 'alice']);
    await clusters.secrets.delete('changing');
  });
});
