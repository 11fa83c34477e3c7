// Lasting rights in another cluster: kexer in one, a Secret for the other, sessions there, and what is taken away there while they run.

import { expect } from 'chai';

import { needsKubectl } from '../support/kubectl.ts';
import { kubectl, type KubectlRun } from './support/kubectl.ts';
import { collect, type KubectlResult, until } from './support/stage.ts';
import { TwoClusters } from './support/two-clusters.ts';

describe('rights in another cluster', function () {
  this.timeout(120_000);
  let clusters: TwoClusters;

  before(needsKubectl);
  before(async () => {
    clusters = await TwoClusters.start(['--session-recheck-interval', '1s']);
    for (const identity of ['shared', 'impersonate']) {
      for (const streams of ['apiserver', 'kubelet']) {
        await clusters.secrets.put(`far-${identity}-${streams}`, clusters.secretData({ identity, streams }));
      }
    }
  });

  after(() => clusters?.stop());

  /** In the far cluster, as its administrator. */
  async function far(command: string): Promise<KubectlRun> {
    const { files, dir: home } = clusters.far;
    const run = await kubectl(command.split(' '), { kubeconfig: files.kubeconfig, context: 'cluster', home });
    expect(run.code, run.stderr).to.equal(0);
    return run;
  }

  /** An exec that runs until its input ends. */
  async function hold(
    name: string,
    isWebSocket = true,
  ): Promise<{ result: Promise<KubectlResult>; release: () => Promise<KubectlResult> }> {
    const script = 'echo ready; cat';
    const child = clusters.near.spawnKubectl([...clusters.args(name), 'exec', '-i', 'demo', '--', 'sh', '-c', script], {
      context: 'kexer-alice',
      isWebSocket,
    });
    const ready = new Promise((resolve) => {
      child.stdout.once('data', resolve);
    });
    const result = collect(child);
    await Promise.race([ready, result]);
    const release = (): Promise<KubectlResult> => {
      child.stdin.end();
      return result;
    };
    return { result, release };
  }

  const alices = 'rolebinding alice --clusterrole=cluster-admin --user=alice';
  const accounts = 'rolebinding kexer-remote --clusterrole=cluster-admin --serviceaccount=kexer-remote:kexer';
  const lost = 'may no longer create pods/exec in namespace default of the cluster clusters/';

  for (const streams of ['apiserver', 'kubelet']) {
    for (const isWebSocket of [true, false]) {
      const how = `by the ${streams}, ${isWebSocket ? 'WebSocket' : 'SPDY'}`;

      it(`end the session of a user who lost them there, and no other: ${how}`, async () => {
        const mine = await hold(`far-impersonate-${streams}`, isWebSocket);
        const shared = await hold(`far-shared-${streams}`, isWebSocket);
        await far('delete rolebinding alice');
        const { code, stdout, stderr } = await mine.result;
        expect([code, stdout.toString()]).to.deep.equal([1, 'ready\n']);
        expect(stderr).to.contain(`alice ${lost}far-impersonate-${streams}`);
        expect(await shared.release()).to.deep.include({ code: 0, stderr: '' });
        await far(`create ${alices}`);
      });
    }
  }

  it('end shared sessions when the account of the Secret lost them', async () => {
    const shared = await hold('far-shared-apiserver');
    await far('delete rolebinding kexer-remote');
    const { code, stderr } = await shared.result;
    expect(code).to.equal(1);
    expect(stderr).to.contain(`the account of the Secret clusters/far-shared-apiserver ${lost}far-shared-apiserver`);
    await far(`create ${accounts}`);
  });

  it('end sessions when that cluster no longer takes the credential of the Secret', async () => {
    await far('create serviceaccount brief -n kexer-remote');
    await far('create clusterrolebinding brief --clusterrole=cluster-admin --serviceaccount=kexer-remote:brief');
    const token = clusters.far.serviceAccountToken('kexer-remote', 'brief');
    await clusters.secrets.put('far-brief', clusters.secretData({ token }));
    const held = await hold('far-brief');
    await far('delete serviceaccount brief -n kexer-remote');
    const { code, stderr } = await held.result;
    expect(code).to.equal(1);
    expect(stderr).to.contain('cluster "clusters/far-brief" does not accept the credential of its Secret (401)');
  });

  it('are asked with the new credential once the Secret has one', async () => {
    await far('create serviceaccount turns -n kexer-remote');
    await far('create clusterrolebinding turns --clusterrole=cluster-admin --serviceaccount=kexer-remote:turns');
    const token = clusters.far.serviceAccountToken('kexer-remote', 'turns');
    await clusters.secrets.put('far-turns', clusters.secretData({ token }));
    const held = await hold('far-turns');
    await clusters.secrets.put('far-turns', clusters.secretData());
    await far('delete serviceaccount turns -n kexer-remote');
    const { rights } = clusters.near.kexer;
    const { allowed, refused } = rights.counts();
    await until(() => rights.counts().allowed >= allowed + 6);
    expect(rights.counts().refused).to.equal(refused);
    expect(await held.release()).to.deep.include({ code: 0, stderr: '' });
  });

  it('are not lost by an outage of that cluster', async () => {
    const held = await hold('far-impersonate-kubelet');
    const { rights } = clusters.near.kexer;
    const before = rights.counts();
    await clusters.far.apiserver.kill();
    await until(() => rights.counts().unverified >= before.unverified + 3);
    await clusters.far.apiserver.restart();
    const { allowed } = rights.counts();
    await until(() => rights.counts().allowed >= allowed + 4);
    expect(await held.release()).to.deep.include({ code: 0, stderr: '' });
    expect(rights.counts().refused).to.equal(before.refused);
  });
});
