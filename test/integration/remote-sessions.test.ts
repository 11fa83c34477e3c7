// Who is streaming in another cluster: its sessions stand in the namespace of the Secret that names it, and rights on them are asked for there, whatever
// the pods' namespaces in the other cluster are called and whatever somebody may do in one of the same name here.

import { expect } from 'chai';

import type { SandboxContext } from '../../src/sandbox/sandbox.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { clustersNamespace } from './support/cluster-secrets.ts';
import { collect, type KubectlResult } from './support/stage.ts';
import { TwoClusters } from './support/two-clusters.ts';

interface ListedSession {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly user: { readonly username: string };
    readonly originalUser?: { readonly username: string };
    readonly cluster: { readonly namespace: string; readonly name: string };
    readonly pod: { readonly namespace: string; readonly name: string };
    readonly command: readonly string[];
  };
  readonly status: { readonly conditions: readonly { readonly type: string; readonly status: string }[] };
}

describe('sessions in a cluster that a Secret names', function () {
  this.timeout(60_000);
  this.slow(5000);
  let clusters: TwoClusters;

  before(needsKubectl);
  before(async () => {
    clusters = await TwoClusters.start();
    for (const [identity, streams] of [
      ['impersonate', 'kubelet'],
      ['shared', 'apiserver'],
    ] as const) {
      await clusters.secrets.put(`far-${identity}`, clusters.secretData({ identity, streams }));
    }
  });
  after(() => clusters?.stop());

  /** kubectl straight at kexer. */
  function own(args: readonly string[], context: SandboxContext = 'kexer'): Promise<KubectlResult> {
    return clusters.near.kubectl(['--server', `https://127.0.0.1:${clusters.near.port}`, ...args], { context });
  }

  async function listed(namespace: string): Promise<ListedSession[]> {
    const { stdout } = await own(['get', 'sessions', '-n', namespace, '-o', 'json']);
    return (JSON.parse(stdout.toString()) as { items: ListedSession[] }).items;
  }

  /** alice sleeps in the far cluster. */
  async function sleepIn(
    cluster: string,
    seconds: string,
  ): Promise<{ session: ListedSession; end: Promise<KubectlResult> }> {
    const args = [...clusters.args(cluster), 'exec', 'demo', '--', 'sleep', seconds];
    const end = collect(clusters.near.spawnKubectl(args, { context: 'kexer-alice' }));
    for (;;) {
      const session = (await listed(clustersNamespace)).find(({ spec }) => spec.command[1] === seconds);
      if (session !== undefined) return { session, end };
    }
  }

  function end(name: string): Promise<KubectlResult> {
    return own(['delete', 'session', name, '-n', clustersNamespace]);
  }

  for (const [identity, isDirect] of [
    ['impersonate', 'True'],
    ['shared', 'False'],
  ] as const) {
    it(`are in the Secret's namespace, as ${identity}`, async () => {
      const cluster = `far-${identity}`;
      const { session, end: over } = await sleepIn(cluster, `80${identity.length}`);
      const { metadata, spec, status } = session;
      expect({
        namespace: metadata.namespace,
        cluster: spec.cluster,
        pod: [spec.pod.namespace, spec.pod.name],
        users: [spec.user.username, spec.originalUser?.username].filter((name) => name !== undefined),
        isDirect: status.conditions.find(({ type }) => type === 'Direct')?.status,
      }).to.deep.equal({
        namespace: clustersNamespace,
        cluster: { namespace: clustersNamespace, name: cluster },
        pod: ['default', 'demo'],
        // Whoever is streaming, by whichever account it goes there.
        users: ['alice'],
        isDirect,
      });
      expect(await listed('default')).to.deep.equal([]);
      const wide = await own(['get', 'sessions', '-A', '-o', 'wide']);
      expect(wide.stdout.toString()).to.contain(`${clustersNamespace}/${cluster}`);
      const count = await own(['get', 'clusters', '-n', clustersNamespace, '-o', 'json']);
      const { items } = JSON.parse(count.stdout.toString()) as {
        items: { metadata: { name: string }; status: { sessions: number } }[];
      };
      expect(Object.fromEntries(items.map((item) => [item.metadata.name, item.status.sessions]))).to.deep.equal({
        local: 0,
        'far-impersonate': identity === 'impersonate' ? 1 : 0,
        'far-shared': identity === 'shared' ? 1 : 0,
      });
      expect(await end(metadata.name)).to.deep.include({ code: 0, stderr: '' });
      expect((await over).stderr).to.contain('session ended by admin');
      expect(await listed(clustersNamespace)).to.deep.equal([]);
    });
  }

  it('are judged by rights in the Secret’s namespace, not in one called as the pod’s', async () => {
    const { session, end: over } = await sleepIn('far-impersonate', '820');
    const { name } = session.metadata;
    // She may do everything in `default`, here and there, and the session is hers.
    for (const args of [
      ['get', 'sessions'],
      ['get', 'session', name],
      ['delete', 'session', name],
    ]) {
      const refused = await own([...args, '-n', clustersNamespace], 'kexer-alice');
      expect(refused.stderr).to.match(
        new RegExp(`User "alice" cannot \\w+ resource "sessions" .* in the namespace "${clustersNamespace}"`),
      );
      const there = await own([...args, '-n', 'default'], 'kexer-alice');
      expect(there.stderr).to.match(/^(No resources found|Error from server \(NotFound\))/);
    }
    await bind('viewer');
    const deleted = await own(['delete', 'session', name, '-n', clustersNamespace], 'kexer-viewer');
    expect([deleted.code, deleted.stdout.toString()]).to.deep.equal([0, `session.backup.cv.io "${name}" deleted\n`]);
    expect((await over).stderr).to.contain('session ended by viewer');
  });

  /** All rights on sessions in the Secret's namespace, and nothing else. */
  async function bind(user: string): Promise<void> {
    const admin = { context: 'cluster' } as const;
    const role = ['create', 'role', 'session-admin', '-n', clustersNamespace];
    await clusters.near.kubectl([...role, '--verb=get,list,watch,delete', '--resource=sessions.backup.cv.io'], admin);
    const binding = ['create', 'rolebinding', 'session-admin', '-n', clustersNamespace];
    await clusters.near.kubectl([...binding, '--role=session-admin', `--user=${user}`], admin);
  }
});
