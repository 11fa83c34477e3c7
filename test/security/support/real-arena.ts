// The identity matrix on a real cluster: that of the current context of the kubeconfig in KEXER_TEST_KUBECONFIG, whose user must be allowed to
// create namespaces, roles and bindings. Everything is set up through its API (config/rbac under names of its own, the matrix's namespaces,
// tokens by TokenRequest) and deleted again. What an API cannot give comes from variables, and is left out without them:
//
//   KEXER_TEST_CLIENT_CA     FILE.crt,FILE.key of the cluster's client CA (kind, kubeadm: /etc/kubernetes/pki/ca.crt,ca.key): rows by certificate
//   KEXER_TEST_KUBELET_CA    FILE of the CA that signed the kubelets' serving certificates; default: the CA of the kubeconfig
//   KEXER_TEST_ADDRESS       this machine's address as the cluster's apiserver reaches it: the aggregated path and the webhook that denies.
//                            No kexer may be installed
//   KEXER_TEST_AUDIT_LOG     FILE of kube-apiserver's audit log at level Metadata, as it grows: who it names
//
// Left out always: expired tokens and the front proxy's own certificate. Pods use the image `busybox`.

import { readdir, readFile, writeFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments, stringify } from 'yaml';

import { systemClock } from '../../../src/base/clock.ts';
import { Scope } from '../../../src/base/scope.ts';
import { generateAuthority, generateClient, generateServing } from '../../../src/certs/generate.ts';
import type { ClusterAccess } from '../../../src/kube/credential.ts';
import { loadKubeconfig } from '../../../src/kube/kubeconfig.ts';
import { type Arena, AuditLog, type CertificateUser, clusterPath, createObjects, remembered } from './arena.ts';
import { type Credential, HttpClient, type Server } from './http-client.ts';
import { KexerProcess } from './kexer-process.ts';
import { home, other } from './matrix-operations.ts';

const rbacFolder = fileURLToPath(new URL('../../../config/rbac', import.meta.url));
const system = 'kexer-matrix-system';
/** Before the names of what has no namespace, so that an installed kexer is neither used nor deleted. */
const prefix = 'kexer-matrix:';
const rbacPath = '/apis/rbac.authorization.k8s.io/v1';
const apiServices = '/apis/apiregistration.k8s.io/v1/apiservices';

export async function realArena(kubeconfig: string): Promise<Arena> {
  const scope = new Scope();
  try {
    return await start(scope, kubeconfig);
  } catch (error) {
    await scope.close();
    throw error;
  }
}

