// `kubectl get clusters` in its forms, with kexer as a process that logs whatever it can: and in nothing of it, and of all that is done besides, a
// credential.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { needsKubectl } from '../support/kubectl.ts';
import { clusterPath, clustersNamespace } from './support/cluster-secrets.ts';
import { KexerProcess } from './support/kexer-process.ts';
import { kubectl, type KubectlRun } from './support/kubectl.ts';

describe('kubectl get clusters', function () {
  this.timeout(120_000);
  let scope: Scope;
  let near: Sandbox;
  let far: Sandbox;
  let kexer: KexerProcess;
  let token: string;
  let client: { cert: string; key: string };
  let auditFile: string;
  /** All that was ever printed. */
  let printed: string;

  before(needsKubectl);
  before(async () => {
    scope = new Scope();
    printed = '';
    [near, far] = await Promise.all([startSandbox({ hasSamplePods: false }), startSandbox()]);
    scope.add(() => near.stop());
    scope.add(() => far.stop());
    auditFile = join(near.dir, 'kexer-audit.log');
    kexer = await KexerProcess.start(near, [
      '--cluster-namespaces=clusters',
      '--cluster-allowed-endpoints=127.0.0.1',
      '--log-level=trace',
      `--audit-log-path=${auditFile}`,
      '--audit-commands=none',
    ]);
    scope.add(async () => void (await kexer.stop()));
    await far.ready();
    token = far.serviceAccountToken('default', 'default');
    client = await far.clientCertificate({ name: 'kexer-far', groups: ['system:masters'] });
    const caData = `${await readFile(far.files.servingCaFile, 'utf8')}${await readFile(far.files.kubeletCaFile, 'utf8')}`;
    const certificate = { clientCertificateData: client.cert, clientKeyData: client.key };
    const endpointUrl = far.apiserver.url;
    put('shared', { endpointUrl, caData, ...certificate, identity: 'shared', streams: 'kubelet' }, { env: 'prod' });
    put('refused', { endpointUrl, caData, token: `${token}x`, identity: 'impersonate' });
    put('limited', { endpointUrl, caData, token, identity: 'impersonate', identityPrefix: 'hub:' });
    put('away', { endpointUrl: 'https://127.0.0.1:1', caData, token, identity: 'impersonate' });
    put('broken', { endpointUrl: 'https://eve:hunter2@far', token: 'hunter2 hunter2', identity: 'shared' });
    await inNear(['wait', '--for=condition=Reachable', 'clusters.backup.cv.io/shared', '--timeout=30s']);
  });

  after(() => scope.close());

  function put(name: string, data: Readonly<Record<string, string>>, labels: Record<string, string> = {}): void {
    near.store.create(
      { group: '', resource: 'secrets' },
      {
        apiVersion: 'v1',
        kind: 'Secret',
        type: 'backup.cv.io/cluster',
        metadata: {
          name,
          namespace: clustersNamespace,
          labels,
          annotations: { 'kubectl.kubernetes.io/last-applied-configuration': JSON.stringify(data) },
        },
        data: Object.fromEntries(
          Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')]),
        ),
      },
    );
  }

  async function run(
    args: readonly string[],
    context: string,
    isEnough?: (stdout: string) => boolean,
  ): Promise<KubectlRun> {
    const result = await kubectl([...args, '-v=1'], {
      kubeconfig: near.files.kubeconfig,
      context,
      home: near.dir,
      ...(isEnough === undefined ? {} : { isEnough }),
    });
    printed += `${result.stdout}\n${result.stderr}\n`;
    return result;
  }

  /** In the near cluster's own API, in the namespace of the Secrets. */
  const inNear = (args: readonly string[], isEnough?: (stdout: string) => boolean): Promise<KubectlRun> =>
    run([...args, '-n', clustersNamespace], 'kexer-aggregated', isEnough);
  const into = (name: string, args: readonly string[]): Promise<KubectlRun> =>
    run(['--server', `https://127.0.0.1:${kexer.port}${clusterPath(name)}`, ...args], 'kexer-alice');

  /** Of a table, without what differs from run to run. */
  const rows = (text: string): string[][] =>
    text
      .trimEnd()
      .split('\n')
      .map((line) => line.split(/ {2,}/))
      .map((cells) =>
        cells.map((cell) =>
          cell
            .replace(/^\d+m?s$/, 'T')
            .replace(/^https:.*/, 'URL')
            .trim(),
        ),
      );

  it('shows where they are, who is there, and whether they answer', async () => {
    const { code, stdout } = await inNear(['get', 'clusters.backup.cv.io']);
    expect(code).to.equal(0);
    expect(rows(stdout)).to.deep.equal([
      ['NAME', 'ENDPOINT', 'IDENTITY', 'STREAMS', 'REACHABLE', 'VERSION', 'LATENCY', 'SESSIONS', 'AGE'],
      ['away', 'URL', 'impersonate', 'apiserver', 'False', '0', 'T'],
      ['broken', '<invalid>', 'shared', 'apiserver', 'Unknown', '0', 'T'],
      ['limited', 'URL', 'impersonate', 'apiserver', 'True', 'v1.36.2+kexer-sandbox', 'T', '0', 'T'],
      ['local', 'URL', 'caller', 'kubelet', 'True', 'v1.36.2+kexer-sandbox', 'T', '0', 'T'],
      ['refused', 'URL', 'impersonate', 'apiserver', 'False', '0', 'T'],
      ['shared', 'URL', 'shared', 'kubelet', 'True', 'v1.36.2+kexer-sandbox', 'T', '0', 'T'],
    ]);
    const wide = await inNear(['get', 'clusters.backup.cv.io', '-o', 'wide']);
    expect(wide.stdout).to.contain('Cannot reach the apiserver at 127.0.0.1:1: connect ECONNREFUSED');
    expect(wide.stdout).to.contain('the Secret clusters/broken has an "endpointUrl" with user information');
    expect(wide.stdout).to.contain('cluster "clusters/refused" does not accept the credential of its Secret (401)');
  });

  it('shows one, in every form', async () => {
    const name = await inNear(['get', 'clusters.backup.cv.io', 'limited', '-o', 'name']);
    expect(name.stdout).to.equal('cluster.backup.cv.io/limited\n');
    const yaml = await inNear(['get', 'clusters.backup.cv.io', 'limited', '-o', 'yaml']);
    expect(yaml.stdout).to.contain("  identityPrefix: 'hub:'").and.contain('reason: Answered');
    const described = await inNear(['describe', 'clusters.backup.cv.io', 'refused']);
    expect(described.stdout).to.match(/Message: +cluster "clusters\/refused" does not accept the credential/);
    const labelled = await inNear(['get', 'clusters.backup.cv.io', '-l', 'env=prod', '-o', 'name']);
    expect(labelled.stdout).to.equal('cluster.backup.cv.io/shared\n');
    const all = await run(['get', 'clusters.backup.cv.io', '-A', '-o', 'json'], 'kexer-aggregated');
    expect((JSON.parse(all.stdout) as { items: unknown[] }).items).to.have.length(6);
    const missing = await inNear(['get', 'clusters.backup.cv.io', 'nope']);
    expect(missing.stderr).to.contain('Error from server (NotFound): clusters.backup.cv.io "nope" not found');
  });

  it('watches them', async () => {
    const watching = inNear(['get', 'clusters.backup.cv.io', '-w', '-o', 'name'], (stdout) => stdout.includes('added'));
    const waiting = inNear(['wait', '--for=create', 'clusters.backup.cv.io/added', '--timeout=30s']);
    put('added', { endpointUrl: 'https://127.0.0.1:1', token, identity: 'shared' });
    expect((await watching).stdout).to.match(/^cluster\.backup\.cv\.io\/added$/m);
    expect((await waiting).code).to.equal(0);
    const gone = inNear(['wait', '--for=delete', 'clusters.backup.cv.io/added', '--timeout=30s']);
    near.store.delete({ group: '', resource: 'secrets', namespace: clustersNamespace, name: 'added' });
    expect((await gone).code).to.equal(0);
  });

  it('counts their sessions', async () => {
    let count = '';
    await into('shared', ['exec', 'demo', '--', 'echo', 'out']);
    const child = kubectl(
      ['--server', `https://127.0.0.1:${kexer.port}${clusterPath('shared')}`, 'logs', '-f', 'ticker'],
      {
        kubeconfig: near.files.kubeconfig,
        context: 'kexer-alice',
        home: near.dir,
        isEnough: () => count === '1',
      },
    );
    while (count !== '1') {
      // Each turn is a kubectl; the log has to be open first.
      count = (await inNear(['get', 'clusters.backup.cv.io', 'shared', '-o', 'jsonpath={.status.sessions}'])).stdout;
    }
    await child;
    expect(count).to.equal('1');
  });

  it('shows nobody more than they may see', async () => {
    const viewer = await run(['get', 'clusters.backup.cv.io', '-n', clustersNamespace], 'kexer-aggregated-viewer');
    expect(viewer.code).to.equal(0);
    const elsewhere = await run(['get', 'clusters.backup.cv.io', '-A'], 'kexer-aggregated-viewer');
    expect(elsewhere.stderr).to.contain(
      'cannot list resource "clusters" in API group "backup.cv.io" at the cluster scope',
    );
  });

  it('has no credential in anything that was printed, logged or recorded', async () => {
    for (const name of ['shared', 'refused', 'limited', 'away', 'broken', 'nope']) {
      for (const args of [
        ['get', 'pods'],
        ['exec', 'demo', '--', 'true'],
        ['logs', 'ticker', '--tail=1'],
        ['exec', 'nope', '--', 'true'],
        ['get', '--raw', `${clusterPath(name)}/api/v1/namespaces/default/pods`],
      ]) {
        await into(name, args);
      }
    }
    await kexer.stop();
    const logs = JSON.stringify(kexer.log) + kexer.complaints.join('\n');
    const records = await readFile(auditFile, 'utf8');
    expect(logs).to.contain('clusters/shared').and.contain('session ended');
    expect(records).to.contain('clusters/shared');
    const clusterLogs = await Promise.all([near, far].map(({ files }) => readFile(files.auditLog, 'utf8')));
    const secrets: Record<string, string> = {
      'the token': token,
      'its payload': token.split('.')[1] ?? '?',
      'its signature': token.split('.')[2] ?? '?',
      'a password': 'hunter2',
      'the key': client.key.split('\n')[1] ?? '?',
      'the encoded key': Buffer.from(client.key).toString('base64').slice(0, 60),
      'the token of alice': near.tokens.alice,
    };
    const places = { printed, logs, records, near: clusterLogs[0], far: clusterLogs[1] };
    const found = Object.entries(secrets).flatMap(([what, secret]) =>
      Object.entries(places).flatMap(([place, text]) =>
        text?.includes(secret) === true ? [`${what} in ${place}`] : [],
      ),
    );
    expect(found).to.deep.equal([]);
  });
});
