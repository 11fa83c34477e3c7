// What a fresh sandbox holds: namespaces, the bootstrap roles, the users' rights, and kexer's accounts with exactly the rights kexer
// needs. Written through the registry, as a cluster's own components would, so that defaults and managed fields are there.

import { frontProxyName, userAlice, userKexerKubelet, userViewer } from './credentials.ts';
import { type PolicyRule, rbacGroup } from './apiserver/identity/rbac.ts';
import type { GroupResource } from '../kube/status.ts';
import { groupAuthenticated } from '../kube/user.ts';
import { servedGroupVersions } from './apiserver/resources/catalog.ts';
import type { KubeObject } from './apiserver/store.ts';
import type { ClusterClient } from './controllers/cluster-client.ts';
import {
  bootstrapClusterRoleBindings,
  bootstrapClusterRoles,
  rule,
  type SeedBinding,
  type SeedRole,
} from './seed-roles.ts';

export const kexerNamespace = 'kexec-system';
/** Whose Secrets may name clusters. */
export const clustersNamespace = 'clusters';

/** Extra keys the impersonator may set: those real authenticators give, and kexer's own mark of who stood behind an impersonation. */
const impersonatedExtras = [
  'authentication.kubernetes.io/credential-id',
  'authentication.kubernetes.io/node-name',
  'authentication.kubernetes.io/node-uid',
  'authentication.kubernetes.io/pod-name',
  'authentication.kubernetes.io/pod-uid',
  'backup.cv.io/original-user',
];

const kexerRoles: readonly SeedRole[] = [
  {
    name: 'kexer',
    rules: [
      // `watch`: of single pods, to end a session whose pod is gone.
      rule('get watch', 'core', 'pods'),
      rule('get list watch', 'core', 'nodes'),
      rule(
        'get list watch',
        'admissionregistration.k8s.io',
        'mutatingwebhookconfigurations mutatingadmissionpolicies mutatingadmissionpolicybindings',
      ),
      rule('list watch patch', 'apiregistration.k8s.io', 'apiservices', ['v1.backup.cv.io']),
    ],
  },
  {
    name: 'kexer-impersonator',
    rules: [
      rule('impersonate', 'core', 'users groups serviceaccounts'),
      rule('impersonate', 'authentication.k8s.io', 'uids'),
      rule('impersonate', 'authentication.k8s.io', impersonatedExtras.map((key) => `userextras/${key}`).join(' ')),
    ],
  },
  { name: 'kexer-kubelet', rules: [rule('get create', 'core', 'nodes/proxy')] },
  {
    // The outer verb is the method of the call inside, so a user of kexer needs all of them; the inner call has its own check. Not `*`,
    // which would hold the verbs of constrained impersonation too.
    name: 'kexer-user',
    rules: [
      rule('get create update patch delete', 'backup.cv.io', 'clusters/exec'),
      rule('get list watch', 'backup.cv.io', 'clusters'),
    ],
  },
  { name: 'kexer-shared-cluster-user', rules: [rule('use', 'backup.cv.io', 'clusters')] },
  { name: 'kexer-session-viewer', rules: [rule('get list watch', 'backup.cv.io', 'sessions')] },
  { name: 'kexer-session-admin', rules: [rule('get list watch delete', 'backup.cv.io', 'sessions')] },
  // Everybody may find kexer: its address is no secret, nor is the authority by which it is verified.
  { name: 'kexer-lookup', rules: [rule('get', 'apiregistration.k8s.io', 'apiservices', ['v1.backup.cv.io'])] },
];

const kexerBindings: readonly SeedBinding[] = [
  { name: 'kexer', role: 'kexer', accounts: [`${kexerNamespace}/kexer`] },
  { name: 'kexer:system:auth-delegator', role: 'system:auth-delegator', accounts: [`${kexerNamespace}/kexer`] },
  { name: 'kexer-impersonator', role: 'kexer-impersonator', accounts: [`${kexerNamespace}/kexer-impersonator`] },
  {
    name: 'kexer-kubelet',
    role: 'kexer-kubelet',
    users: [userKexerKubelet],
    accounts: [`${kexerNamespace}/kexer-kubelet`],
  },
  { name: 'kexer-lookup', role: 'kexer-lookup', groups: [groupAuthenticated] },
];

/** A binding inside a namespace, to a ClusterRole unless said otherwise. */
interface NamespacedBinding extends SeedBinding {
  readonly namespace: string;
  readonly kind?: 'Role';
}

const userBindings: readonly NamespacedBinding[] = [
  { namespace: 'default', name: 'alice', role: 'cluster-admin', users: [userAlice] },
  { namespace: 'default', name: 'viewer', role: 'view', users: [userViewer] },
];

