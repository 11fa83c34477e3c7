// Every right of docs/rbac.md, taken away alone: a kexer that starts without it must fail in the way the table's last column says, by name.
// And with exactly these rights, everything works: the sandbox's accounts have them and no others (rbac.test.ts).

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';
import { parse, stringify } from 'yaml';

import { systemClock } from '../../src/base/clock.ts';
import { describeError } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import { composeServer } from '../../src/cli/compose.ts';
import { runKubeconfig } from '../../src/cli/kubeconfig.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createLogger } from '../../src/observe/logger.ts';
import type { PolicyRule } from '../../src/sandbox/apiserver/identity/rbac.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { HttpClient } from './support/http-client.ts';
import { Kexer, pods } from './support/observed-kexer.ts';
import { describe as describeRight, everybody, readTable, type TableRight, userRoles } from './support/rbac-table.ts';

const sessions = '/apis/backup.cv.io/v1/namespaces/default/sessions';
const rbac = 'rbac.authorization.k8s.io';

/** The cluster of the sandbox once more, as its Secret's account. */
const sharedCluster = '/apis/backup.cv.io/v1/namespaces/clusters/clusters/again/exec/version';

const kubeletTokens = 'create serviceaccounts/token named kexer-kubelet in kexec-system';

describe('a kexer without one of its rights', function () {
  this.timeout(60_000);
  let sandbox: Sandbox;
  let scope: Scope;
  let ca: string;
  let frontProxy: { cert: string; key: string };
  let admin: { cert: string; key: string };
  let table: TableRight[];

  before(async () => {
    scope = new Scope();
    table = await readTable();
    sandbox = await startSandbox();
    scope.add(() => sandbox.stop());
    await sandbox.ready();
    const { files } = sandbox;
    ca = await readFile(files.servingCaFile, 'utf8');
    const pair = async (cert: string, key: string): Promise<{ cert: string; key: string }> => ({
      cert: await readFile(cert, 'utf8'),
      key: await readFile(key, 'utf8'),
    });
    frontProxy = await pair(files.frontProxyCertFile, files.frontProxyKeyFile);
    admin = await pair(files.adminCertFile, files.adminKeyFile);
    // So that only kexer's rights decide: the account of the aggregation layer may do everything.
    const cluster = new HttpClient({ port: sandbox.apiserver.port, ca, basePath: '' }, { certificate: admin });
    scope.add(() => cluster.close());
    const binding = {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name: 'builder' },
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ kind: 'ServiceAccount', name: 'builder', namespace: 'default' }],
    };
    const { status } = await cluster.ask({
      method: 'POST',
      path: `/apis/${rbac}/v1/clusterrolebindings`,
      headers: [['Content-Type', 'application/json']],
      body: JSON.stringify(binding),
    });
    expect(status).to.equal(201);
  });

  after(() => scope.close());

  /** Takes the verbs from the resource in the role that gives them; gives what puts them back. */
  function without(row: TableRight, verbs: readonly string[]): () => void {
    const key = {
      group: rbac,
      resource: row.namespace === '' ? 'clusterroles' : 'roles',
      namespace: row.namespace,
      name: row.through === '' ? roleOf(sandbox, row) : row.through,
    };
    const rules = sandbox.store.mustGet(key)['rules'] as readonly PolicyRule[];
    const put = (given: readonly PolicyRule[]): void => {
      sandbox.store.mutate(key, (draft) => {
        draft['rules'] = given;
      });
    };
    put(rules.flatMap((rule) => reduced(rule, row, verbs)));
    return () => put(rules);
  }

  /** Starts a kexer, does something with it, and gives everything that was to be seen. */
  async function observe(
    act: (kexer: Kexer) => Promise<unknown>,
    configFile = sandbox.files.kexerConfig,
  ): Promise<string> {
    const own = new Scope();
    const kexer = new Kexer({ ca, frontProxy, admin, token: sandbox.tokens.alice, viewerToken: sandbox.tokens.viewer });
    try {
      const config = await loadConfig({
        argv: ['--config', configFile, '--secure-port', '0', '--log-level', 'info'],
        environment: {},
      });
      const log = createLogger({ level: config.log.level, destination: kexer.logLines });
      const deps = { clock: systemClock, log, scope: own, environment: process.env, version: '0.0.0-test' };
      const { port, detours, whenReady } = await composeServer(deps, config);
      Object.assign(kexer, { port, whenReady });
      await act(kexer);
      for (const { kind, reason, count } of detours.counts()) kexer.see(`detour ${kind} ${reason} ${count}`);
      return kexer.seen();
    } finally {
      kexer.close();
      await own.close();
    }
  }

  /** The sandbox's own has a client certificate towards kubelets. */
  async function configWithKubeletToken(): Promise<string> {
    const config = parse(await readFile(sandbox.files.kexerConfig, 'utf8')) as { kubelet: Record<string, unknown> };
    const { certificateAuthority } = config.kubelet;
    const file = join(sandbox.dir, 'kexer-kubelet-token.yaml');
    const kubelet = { certificateAuthority, serviceAccount: 'kexec-system/kexer-kubelet' };
    await writeFile(file, stringify({ ...config, kubelet }));
    return file;
  }

  /** For each right, what a user does who needs it. */
  const acts: Readonly<Record<string, (kexer: Kexer) => Promise<unknown>>> = {
    'create tokenreviews.authentication.k8s.io': (kexer) => kexer.ready().then(() => kexer.get('token', pods)),
    'create subjectaccessreviews.authorization.k8s.io': (kexer) => kexer.ready().then(() => kexer.get('token', pods)),
    'get,list,watch configmaps named extension-apiserver-authentication in kube-system': (kexer) =>
      kexer.untilLogged('extension-apiserver-authentication'),
    'get pods': (kexer) => kexer.ready().then(() => kexer.exec('token')),
    'watch pods': (kexer) => kexer.ready().then(() => kexer.longExec('cannot watch')),
    'get,list,watch nodes': (kexer) => kexer.untilLogged('"informer":"nodes"'),
    'create nodes/proxy': (kexer) => kexer.ready().then(() => kexer.exec('token')),
    'create serviceaccounts/token named kexer-impersonator in kexec-system': (kexer) =>
      kexer.ready().then(() => kexer.get('certificate', pods)),
    [kubeletTokens]: (kexer) => kexer.ready().then(() => kexer.exec('token')),
    'get nodes/proxy': (kexer) => kexer.ready().then(() => kexer.get('token', `${pods}/ticker/log?tailLines=1`)),
    'impersonate users': (kexer) => kexer.ready().then(() => kexer.get('certificate', pods)),
    'impersonate groups': (kexer) => kexer.ready().then(() => kexer.get('certificate', pods)),
    'impersonate userextras/authentication.kubernetes.io/credential-id.authentication.k8s.io': (kexer) =>
      kexer.ready().then(() => kexer.get('certificate', pods)),
    'impersonate userextras/backup.cv.io/original-user.authentication.k8s.io': (kexer) =>
      kexer.ready().then(() => kexer.get('certificate', pods, [['Impersonate-User', 'alice']])),
    'get,create,update,patch,delete clusters/exec.backup.cv.io': (kexer) =>
      kexer.ready().then(() => kexer.get('viewer', pods)),
    'get,list,watch clusters.backup.cv.io': (kexer) =>
      kexer.ready().then(() => kexer.ask('viewer', '/apis/backup.cv.io/v1/namespaces/default/clusters')),
    'get,list,watch secrets in clusters': (kexer) => kexer.untilLogged('cannot list resource \\"secrets'),
    'use clusters.backup.cv.io': async (kexer) => {
      await kexer.ready();
      // Until its Secret has been read.
      while ((await kexer.ask('token', sharedCluster)) === 503);
    },
    'get,list,watch sessions.backup.cv.io': (kexer) => kexer.ready().then(() => kexer.ask('viewer', sessions)),
    'get,list,watch,delete sessions.backup.cv.io': (kexer) =>
      kexer.ready().then(() => kexer.ask('viewer', `${sessions}/nope`, 'DELETE')),
    'list,watch secrets named kexer-serving-cert in kexec-system': (kexer) =>
      kexer.untilLogged('a right is missing').then(() => kexer.untilLogged('cannot list resource \\"secrets')),
    'patch secrets named kexer-serving-cert in kexec-system': (kexer) =>
      kexer.untilLogged('cannot write the serving certificate'),
    'list,watch services named kexer in kexec-system': (kexer) => kexer.untilLogged('cannot list resource \\"services'),
    'list,watch apiservices.apiregistration.k8s.io named v1.backup.cv.io': (kexer) =>
      kexer.ready().then(() => kexer.untilLogged('cannot list resource \\"apiservices')),
    'patch apiservices.apiregistration.k8s.io named v1.backup.cv.io': (kexer) =>
      kexer.ready().then(() => kexer.untilLogged('cannot write the caBundle')),
    'get services named kexer in kexec-system': (kexer) => lookUp(kexer),
    'get apiservices.apiregistration.k8s.io named v1.backup.cv.io': (kexer) =>
      lookUp(kexer, '--server', 'https://127.0.0.1:1'),
    'list endpointslices.discovery.k8s.io in kexec-system': (kexer) =>
      kexer.ready().then(() => kexer.ask('token', sessions)),
  };

  /** `kexer kubeconfig` as an ordinary user. */
  async function lookUp(kexer: Kexer, ...words: readonly string[]): Promise<void> {
    await sandbox.registerKexer({ port: 1 });
    const environment = { KUBECONFIG: sandbox.files.kubeconfig, HOME: sandbox.dir };
    const io = {
      environment,
      print: () => {},
      complain: (line: string) => kexer.see(line),
      onStopSignal: () => () => {},
    };
    await runKubeconfig(['--context', 'cluster-viewer', ...words], io).catch((error: unknown) =>
      kexer.see(describeError(error)),
    );
  }

  /** One of several: its EndpointSlices lead to nobody yet. */
  async function configWithPeers(): Promise<string> {
    const config = parse(await readFile(sandbox.files.kexerConfig, 'utf8')) as Record<string, unknown>;
    const tokenFile = join(sandbox.dir, 'kexer-peer.token');
    await writeFile(tokenFile, sandbox.serviceAccountToken('kexec-system', 'kexer', { audiences: ['kexer-peer'] }));
    const peers = { service: 'kexec-system/kexer', tokenFile, caFile: sandbox.files.servingCaFile };
    const file = join(sandbox.dir, 'kexer-peers.yaml');
    await writeFile(file, stringify({ ...config, peers }));
    return file;
  }

  /** In which kexer keeps its certificate in a Secret, empty at first, and tells the APIService. */
  async function configWithCertificates(): Promise<string> {
    const { store } = sandbox;
    const secret = { group: '', resource: 'secrets', namespace: 'kexec-system', name: 'kexer-serving-cert' };
    if (store.get(secret) !== undefined) store.delete(secret);
    const { namespace, name } = secret;
    store.create(secret, { apiVersion: 'v1', kind: 'Secret', type: 'Opaque', metadata: { namespace, name } });
    await sandbox.registerKexer({ port: 1 });
    store.mutate(
      { group: 'apiregistration.k8s.io', resource: 'apiservices', namespace: '', name: 'v1.backup.cv.io' },
      (draft) => {
        const { caBundle: _, ...spec } = draft['spec'] as Record<string, unknown>;
        draft['spec'] = spec;
      },
    );
    const config = parse(await readFile(sandbox.files.kexerConfig, 'utf8')) as { server: Record<string, unknown> };
    const { tlsCertFile: _cert, tlsPrivateKeyFile: _key, ...server } = config.server;
    const file = join(sandbox.dir, 'kexer-certificates.yaml');
    await writeFile(file, stringify({ ...config, server, certificates: { servingSecret: `${namespace}/${name}` } }));
    return file;
  }

  /** With a Secret that names a cluster: this one. */
  async function configWithClusters(): Promise<string> {
    const key = { group: '', resource: 'secrets', namespace: 'clusters', name: 'again' };
    if (sandbox.store.get(key) === undefined) {
      const data = {
        endpointUrl: sandbox.apiserver.url,
        caData: ca,
        token: sandbox.serviceAccountToken('default', 'default'),
        identity: 'shared',
      };
      sandbox.store.create(key, {
        apiVersion: 'v1',
        kind: 'Secret',
        type: 'backup.cv.io/cluster',
        metadata: { name: 'again', namespace: 'clusters' },
        data: Object.fromEntries(
          Object.entries(data).map(([name, text]) => [name, Buffer.from(text).toString('base64')]),
        ),
      });
    }
    const config = parse(await readFile(sandbox.files.kexerConfig, 'utf8')) as Record<string, unknown>;
    const file = join(sandbox.dir, 'kexer-clusters.yaml');
    const clusters = { namespaces: ['clusters'], allowedEndpoints: ['127.0.0.1'] };
    await writeFile(file, stringify({ ...config, clusters }));
    return file;
  }

  /** The config in which a right matters, if it is another than the sandbox's. */
  async function configOf(row: TableRight): Promise<string | undefined> {
    if (rightText(row, row.verbs) === kubeletTokens) return configWithKubeletToken();
    if (row.file === 'certificates.yaml' || row.file === 'api-service.yaml') return configWithCertificates();
    if (row.resource === 'secrets' || row.verbs.includes('use')) return configWithClusters();
    return row.resource === 'endpointslices' ? configWithPeers() : undefined;
  }

  function actOf(row: TableRight): (kexer: Kexer) => Promise<unknown> {
    const found = acts[rightText(row, row.verbs)];
    if (found !== undefined) return found;
    if (row.group === 'admissionregistration.k8s.io') return (kexer) => kexer.ready().then(() => kexer.exec('token'));
    // What only an account behind the aggregation layer has.
    return (kexer) => kexer.ready().then(() => kexer.get('frontProxy', pods));
  }

  it('works with all of them, for every kind of caller and call', async () => {
    const seen = await observe(async (kexer) => {
      await kexer.ready();
      for (const who of ['token', 'certificate', 'frontProxy'] as const) {
        await kexer.get(who, pods);
        await kexer.get(who, `${pods}/ticker/log?tailLines=1`);
        await kexer.exec(who);
      }
      await kexer.get('certificate', pods, [['Impersonate-User', 'alice']]);
      await kexer.ask('token', '/apis/backup.cv.io/v1/namespaces/default/clusters');
    });
    const answers = seen.split('\n').filter((line) => line.startsWith('answer '));
    expect(answers.map((line) => line.split(' ')[1]).join(' ')).to.equal('200 200 101 200 200 101 200 200 101 200 200');
    expect(seen).to.not.contain('"level":"error"').and.not.contain('"level":"warn"').and.not.contain('detour');
  });

  it('works with tokens towards kubelets that it asks for', async () => {
    const seen = await observe(
      async (kexer) => {
        await kexer.ready();
        await kexer.exec('token');
        await kexer.get('certificate', `${pods}/ticker/log?tailLines=1`);
      },
      await configWithKubeletToken(),
    );
    const answers = seen.split('\n').filter((line) => line.startsWith('answer '));
    expect(answers.map((line) => line.split(' ')[1])).to.deep.equal(['101', '200']);
    expect(seen).to.not.contain('"level":"error"').and.not.contain('"level":"warn"').and.not.contain('detour');
  });

  it('fails by name without any one of them', async () => {
    const missed: string[] = [];
    for (const row of table) {
      const restore = without(row, row.verbs);
      try {
        const seen = await observe(actOf(row), await configOf(row));
        // Texts stand in the log and in answers as JSON strings.
        const text = seen.replaceAll('\\"', '"');
        if (!row.without.every((part) => text.includes(part))) missed.push(`${rightText(row, row.verbs)}: ${seen}`);
      } finally {
        restore();
      }
    }
    expect(missed).to.deep.equal([]);
  });

  it('says which verb is missing where an informer needs two', async () => {
    const missed: string[] = [];
    const informers = table.filter(
      ({ account, verbs }) => !userRoles.has(account) && verbs.includes('watch') && verbs.includes('list'),
    );
    for (const row of informers) {
      for (const verb of ['list', 'watch']) {
        const restore = without(row, [verb]);
        try {
          const act = (kexer: Kexer): Promise<void> => kexer.untilLogged(`cannot ${verb} resource \\"${row.resource}`);
          const seen = await observe(act, await configOf(row));
          if (!seen.includes('informer failed')) missed.push(rightText(row, [verb]));
        } finally {
          restore();
        }
      }
    }
    expect(missed).to.deep.equal([]);
  });
});

