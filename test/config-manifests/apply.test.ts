// An installation from nothing, as docs/install.md says it: the kustomization of a fresh clone applied to a cluster that has never heard of
// kexer, the Deployment's own command line run as its pods, kubectl through what came of it, and the way back out.

import { execFile } from 'node:child_process';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { expect } from 'chai';

import { needsKubectl } from '../support/kubectl.ts';
import { cloneConfig } from './support/clone.ts';
import { aggregatedKubeconfig, directKubeconfig, kexerPath, letUse, servingAuthority } from './support/clients.ts';
import { TestCluster } from './support/cluster.ts';
import { kustomize, root } from './support/manifests.ts';

const run = promisify(execFile);
const docs = readFileSync(join(root, 'docs/install.md'), 'utf8');

describe('kubectl apply -k config/', function () {
  this.timeout(60_000);
  let cluster: TestCluster;
  let clone: string;

  before(needsKubectl);

  before(async () => {
    cluster = await TestCluster.start({ environment: { KEXER_SHUTDOWN_DELAY_DURATION: '0s' } });
    clone = await cloneConfig(cluster.path('clone'));
    await cluster.mustKubectl(['apply', '-k', 'config/'], { cwd: clone });
    await cluster.serving(2);
    await letUse(cluster, 'alice');
  });

  after(() => cluster?.stop());

  it('brings up two replicas and an API that is available, without a warning', async () => {
    const wide = await cluster.mustKubectl(['get', 'apiservice', 'v1.backup.cv.io', '--no-headers']);
    const deployment = await cluster.mustKubectl(['-n', 'kexec-system', 'get', 'deployment', 'kexer', '--no-headers']);
    expect(wide).to.match(/^v1\.backup\.cv\.io +kexec-system\/kexer +True/);
    expect(deployment).to.match(/^kexer +2\/2 +2 +2/);
    expect(cluster.node.pods.map(({ written }) => written)).to.deep.equal([[], []]);
  });

  it('writes one authority into the Secret and into the APIService', async () => {
    const words = ['get', 'apiservice', 'v1.backup.cv.io', '-o', 'jsonpath={.spec.caBundle}'];
    const bundle = await cluster.mustKubectl(words);
    expect(bundle)
      .to.equal(await servingAuthority(cluster))
      .and.not.to.equal('');
  });

  it('serves kubectl straight to a replica', async () => {
    const file = await directKubeconfig(cluster);
    const kubectl = (...words: string[]) => cluster.kubectl(['--kubeconfig', file, ...words]);
    const pods = await kubectl('get', 'pods', '-o', 'name');
    const executed = await kubectl('exec', 'demo', '--', 'sh', '-c', 'echo out; exit 3');
    const logs = await kubectl('logs', 'ticker', '--tail=1');
    expect([pods.stdout.trim().split('\n').length, executed.stdout, executed.code]).to.deep.equal([4, 'out\n', 3]);
    expect(logs.stdout).to.match(/^tick \d+$/m);
  });

  it('serves kubectl by what `kexer kubeconfig` prints, as docs/install.md says', async () => {
    const [, command = ''] = /`(kubectl -n kexec-system get secret [^`]*)`/.exec(docs) ?? [];
    const [pod] = cluster.node.pods;
    const mine = cluster.path('mine.kubeconfig');
    const authority = cluster.path('kexer-ca.crt');
    copyFileSync(cluster.sandbox.files.kubeconfig, mine);
    const env = { PATH: process.env['PATH'] ?? '', HOME: cluster.sandbox.dir, KUBECONFIG: mine };
    await run('sh', ['-ec', command], { env, cwd: cluster.path() });
    await run('kubectl', ['config', 'set-context', '--current', '--user=alice'], { env });
    const flags = ['--server', `https://${pod?.address}:${pod?.port}`, '--certificate-authority', authority];
    const printed = await run(process.execPath, [join(root, 'src/main.ts'), 'kubeconfig', ...flags], { env });
    const own = cluster.path('own.kubeconfig');
    writeFileSync(own, printed.stdout);
    await run('kubectl', ['config', 'set-cluster', 'kexer', '--tls-server-name=kexer.kexec-system.svc'], {
      env: { ...env, KUBECONFIG: own },
    });
    const { code, stdout, stderr } = await cluster.kubectl([
      '--kubeconfig',
      own,
      'exec',
      'demo',
      '--',
      'echo',
      'hello',
    ]);
    expect([code, stdout, stderr]).to.deep.equal([0, 'hello\n', '']);
  });

  it('serves kubectl through the APIService', async () => {
    const clusters = await cluster.kubectl(['get', 'clusters.backup.cv.io']);
    expect([clusters.code, clusters.stderr]).to.deep.equal([0, '']);
    expect(clusters.stdout).to.match(/^NAME .*\nlocal /);
  });

  it('says to callers without a token of their own what is missing', async () => {
    const path = `${kexerPath}/api/v1/namespaces/default/pods/demo`;
    const { code, stderr } = await cluster.kubectl([
      '--kubeconfig',
      aggregatedKubeconfig(cluster),
      'get',
      '--raw',
      path,
    ]);
    expect(code).to.equal(1);
    expect(stderr).to.contain('Error from server (Forbidden)').and.contain('identity.impersonation');
  });

  it('sends streams to the kubelets, by a token that kexer asks for', async () => {
    const file = await directKubeconfig(cluster);
    await cluster.mustKubectl(['--kubeconfig', file, 'exec', 'demo', '--', 'true']);
    const seen = [...cluster.sandbox.kubelets.values()].flatMap(({ requests }) => requests);
    const audit = readFileSync(cluster.sandbox.files.auditLog, 'utf8');
    expect(seen.some(({ target }) => target.startsWith('/exec/default/demo/'))).to.equal(true);
    expect(audit).to.contain('/serviceaccounts/kexer-kubelet/token');
    expect(cluster.sandbox.apiserver.openStreams).to.equal(0);
  });

  it('changes nothing when it is applied again, not even the certificate', async () => {
    const before = await cluster.mustKubectl(['-n', 'kexec-system', 'get', 'secret,deployment,service', '-o', 'yaml']);
    const again = await cluster.kubectl(['apply', '-k', 'config/'], { cwd: clone });
    const lines = again.stdout.trim().split('\n');
    const after = await cluster.mustKubectl(['-n', 'kexec-system', 'get', 'secret,deployment,service', '-o', 'yaml']);
    expect([again.code, again.stderr]).to.deep.equal([0, '']);
    expect(lines.filter((line) => !line.endsWith(' unchanged'))).to.deep.equal([]);
    expect(lines).to.have.length((await kustomize('config')).length);
    expect(after).to.equal(before);
  });

  it('restarts pod by pod, and never without one that is ready', async () => {
    const names = new Set(cluster.node.pods.map(({ name }) => name));
    await cluster.mustKubectl(['-n', 'kexec-system', 'rollout', 'restart', 'deployment', 'kexer']);
    let fewest = Infinity;
    await cluster.until(() => {
      const ready = cluster.readyPods();
      fewest = Math.min(fewest, ready.length);
      return ready.length === 2 && ready.every((name) => !names.has(name));
    });
    expect(fewest).to.equal(2);
    await cluster.until(() => cluster.node.pods.every(({ name }) => !names.has(name)));
    await cluster.serving(2);
  });

  it('goes in the documented order, and leaves a namespace deletable', async () => {
    await cluster.mustKubectl(['delete', 'apiservice', 'v1.backup.cv.io']);
    await cluster.mustKubectl(['delete', '-k', 'config/', '--ignore-not-found'], { cwd: clone });
    await cluster.until(() => cluster.node.pods.length === 0);
    await cluster.mustKubectl(['create', 'namespace', 'other']);
    await cluster.mustKubectl(['delete', 'namespace', 'other', '--timeout=20s']);
    const left = await cluster.mustKubectl([
      'get',
      'clusterroles,clusterrolebindings,apiservices,namespaces',
      '-o',
      'name',
    ]);
    expect(
      left.split('\n').filter((line) => line.includes('kexer') || line.includes('kexec') || line.includes('backup.cv')),
    ).to.deep.equal([]);
  });
});