const kexerNamespacedBindings: readonly NamespacedBinding[] = [
  { namespace: 'default', name: 'kexer-user', role: 'kexer-user', users: [userAlice, userViewer] },
  { namespace: clustersNamespace, name: 'kexer-user', role: 'kexer-user', users: [userAlice, userViewer] },
  {
    namespace: clustersNamespace,
    name: 'kexer-shared-cluster-user',
    role: 'kexer-shared-cluster-user',
    users: [userAlice],
  },
  { namespace: 'default', name: 'kexer-session-viewer', role: 'kexer-session-viewer', users: [userViewer] },
  {
    namespace: 'kube-system',
    name: 'kexer:extension-apiserver-authentication-reader',
    role: 'extension-apiserver-authentication-reader',
    kind: 'Role',
    accounts: [`${kexerNamespace}/kexer`],
  },
  {
    namespace: kexerNamespace,
    name: 'kexer-lookup',
    role: 'kexer-lookup',
    kind: 'Role',
    groups: [groupAuthenticated],
  },
  {
    namespace: kexerNamespace,
    name: 'kexer-peers',
    role: 'kexer-peers',
    kind: 'Role',
    accounts: [`${kexerNamespace}/kexer`],
  },
  {
    namespace: clustersNamespace,
    name: 'kexer-clusters',
    role: 'kexer-clusters',
    kind: 'Role',
    accounts: [`${kexerNamespace}/kexer`],
  },
  {
    namespace: kexerNamespace,
    name: 'kexer-certificates',
    role: 'kexer-certificates',
    kind: 'Role',
    accounts: [`${kexerNamespace}/kexer`],
  },
  {
    namespace: kexerNamespace,
    name: 'kexer-kubelet-tokens',
    role: 'kexer-kubelet-tokens',
    kind: 'Role',
    accounts: [`${kexerNamespace}/kexer`],
  },
  {
    namespace: kexerNamespace,
    name: 'kexer-impersonator-tokens',
    role: 'kexer-impersonator-tokens',
    kind: 'Role',
    accounts: [`${kexerNamespace}/kexer`],
  },
];

/** Roles inside a namespace. */
const namespacedRoles: readonly (SeedRole & { namespace: string })[] = [
  { namespace: kexerNamespace, name: 'kexer-lookup', rules: [rule('get', 'core', 'services', ['kexer'])] },
  { namespace: kexerNamespace, name: 'kexer-peers', rules: [rule('list', 'discovery.k8s.io', 'endpointslices')] },
  { namespace: clustersNamespace, name: 'kexer-clusters', rules: [rule('get list watch', 'core', 'secrets')] },
  {
    namespace: kexerNamespace,
    name: 'kexer-certificates',
    rules: [
      rule('list watch patch', 'core', 'secrets', ['kexer-serving-cert']),
      rule('list watch', 'core', 'services', ['kexer']),
    ],
  },
  {
    namespace: kexerNamespace,
    name: 'kexer-kubelet-tokens',
    rules: [rule('create', 'core', 'serviceaccounts/token', ['kexer-kubelet'])],
  },
  {
    namespace: kexerNamespace,
    name: 'kexer-impersonator-tokens',
    rules: [rule('create', 'core', 'serviceaccounts/token', ['kexer-impersonator'])],
  },
];

export interface SeedOptions {
  readonly clientCaPem: string;
  readonly frontProxyCaPem: string;
  readonly apiserverPort: number;
  /** Whether kexer's namespace, accounts and rights are there too. */
  readonly hasKexer: boolean;
}

/** Everything but nodes, pods and what kexer registers itself with. */
export async function seedCluster(cluster: ClusterClient, options: SeedOptions): Promise<void> {
  const { hasKexer } = options;
  const own = ['default', 'kube-system', 'kube-public', 'kube-node-lease'];
  for (const name of hasKexer ? [...own, kexerNamespace, clustersNamespace] : own) {
    await cluster.create(
      { group: '', resource: 'namespaces' },
      {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name, labels: { 'kubernetes.io/metadata.name': name } },
        spec: { finalizers: ['kubernetes'] },
      },
    );
    await createAccount(cluster, name, 'default');
  }
  for (const role of bootstrapClusterRoles) await createClusterRole(cluster, role, true);
  for (const binding of bootstrapClusterRoleBindings) await createBinding(cluster, binding, { isBootstrap: true });
  await seedKubeSystem(cluster, options);
  for (const binding of userBindings) await createNamespacedBinding(cluster, binding);
  if (hasKexer) await seedKexerRights(cluster);
  await seedKubernetesService(cluster, options.apiserverPort);
  await seedLocalApiServices(cluster);
}