function rightText(row: TableRight, verbs: readonly string[]): string {
  return describeRight({ ...row, verb: verbs.join(',') });
}

/** Roles inside a namespace are named for what they are for. */
function roleOf(sandbox: Sandbox, row: TableRight): string {
  const forUsers = userRoles.get(row.account);
  if (forUsers !== undefined) return forUsers;
  if (row.account === everybody) return 'kexer-lookup';
  if (row.namespace === '') return row.account;
  const found = sandbox.store
    .list({ group: rbac, resource: 'roles' }, row.namespace)
    .find((role) => (role['rules'] as readonly PolicyRule[]).some((rule) => concerns(rule, row)));
  return found?.metadata.name ?? 'no role';
}

function concerns(rule: PolicyRule, row: TableRight): boolean {
  const isNamed = row.name === '' || rule.resourceNames?.includes(row.name) === true;
  return isNamed && rule.resources?.includes(row.resource) === true && rule.apiGroups?.includes(row.group) === true;
}

/** What is left of a rule without the verbs on the resource. */
function reduced(rule: PolicyRule, row: TableRight, verbs: readonly string[]): PolicyRule[] {
  if (!concerns(rule, row)) return [rule];
  const others = (rule.resources ?? []).filter((resource) => resource !== row.resource);
  const left = rule.verbs?.filter((verb) => !verbs.includes(verb)) ?? [];
  return [
    ...(others.length === 0 ? [] : [{ ...rule, resources: others }]),
    ...(left.length === 0 ? [] : [{ ...rule, resources: [row.resource], verbs: left }]),
  ];
}
