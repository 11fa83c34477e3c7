// The doctor and the clusters that Secrets name: straight and by a proxy, and each thing that can be wrong on the way.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { Scope } from '../../../src/base/scope.ts';
import { FarServer } from '../../integration/support/far-server.ts';
import { ConnectProxy } from '../../support/connect-proxy.ts';
import { useClinic } from './support/clinic.ts';

const version = '{"major":"1","minor":"36","gitVersion":"v1.36.0"}';
const secrets = { group: '', resource: 'secrets' };
const namespace = 'clusters';

describe('kexer doctor, of other clusters', function () {
  this.timeout(60_000);
  const { sandbox, asKexer, findings, later } = useClinic();
  let scope: Scope;
  let far: FarServer;

  before(async () => {
    scope = new Scope();
    far = await FarServer.start(scope);
  });

  beforeEach(() => far.will('200 OK', ['Content-Type: application/json'], version));

  after(() => scope.close());

  function put(name: string, parts: Readonly<Record<string, string>> = {}): void {
    const data = { endpointUrl: far.url, caData: far.ca, token: 'far-token', identity: 'impersonate', ...parts };
    sandbox().store.create(secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      type: 'backup.cv.io/cluster',
      metadata: { name, namespace },
      data: Object.fromEntries(Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')])),
    });
    later(() => {
      sandbox().store.delete({ ...secrets, namespace, name });
    });
  }

  /** What is said of clusters, as `STATUS CHECK: WHAT`. */
  async function said(...flags: readonly string[]): Promise<string[]> {
    const found = await findings(
      asKexer('--cluster-namespaces=clusters', '--cluster-allowed-endpoints=127.0.0.1', ...flags),
    );
    const ours = found.findings.filter(({ check }) => check.startsWith('cluster'));
    for (const { status, fix } of ours) expect(fix === '').to.equal(status === 'ok' || status === 'skip');
    return ours.map(({ status, check, what }) => `${status} ${check}: ${what}`);
  }

  it('says nothing of them where no Secret may name one', async () => {
    const { findings: found } = await findings(asKexer());
    expect(found.filter(({ check }) => check.startsWith('cluster'))).to.deep.equal([]);
  });

  it('says that no Secret names one', async () => {
    expect(await said()).to.deep.equal([
      'skip clusters clusters: None of its Secrets is of the type backup.cv.io/cluster',
    ]);
  });

  it('asks each for its version, with the credential of its Secret', async () => {
    put('far');
    expect(await said()).to.deep.equal([`ok cluster clusters/far: ${far.url} answers: v1.36.0`]);
    expect(far.received)
      .to.match(/^GET \/version HTTP\/1\.1\r\n/)
      .and.contain('Authorization: Bearer far-token\r\n');
  });

  it('says what is wrong with a Secret, an address and a credential', async () => {
    put('denied', { endpointUrl: 'https://10.1.2.3' });
    put('local');
    put('odd', { identity: 'nobody' });
    put('refused');
    put('stranger', { caData: '' });
    far.will('401 Unauthorized', ['Content-Type: application/json'], '{"kind":"Status","code":401}');
    expect(await said()).to.deep.equal([
      'fail cluster clusters/denied: cluster "clusters/denied": Cannot connect to "10.1.2.3": it is not in clusters.allowedEndpoints',
      'warn cluster clusters/local: Its Secret is ignored: this is the name of the cluster kexer runs in',
      'fail cluster clusters/odd: Its Secret has another "identity" than shared or impersonate',
      'fail cluster clusters/refused: cluster "clusters/refused" does not accept the credential of its Secret (401): it may have expired',
      `fail cluster clusters/stranger: cluster "clusters/stranger": Cannot trust the apiserver at 127.0.0.1:${far.port}: unable to verify the first certificate; see "caData" and "tlsServerName" of its Secret`,
    ]);
  });

  it('goes by the proxy, and says what the proxy says', async () => {
    put('far');
    const proxy = await ConnectProxy.start(scope);
    const credentials = join(sandbox().dir, 'proxy-credentials');
    await writeFile(credentials, 'kexer:hunter2\n');
    const flags = [`--cluster-proxy-url=${proxy.url}`, `--cluster-proxy-credentials-file=${credentials}`];
    const name = `127.0.0.1:${proxy.port}`;
    const target = `127.0.0.1:${far.port}`;
    expect(await said(...flags)).to.deep.equal([
      `ok cluster clusters/far: ${far.url} answers by the proxy ${name}: v1.36.0`,
    ]);
    expect(proxy.targets).to.deep.equal([target]);

    const cases: readonly (readonly [answer: string, problem: string])[] = [
      ['HTTP/1.1 403 Forbidden\r\n\r\n', `answered 403 Forbidden to CONNECT ${target}`],
      [
        'HTTP/1.1 407 Proxy Authentication Required\r\n\r\n',
        `answered 407 Proxy Authentication Required to CONNECT ${target}; it wants another user or password than those of clusters.proxyCredentialsFile`,
      ],
      ['', 'closed the connection before it answered'],
    ];
    for (const [answer, problem] of cases) {
      proxy.answer = ({ socket }) => void socket.end(answer);
      expect(await said(...flags)).to.deep.equal([
        `fail cluster clusters/far: cluster "clusters/far": Cannot connect to ${target}: the proxy ${name} ${problem}`,
      ]);
    }
    expect(await said(...flags, '--cluster-no-proxy=127.0.0.0/8')).to.deep.equal([
      `ok cluster clusters/far: ${far.url} answers: v1.36.0`,
    ]);
    const away = await said('--cluster-proxy-url=http://127.0.0.1:1');
    expect(away).to.deep.equal([
      `fail cluster clusters/far: cluster "clusters/far": Cannot connect to ${target}: the proxy 127.0.0.1:1 cannot be reached: connect ECONNREFUSED 127.0.0.1:1`,
    ]);
  });

  it('says that it may not look', async () => {
    const key = { group: 'rbac.authorization.k8s.io', resource: 'rolebindings', namespace };
    const bindings = sandbox().store.list({ group: key.group, resource: key.resource }, namespace);
    for (const binding of bindings) {
      const { name } = binding.metadata;
      sandbox().store.delete({ ...key, name });
      later(() => {
        const { resourceVersion: _version, uid: _uid, ...metadata } = binding.metadata;
        sandbox().store.create({ group: key.group, resource: key.resource }, { ...structuredClone(binding), metadata });
      });
    }
    const [text = ''] = await said();
    expect(text).to.match(/^skip clusters clusters: We may not list its Secrets: secrets is forbidden: /);
  });
});
