import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { parse } from 'yaml';

import type { DeniedAction } from '../../src/kube/status.ts';
import { makeUser } from '../../src/kube/user.ts';
import { RbacAuthorizer } from '../../src/sandbox/apiserver/identity/rbac.ts';
import { type Sandbox, sandboxContexts, startSandbox } from '../../src/sandbox/sandbox.ts';
import { useTempDir } from '../support/temp-dir.ts';

const run = promisify(execFile);

interface Kubeconfig {
  readonly 'current-context': string;
  readonly contexts: { name: string; context: { cluster: string; user: string } }[];
  readonly clusters: { name: string; cluster: { server: string } }[];
}

describe('sandbox', () => {
  const dir = useTempDir();
  let sandbox: Sandbox | undefined;

  afterEach(async () => {
    await sandbox?.stop();
    sandbox = undefined;
  });

  async function start(): Promise<Sandbox> {
    sandbox = await startSandbox({ dir: join(dir(), 'sandbox'), hasKubelets: false });
    return sandbox;
  }

  it('writes its files for the owner alone, and the contexts through kexer once kexer is there', async () => {
    const started = await start();
    const { files, apiserver } = started;
    const before = parse(readFileSync(files.kubeconfig, 'utf8')) as Kubeconfig;
    await started.registerKexer({ port: 4443 });
    const after = parse(readFileSync(files.kubeconfig, 'utf8')) as Kubeconfig;
    const path = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';
    expect({
      missing: Object.values(files).filter((file) => !existsSync(file)),
      readableByOthers: [files.adminKeyFile, files.kubeconfig, files.impersonatorTokenFile].filter(
        (file) => (statSync(file).mode & 0o077) !== 0,
      ),
      before: [before['current-context'], before.contexts.map(({ name }) => name)],
      after: [after['current-context'], after.contexts.map(({ name }) => name).toSorted()],
      servers: after.clusters.map(({ cluster }) => cluster.server),
    }).to.deep.equal({
      missing: [],
      readableByOthers: [],
      before: ['cluster', ['cluster', 'cluster-alice', 'cluster-viewer']],
      after: ['kexer', [...sandboxContexts].toSorted()],
      servers: [apiserver.url, `https://127.0.0.1:4443${path}`, `${apiserver.url}${path}`],
    });
  });

  it('is a cluster to kubectl', async () => {
    const { files } = await start();
    const kubectl = async (...words: string[]): Promise<string> =>
      (await run('kubectl', ['--kubeconfig', files.kubeconfig, ...words])).stdout.trim();
    expect([
      await kubectl('auth', 'can-i', 'create', 'pods', '--as', 'alice'),
      (await kubectl('get', 'apiservices', 'v1.apps', '--no-headers')).split(/ +/).slice(0, 3),
      await kubectl('get', 'ns', '-o', 'name'),
      (await kubectl('create', 'token', 'kexer', '-n', 'kexec-system')).split('.').length,
    ]).to.deep.equal([
      'yes',
      ['v1.apps', 'Local', 'True'],
      ['clusters', 'default', 'kexec-system', 'kube-node-lease', 'kube-public', 'kube-system']
        .map((name) => `namespace/${name}`)
        .join('\n'),
      3,
    ]);
  });

  it('removes a temporary folder when it stops', async () => {
    sandbox = await startSandbox({ hasKubelets: false });
    const folder = sandbox.dir;
    const existed = existsSync(folder);
    await sandbox.stop();
    expect([existed, existsSync(folder)]).to.deep.equal([true, false]);
  });

  it('gives each of the accounts of kexer its own rights and no more', async () => {
    const { store } = await start();
    const authorizer = new RbacAuthorizer({ store });
    const account = (name: string) =>
      makeUser({
        name: `system:serviceaccount:kexec-system:${name}`,
        groups: ['system:serviceaccounts', 'system:serviceaccounts:kexec-system', 'system:authenticated'],
      });
    const may = (
      user: ReturnType<typeof account>,
      verb: string,
      what: string,
      rest: Partial<DeniedAction> = {},
    ): boolean => {
      const [resource = '', subresource = ''] = what.split(/\/(.*)/);
      return authorizer.authorize(user, {
        isResourceRequest: true,
        path: '',
        verb,
        apiGroup: '',
        resource,
        subresource,
        namespace: '',
        name: 'x',
        ...rest,
      }).isAllowed;
    };
    const authentication = { apiGroup: 'authentication.k8s.io' };
    const authorization = { apiGroup: 'authorization.k8s.io' };
    const admission = { apiGroup: 'admissionregistration.k8s.io' };
    const [kexer, impersonator] = [account('kexer'), account('kexer-impersonator')];
    const kubelet = makeUser({ name: 'kexer-kubelet', groups: ['system:authenticated'] });
    const configMap = { namespace: 'kube-system', name: 'extension-apiserver-authentication' };
    expect({
      kexer: [
        may(kexer, 'create', 'tokenreviews', authentication),
        may(kexer, 'create', 'subjectaccessreviews', authorization),
        may(kexer, 'get', 'pods'),
        may(kexer, 'watch', 'nodes'),
        may(kexer, 'list', 'mutatingwebhookconfigurations', admission),
        may(kexer, 'get', 'configmaps', configMap),
      ],
      notKexer: [
        may(kexer, 'list', 'secrets'),
        may(kexer, 'create', 'pods/exec'),
        may(kexer, 'get', 'nodes/proxy'),
        may(kexer, 'impersonate', 'users'),
        may(kexer, 'get', 'configmaps', { ...configMap, name: 'other' }),
        may(kexer, 'get', 'pods/log'),
      ],
      impersonator: [
        may(impersonator, 'impersonate', 'users'),
        may(impersonator, 'impersonate', 'groups'),
        may(impersonator, 'impersonate', 'serviceaccounts'),
        may(impersonator, 'impersonate', 'uids', authentication),
        may(impersonator, 'impersonate', 'userextras/authentication.kubernetes.io/credential-id', authentication),
      ],
      notImpersonator: [
        may(impersonator, 'get', 'pods'),
        may(impersonator, 'create', 'subjectaccessreviews', authorization),
        may(impersonator, 'impersonate', 'userextras/other', authentication),
        may(impersonator, 'get', 'nodes/proxy'),
      ],
      kubelet: [may(kubelet, 'get', 'nodes/proxy'), may(kubelet, 'create', 'nodes/proxy')],
      notKubelet: [may(kubelet, 'delete', 'nodes/proxy'), may(kubelet, 'get', 'nodes'), may(kubelet, 'get', 'pods')],
    }).to.deep.equal({
      kexer: Array.from({ length: 6 }, () => true),
      notKexer: Array.from({ length: 6 }, () => false),
      impersonator: Array.from({ length: 5 }, () => true),
      notImpersonator: Array.from({ length: 4 }, () => false),
      kubelet: [true, true],
      notKubelet: [false, false, false],
    });
  });
});