async function start(scope: Scope, kubeconfig: string): Promise<Arena> {
  const access = await loadKubeconfig({ clock: systemClock }, { file: kubeconfig, environment: process.env });
  const url = new URL(access.endpoint.url);
  const ca = access.endpoint.ca ?? '';
  const cluster: Server = { host: url.hostname, port: Number(url.port || 443), ca, basePath: '' };
  const admin = await credentialOf(access);
  const dir = await mkdtemp(join(tmpdir(), 'kexer-matrix-'));
  scope.add(() => rm(dir, { recursive: true, force: true }));
  scope.add(() => cleanUp({ cluster, admin }));
  await createObjects({ cluster, admin }, [
    ['/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: system } }],
    ...(await rbacObjects()),
  ]);

  const account = (namespace: string, name: string, audience?: string): Promise<string> =>
    requestToken({ cluster, admin }, { namespace, name, audience });
  const write = async (name: string, text: string): Promise<string> => {
    const file = join(dir, name);
    await writeFile(file, text, { mode: 0o600 });
    return file;
  };
  const address = process.env['KEXER_TEST_ADDRESS'];
  const authority = await generateAuthority({ commonName: 'kexer-matrix' });
  const pair = await generateServing(authority, {
    commonName: 'kexer',
    dnsNames: ['localhost', `kexer.${system}.svc`],
    ipAddresses: ['127.0.0.1'],
  });
  const config = {
    kubeconfig: await write('kexer.kubeconfig', kubeconfigOf(access, await account(system, 'kexer'))),
    server: {
      bindAddress: address === undefined ? '127.0.0.1' : '0.0.0.0',
      tlsCertFile: await write('kexer.crt', pair.cert),
      tlsPrivateKeyFile: await write('kexer.key', pair.key),
    },
    kubelet: {
      certificateAuthority: process.env['KEXER_TEST_KUBELET_CA'] ?? (await write('kubelet-ca.crt', ca)),
      serviceAccount: `${system}/kexer-kubelet`,
    },
    identity: {
      impersonation: true,
      allowPrivileged: true,
      impersonator: { serviceAccount: `${system}/kexer-impersonator` },
    },
  };
  const kexer = await KexerProcess.start(await write('kexer.yaml', stringify(config)));
  scope.add(() => kexer.stop());
  const direct: Server = { port: kexer.port, ca: authority.cert, basePath: clusterPath };
  if (address !== undefined) {
    await register({ cluster, admin }, { address, port: kexer.port, ca: authority.cert });
    scope.add(() => deletePaths({ cluster, admin }, [`${apiServices}/v1.backup.cv.io`]));
  }
  const aggregated = address === undefined ? undefined : { ...cluster, basePath: clusterPath };
  await whenReady([direct, ...(aggregated === undefined ? [] : [aggregated])], admin);
  const auditLog = process.env['KEXER_TEST_AUDIT_LOG'];
  const clientCa = process.env['KEXER_TEST_CLIENT_CA']?.split(',');
  return {
    cluster,
    direct,
    aggregated,
    admin,
    kexer,
    impersonator: { kind: 'ServiceAccount', name: 'kexer-impersonator', namespace: system },
    impersonatorName: `system:serviceaccount:${system}:kexer-impersonator`,
    frontProxy: undefined,
    audit: auditLog === undefined ? undefined : new AuditLog(auditLog),
    reachableAt: address,
    certificate: remembered(async ({ name, groups = [], uid, isExpired }: CertificateUser) => {
      const [certFile, keyFile] = clientCa ?? [];
      if (certFile === undefined || keyFile === undefined) return undefined;
      const issuer = { cert: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8') };
      return generateClient(issuer, {
        commonName: name,
        organizations: groups,
        ...(uid === undefined ? {} : { uids: [uid] }),
        ...(isExpired === true ? { notAfter: new Date(Date.now() - 60_000) } : {}),
      });
    }),
    token: (name, { isExpired, audience } = {}) =>
      isExpired === true ? Promise.resolve(undefined) : account(home, name, audience),
    stop: () => scope.close(),
  };
}

async function credentialOf({ credential }: ClusterAccess): Promise<Credential> {
  if (credential.kind === 'token') return { token: await credential.token.read() };
  if (credential.kind === 'certificate') {
    const { cert, key } = await credential.certificate.read();
    return { certificate: { cert, key } };
  }
  throw new Error('KEXER_TEST_KUBECONFIG must name a user with a token or a client certificate');
}

interface RbacObject {
  readonly kind?: string;
  readonly metadata?: { readonly name: string; readonly namespace?: string };
  readonly roleRef?: { readonly name: string };
}

/** The objects of config/rbac with names and a namespace of the matrix's own, each with the collection it is created in. */
async function rbacObjects(): Promise<(readonly [string, object])[]> {
  // Not those of clusters by Secret: the matrix has none, and no cluster but the sandbox is born with their namespace.
  const files = (await readdir(rbacFolder, { recursive: true })).filter(
    (file) => file.endsWith('.yaml') && !/kustomization\.yaml$|-constrained|^clusters/.test(file),
  );
  const objects: (readonly [string, object])[] = [];
  for (const file of files) {
    const text = (await readFile(join(rbacFolder, file), 'utf8')).replaceAll('kexec-system', system);
    for (const document of parseAllDocuments(text)) {
      const { kind = '', metadata, ...rest } = (document.toJS() ?? {}) as RbacObject;
      if (kind === '' || metadata === undefined) continue;
      const { namespace } = metadata;
      const isAccount = kind === 'ServiceAccount';
      const place = namespace === undefined ? '' : `/namespaces/${namespace}`;
      const { roleRef } = rest;
      objects.push([
        `${isAccount ? '/api/v1' : rbacPath}${place}/${kind.toLowerCase()}s`,
        {
          ...rest,
          kind,
          metadata: { ...metadata, name: isAccount ? metadata.name : `${prefix}${metadata.name}` },
          ...(roleRef === undefined
            ? {}
            : {
                roleRef: {
                  ...roleRef,
                  name: roleRef.name.startsWith('kexer') ? `${prefix}${roleRef.name}` : roleRef.name,
                },
              }),
        },
      ]);
    }
  }
  return objects;
}

type Admin = Pick<Arena, 'cluster' | 'admin'>;

async function requestToken(
  { cluster, admin }: Admin,
  { namespace, name, audience }: { namespace: string; name: string; audience: string | undefined },
): Promise<string> {
  const client = new HttpClient(cluster, admin);
  try {
    const spec = { expirationSeconds: 3600, ...(audience === undefined ? {} : { audiences: [audience] }) };
    const answer = await client.ask({
      method: 'POST',
      path: `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`,
      headers: [['Content-Type', 'application/json']],
      body: JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec }),
    });
    if (answer.status !== 201) throw new Error(`Cannot get a token of ${name}: ${answer.body.toString()}`);
    return (JSON.parse(answer.body.toString()) as { status: { token: string } }).status.token;
  } finally {
    client.close();
  }
}