async function seedKexerRights(cluster: ClusterClient): Promise<void> {
  for (const role of kexerRoles) await createClusterRole(cluster, role, false);
  for (const binding of kexerBindings) await createBinding(cluster, binding, {});
  for (const { namespace, name, rules } of namespacedRoles) {
    await cluster.create(
      { group: rbacGroup, resource: 'roles' },
      { apiVersion: `${rbacGroup}/v1`, kind: 'Role', metadata: { name, namespace, labels: { app: 'kexer' } }, rules },
    );
  }
  for (const binding of kexerNamespacedBindings) await createNamespacedBinding(cluster, binding);
  for (const name of ['kexer', 'kexer-impersonator', 'kexer-kubelet'])
    await createAccount(cluster, kexerNamespace, name);
}

function createNamespacedBinding(
  cluster: ClusterClient,
  { namespace, kind, ...binding }: NamespacedBinding,
): Promise<void> {
  return createBinding(cluster, binding, { namespace, ...(kind === undefined ? {} : { kind }) });
}

/** Unless the controller of service accounts was quicker. */
async function createAccount(cluster: ClusterClient, namespace: string, name: string): Promise<void> {
  const resource = { group: '', resource: 'serviceaccounts' };
  if (cluster.store.get({ ...resource, namespace, name }) !== undefined) return;
  await cluster.create(resource, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace } });
}

/** One APIService for each group version served here; kubectl shows them as Local. */
async function seedLocalApiServices(cluster: ClusterClient): Promise<void> {
  const resource = { group: 'apiregistration.k8s.io', resource: 'apiservices' };
  for (const { group, version } of servedGroupVersions) {
    const name = `${version}.${group}`;
    await cluster.create(resource, {
      apiVersion: 'apiregistration.k8s.io/v1',
      kind: 'APIService',
      metadata: { name, labels: { 'kube-aggregator.kubernetes.io/automanaged': 'onstart' } },
      spec: {
        ...(group === '' ? {} : { group }),
        version,
        groupPriorityMinimum: group === '' ? 18000 : 17000,
        versionPriority: version === 'v1' ? 15 : 30,
      },
    });
    await cluster.updateStatus({ ...resource, namespace: '', name }, (draft) => {
      draft['status'] = {
        conditions: [
          {
            type: 'Available',
            status: 'True',
            lastTransitionTime: draft.metadata.creationTimestamp,
            reason: 'Local',
            message: 'Local APIServices are always available',
          },
        ],
      };
    });
  }
}

async function seedKubeSystem(cluster: ClusterClient, options: SeedOptions): Promise<void> {
  await cluster.create(
    { group: '', resource: 'configmaps' },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'extension-apiserver-authentication', namespace: 'kube-system' },
      data: {
        'client-ca-file': options.clientCaPem,
        'requestheader-allowed-names': JSON.stringify([frontProxyName]),
        'requestheader-client-ca-file': options.frontProxyCaPem,
        'requestheader-extra-headers-prefix': '["X-Remote-Extra-"]',
        'requestheader-group-headers': '["X-Remote-Group"]',
        'requestheader-uid-headers': '["X-Remote-Uid"]',
        'requestheader-username-headers': '["X-Remote-User"]',
      },
    },
  );
  await cluster.create(
    { group: rbacGroup, resource: 'roles' },
    {
      apiVersion: `${rbacGroup}/v1`,
      kind: 'Role',
      metadata: { ...bootstrapMetadata('extension-apiserver-authentication-reader'), namespace: 'kube-system' },
      rules: [rule('get list watch', 'core', 'configmaps', ['extension-apiserver-authentication'])],
    },
  );
}

/** The Service `kubernetes` and where it leads: the apiserver itself. */
async function seedKubernetesService(cluster: ClusterClient, port: number): Promise<void> {
  await cluster.create(
    { group: '', resource: 'services' },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: {
        name: 'kubernetes',
        namespace: 'default',
        labels: { component: 'apiserver', provider: 'kubernetes' },
      },
      spec: {
        ...clusterIp('10.96.0.1'),
        ports: [{ name: 'https', protocol: 'TCP', port: 443, targetPort: port }],
      },
    },
  );
  await createSlice(cluster, 'default', 'kubernetes', 'kubernetes', port);
}