function kubeconfigOf({ endpoint }: ClusterAccess, token: string): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'cluster',
    clusters: [
      {
        name: 'cluster',
        cluster: {
          server: endpoint.url,
          'certificate-authority-data': Buffer.from(endpoint.ca ?? '').toString('base64'),
        },
      },
    ],
    contexts: [{ name: 'cluster', context: { cluster: 'cluster', user: 'kexer' } }],
    users: [{ name: 'kexer', user: { token } }],
  });
}

/** Service without a selector, its EndpointSlice at this machine, and the APIService. */
async function register(admin: Admin, kexer: { address: string; port: number; ca: string }): Promise<void> {
  const labels = { 'kubernetes.io/service-name': 'kexer' };
  const client = new HttpClient(admin.cluster, admin.admin);
  const { status } = await client.ask({ method: 'GET', path: `${apiServices}/v1.backup.cv.io` });
  client.close();
  if (status !== 404) throw new Error('Cannot register kexer: this cluster has an APIService v1.backup.cv.io already');
  await createObjects(admin, [
    [
      `/api/v1/namespaces/${system}/services`,
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'kexer' },
        spec: { ports: [{ name: 'https', port: 443, targetPort: kexer.port }] },
      },
    ],
    [
      `/apis/discovery.k8s.io/v1/namespaces/${system}/endpointslices`,
      {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { name: 'kexer-matrix', labels },
        addressType: 'IPv4',
        endpoints: [{ addresses: [kexer.address], conditions: { ready: true } }],
        ports: [{ name: 'https', protocol: 'TCP', port: kexer.port }],
      },
    ],
    [
      apiServices,
      {
        apiVersion: 'apiregistration.k8s.io/v1',
        kind: 'APIService',
        metadata: { name: 'v1.backup.cv.io' },
        spec: {
          service: { namespace: system, name: 'kexer', port: 443 },
          group: 'backup.cv.io',
          version: 'v1',
          caBundle: Buffer.from(kexer.ca).toString('base64'),
          groupPriorityMinimum: 1000,
          versionPriority: 100,
        },
      },
    ],
  ]);
}

/** Until kexer has heard of its cluster and, where it is registered, the cluster of it. */
async function whenReady(servers: readonly Server[], admin: Credential): Promise<void> {
  for (const server of servers) {
    const client = new HttpClient(server, admin);
    try {
      while ((await client.ask({ method: 'GET', path: '/api/v1/nodes' })).status !== 200);
    } finally {
      client.close();
    }
  }
}

async function cleanUp(admin: Admin): Promise<void> {
  const names = ['user', 'getter', 'creator', 'deputy', 'half-deputy', 'extras'].map((name) => `kexer-matrix-${name}`);
  const created = (await rbacObjects()).map(
    ([collection, object]) => `${collection}/${(object as { metadata: { name: string } }).metadata.name}`,
  );
  await deletePaths(admin, [
    ...[home, other, system].map((name) => `/api/v1/namespaces/${name}`),
    ...names.map((name) => `${rbacPath}/clusterrolebindings/${name}`),
    ...names.map((name) => `${rbacPath}/clusterroles/${name}`),
    ...created.filter((path) => !path.includes('/serviceaccounts/')),
  ]);
  // A run that follows would find its namespaces ending.
  const client = new HttpClient(admin.cluster, admin.admin);
  try {
    for (const name of [home, other, system]) {
      while ((await client.ask({ method: 'GET', path: `/api/v1/namespaces/${name}` })).status !== 404) {
        await new Promise((resolve) => {
          setTimeout(resolve, 200);
        });
      }
    }
  } finally {
    client.close();
  }
}

async function deletePaths({ cluster, admin }: Admin, paths: readonly string[]): Promise<void> {
  const client = new HttpClient(cluster, admin);
  try {
    for (const path of paths) await client.ask({ method: 'DELETE', path });
  } finally {
    client.close();
  }
}