/** Service, EndpointSlice and APIService of a kexer that listens on loopback; replaces those of an earlier one. */
export async function seedKexer(cluster: ClusterClient, options: { port: number; caPem: string }): Promise<void> {
  await put(
    cluster,
    { group: '', resource: 'services' },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'kexer', namespace: kexerNamespace, labels: { app: 'kexer' } },
      spec: {
        ...clusterIp('10.96.0.2'),
        ports: [{ name: 'https', protocol: 'TCP', port: 443, targetPort: options.port }],
      },
    },
  );
  await createSlice(cluster, kexerNamespace, 'kexer-1', 'kexer', options.port);
  await put(
    cluster,
    { group: 'apiregistration.k8s.io', resource: 'apiservices' },
    {
      apiVersion: 'apiregistration.k8s.io/v1',
      kind: 'APIService',
      metadata: { name: 'v1.backup.cv.io', labels: { app: 'kexer' } },
      spec: {
        service: { namespace: kexerNamespace, name: 'kexer', port: 443 },
        group: 'backup.cv.io',
        version: 'v1',
        caBundle: Buffer.from(options.caPem).toString('base64'),
        groupPriorityMinimum: 1000,
        versionPriority: 100,
      },
    },
  );
}

function clusterIp(address: string): Record<string, unknown> {
  return {
    clusterIP: address,
    clusterIPs: [address],
    internalTrafficPolicy: 'Cluster',
    ipFamilies: ['IPv4'],
    ipFamilyPolicy: 'SingleStack',
    sessionAffinity: 'None',
    type: 'ClusterIP',
  };
}

async function createSlice(
  cluster: ClusterClient,
  namespace: string,
  name: string,
  service: string,
  port: number,
): Promise<void> {
  await put(
    cluster,
    { group: 'discovery.k8s.io', resource: 'endpointslices' },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name, namespace, labels: { 'kubernetes.io/service-name': service } },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['127.0.0.1'], conditions: { ready: true } }],
      ports: [{ name: 'https', protocol: 'TCP', port }],
    },
  );
}

/** Creates, or gives what has the same name these fields. */
async function put(cluster: ClusterClient, resource: GroupResource, object: KubeObject): Promise<void> {
  const { namespace = '', name } = object.metadata;
  const key = { ...resource, namespace, name };
  if (cluster.store.get(key) === undefined) {
    await cluster.create(resource, object);
    return;
  }
  await cluster.update(key, (draft) => {
    for (const [field, value] of Object.entries(object)) if (field !== 'metadata') draft[field] = value;
  });
}

function bootstrapMetadata(name: string): KubeObject['metadata'] {
  return {
    name,
    annotations: { 'rbac.authorization.kubernetes.io/autoupdate': 'true' },
    labels: { 'kubernetes.io/bootstrapping': 'rbac-defaults' },
  };
}

async function createClusterRole(cluster: ClusterClient, role: SeedRole, isBootstrap: boolean): Promise<void> {
  const metadata = isBootstrap ? bootstrapMetadata(role.name) : { name: role.name, labels: { app: 'kexer' } };
  const { aggregates } = role;
  const rules: readonly PolicyRule[] = role.rules;
  await cluster.create(
    { group: rbacGroup, resource: 'clusterroles' },
    {
      ...(aggregates === undefined
        ? {}
        : { aggregationRule: { clusterRoleSelectors: [{ matchLabels: { [aggregates]: 'true' } }] } }),
      apiVersion: `${rbacGroup}/v1`,
      kind: 'ClusterRole',
      metadata: { ...metadata, labels: { ...metadata.labels, ...role.labels } },
      rules,
    },
  );
}

async function createBinding(
  cluster: ClusterClient,
  binding: SeedBinding,
  options: { namespace?: string; kind?: 'Role'; isBootstrap?: boolean },
): Promise<void> {
  const { namespace, kind = 'ClusterRole', isBootstrap = false } = options;
  const named = (kind: string, name: string): object => ({ apiGroup: rbacGroup, kind, name });
  const metadata = isBootstrap ? bootstrapMetadata(binding.name) : { name: binding.name };
  await cluster.create(
    { group: rbacGroup, resource: namespace === undefined ? 'clusterrolebindings' : 'rolebindings' },
    {
      apiVersion: `${rbacGroup}/v1`,
      kind: namespace === undefined ? 'ClusterRoleBinding' : 'RoleBinding',
      metadata: { ...metadata, ...(namespace === undefined ? {} : { namespace }) },
      roleRef: named(kind, binding.role),
      subjects: [
        ...(binding.users ?? []).map((name) => named('User', name)),
        ...(binding.groups ?? []).map((name) => named('Group', name)),
        ...(binding.accounts ?? []).map((account) => {
          const [accountNamespace = '', name = ''] = account.split('/');
          return { kind: 'ServiceAccount', name, namespace: accountNamespace };
        }),
      ],
    },
  );
}
