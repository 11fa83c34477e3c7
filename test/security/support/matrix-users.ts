// Who asks in the identity matrix, and the rights that make their answers differ. Rights are chosen so that a confusion shows: whoever is
// in a group `ops,admins` may only look, while `ops` may edit and `admins` may do everything.

import { X509Certificate } from 'node:crypto';

import { type Arena, createObjects, foreignCertificate } from './arena.ts';
import type { Credential } from './http-client.ts';
import { home, other } from './matrix-operations.ts';
import type { RawHeader } from '../../../src/protocol/raw-headers.ts';

export interface MatrixUser {
  readonly name: string;
  /** Undefined: this arena cannot make them. */
  readonly make: (arena: Arena) => Promise<Credential | undefined>;
  /** Only these operations, or all; users with `--as` have the core. */
  readonly isCoreOnly?: boolean;
  /** Whom the certificate of one who says `--as` names. */
  readonly original?: string;
  /** How kexer's own port is asked, if not by the same credential. Then there is no aggregated path. */
  readonly makeDirect?: (arena: Arena, credential: Credential) => Credential | undefined;
}

/** `--as`, `--as-group`, `--as-uid`, `--as-user-extra` as client-go writes them; values are UTF-8 on the wire. */
interface As {
  readonly user?: string;
  readonly groups?: readonly string[];
  readonly uid?: string;
  /** Keys as they stand in the header name. */
  readonly extra?: readonly (readonly [key: string, value: string])[];
}

function asHeaders({ user, groups = [], uid, extra = [] }: As): RawHeader[] {
  const wire = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
  return [
    ...(user === undefined ? [] : [['Impersonate-User', wire(user)] as const]),
    ...(uid === undefined ? [] : [['Impersonate-Uid', wire(uid)] as const]),
    ...groups.map((group) => ['Impersonate-Group', wire(group)] as const),
    ...extra.map(([key, value]) => [`Impersonate-Extra-${key}`, wire(value)] as const),
  ];
}

const byCertificate =
  (name: string, groups: readonly string[] = [], as?: As, uid?: string) =>
  async (arena: Arena): Promise<Credential | undefined> => {
    const certificate = await arena.certificate({ name, groups, ...(uid === undefined ? {} : { uid }) });
    if (certificate === undefined) return undefined;
    return { certificate, ...(as === undefined ? {} : { headers: asHeaders(as) }) };
  };

const byToken =
  (account: string, as?: As) =>
  async (arena: Arena): Promise<Credential | undefined> => {
    const token = await arena.token(account);
    return token === undefined ? undefined : { token, ...(as === undefined ? {} : { headers: asHeaders(as) }) };
  };

const byAdmin =
  (as: As) =>
  (arena: Arena): Promise<Credential> =>
    Promise.resolve({ ...arena.admin, headers: asHeaders(as) });

/** Odd, yet what a header can carry: inner spaces, a comma, a percent sign, UTF-8, the whole of Latin-1's signs. */
const oddValues = ['a b', 'x,y', '100%', 'größe', '日本', '"quoted"', '\\', 'a=b;c'];

const plain: readonly MatrixUser[] = [
  { name: 'certificate in system:masters', make: (arena) => Promise.resolve(arena.admin) },
  { name: 'certificate, everything in one namespace', make: byCertificate('anna') },
  { name: 'certificate, edit by its group', make: byCertificate('carol', ['devs']) },
  { name: 'certificate, view', make: byCertificate('vera') },
  { name: 'certificate without rights', make: byCertificate('nobody') },
  { name: 'certificate, get alone on pods/exec', make: byCertificate('getter') },
  { name: 'certificate, create alone on pods/exec', make: byCertificate('creator') },
  { name: 'certificate with a comma in its group', make: byCertificate('connie', ['ops,admins']) },
  { name: 'certificate, name and group not ASCII', make: byCertificate('zoë', ['équipe']) },
  { name: 'certificate with a UID', isCoreOnly: true, make: byCertificate('ulf', [], undefined, 'uid-of-ulf') },
  { name: 'service account token, edit', make: byToken('robot') },
  { name: 'service account token without rights', make: byToken('idler') },
  {
    name: 'service account token that has expired',
    isCoreOnly: true,
    make: async (arena) => {
      const token = await arena.token('robot', { isExpired: true });
      return token === undefined ? undefined : { token };
    },
  },
  {
    name: 'service account token for another audience',
    isCoreOnly: true,
    make: async (arena) => {
      const token = await arena.token('robot', { audience: 'https://elsewhere.example' });
      return token === undefined ? undefined : { token };
    },
  },
  { name: 'token nobody knows', make: () => Promise.resolve({ token: 'not-a-token-of-anybody' }) },
  {
    name: 'certificate of another CA',
    isCoreOnly: true,
    make: async () => ({ certificate: await foreignCertificate({ name: 'admin', groups: ['system:masters'] }) }),
  },
  {
    name: 'certificate that has expired',
    isCoreOnly: true,
    make: async (arena) => {
      const certificate = await arena.certificate({ name: 'carol', groups: ['devs'], isExpired: true });
      return certificate === undefined ? undefined : { certificate };
    },
  },
  {
    name: 'certificate that counts, token that does not',
    isCoreOnly: true,
    make: async (arena) => {
      const certificate = await arena.certificate({ name: 'vera' });
      return certificate === undefined ? undefined : { certificate, token: 'not-a-token-of-anybody' };
    },
  },
  {
    name: 'token that counts, certificate of another CA',
    isCoreOnly: true,
    make: async (arena) => {
      const token = await arena.token('robot');
      if (token === undefined) return undefined;
      return { token, certificate: await foreignCertificate({ name: 'admin', groups: ['system:masters'] }) };
    },
  },
  { name: 'no credential', make: () => Promise.resolve({}) },
  { name: 'certificate that may not use kexer', make: byCertificate('outsider') },
];

const impersonating: readonly MatrixUser[] = (
  [
    { name: 'system:masters --as a viewer', make: byAdmin({ user: 'vera' }) },
    { name: 'system:masters --as somebody --as-group', make: byAdmin({ user: 'carol', groups: ['devs'] }) },
    { name: 'system:masters --as-group system:masters', make: byAdmin({ user: 'mia', groups: ['system:masters'] }) },
    { name: 'system:masters --as a service account', make: byAdmin({ user: `system:serviceaccount:${home}:robot` }) },
    { name: 'system:masters --as a node', make: byAdmin({ user: 'system:node:node1' }) },
    { name: 'system:masters --as system:anonymous', make: byAdmin({ user: 'system:anonymous' }) },
    { name: 'system:masters --as one who may not use kexer', make: byAdmin({ user: 'outsider' }) },
    { name: 'system:masters --as-group with a comma', make: byAdmin({ user: 'connie', groups: ['ops,admins'] }) },
    { name: 'system:masters --as a name that is not ASCII', make: byAdmin({ user: 'zoë', groups: ['équipe'] }) },
    { name: 'certificate --as with the right', make: byCertificate('deputy', [], { user: 'vera' }) },
    {
      name: 'certificate --as, --as-group, --as-uid, --as-user-extra with odd bytes',
      make: byCertificate('deputy', [], {
        user: 'vera',
        groups: ['ops,admins', 'devs'],
        uid: 'u-1',
        extra: oddValues.map((value) => ['acme.io%2fproject', value] as const),
      }),
    },
    {
      name: 'certificate --as-user-extra without the right to that key',
      make: byCertificate('deputy', [], { user: 'vera', extra: [['acme.io%2fother', 'x']] }),
    },
    {
      name: 'certificate --as-user-extra that claims an original user',
      make: byCertificate('deputy', [], { user: 'vera', extra: [['backup.cv.io%2foriginal-user', 'admin']] }),
    },
    { name: 'certificate --as without the right', make: byCertificate('carol', ['devs'], { user: 'vera' }) },
    { name: 'certificate --as one name it may', make: byCertificate('halfdeputy', [], { user: 'vera' }) },
    {
      name: 'certificate --as-group without the right',
      make: byCertificate('halfdeputy', [], { user: 'vera', groups: ['devs'] }),
    },
    { name: 'certificate --as-group without --as', make: byCertificate('deputy', [], { groups: ['devs'] }) },
    { name: 'token --as with the right', make: byToken('actor', { user: 'vera' }) },
    {
      name: 'token --as, --as-group, --as-uid, --as-user-extra with odd bytes',
      make: byToken('actor', {
        user: 'vera',
        groups: ['ops,admins', 'devs'],
        uid: 'u-1',
        extra: oddValues.map((value) => ['acme.io%2fproject', value] as const),
      }),
    },
    { name: 'token --as without the right', make: byToken('robot', { user: 'vera' }) },
    { name: 'token --as-uid without --as', make: byToken('actor', { uid: 'u-1' }) },
  ] satisfies MatrixUser[]
).map(({ name, make }) => {
  const deputy = name.includes('one name') || name.includes('group without the right') ? 'halfdeputy' : 'deputy';
  const original = name.startsWith('system:masters') ? 'admin' : name.startsWith('certificate') ? deputy : undefined;
  return { name, make, isCoreOnly: true, ...(original === undefined ? {} : { original }) };
});

/** What the aggregation layer would say of a certificate's user; the test plays the layer itself. */
const behindFrontProxy = (user: string, groups: readonly string[]): MatrixUser => ({
  name: `front proxy for ${user}${groups.length === 0 ? '' : ` in ${groups.join(' and ')}`}`,
  make: byCertificate(user, groups),
  makeDirect: ({ frontProxy }, { certificate }) => {
    if (frontProxy === undefined || certificate === undefined) return undefined;
    const digest = new X509Certificate(certificate.cert).fingerprint256.replaceAll(':', '').toLowerCase();
    const wire = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
    const headers: RawHeader[] = [
      ['X-Remote-User', wire(user)],
      ...[...groups, 'system:authenticated'].map((group) => ['X-Remote-Group', wire(group)] as const),
      ['X-Remote-Extra-authentication.kubernetes.io%2Fcredential-id', `X509SHA256=${digest}`],
    ];
    return { certificate: frontProxy, headers };
  },
});

export const users: readonly MatrixUser[] = [
  ...plain,
  behindFrontProxy('carol', ['devs']),
  behindFrontProxy('connie', ['ops,admins']),
  behindFrontProxy('zoë', ['équipe']),
  ...impersonating,
];

const rbac = 'rbac.authorization.k8s.io';
const rbacPath = `/apis/${rbac}/v1`;
const user = (name: string): object => ({ apiGroup: rbac, kind: 'User', name });
const group = (name: string): object => ({ apiGroup: rbac, kind: 'Group', name });
const account = (name: string): object => ({ kind: 'ServiceAccount', name, namespace: home });

function binding(name: string, role: string, subjects: readonly object[]): readonly [string, object] {
  return [
    `${rbacPath}/namespaces/${home}/rolebindings`,
    {
      apiVersion: `${rbac}/v1`,
      kind: 'RoleBinding',
      metadata: { name, namespace: home },
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: role },
      subjects,
    },
  ];
}

function clusterRole(name: string, rules: readonly object[]): readonly [string, object] {
  return [`${rbacPath}/clusterroles`, { apiVersion: `${rbac}/v1`, kind: 'ClusterRole', metadata: { name }, rules }];
}

function clusterBinding(name: string, role: string, subjects: readonly object[]): readonly [string, object] {
  return [
    `${rbacPath}/clusterrolebindings`,
    {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name },
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: role },
      subjects,
    },
  ];
}

const impersonate = (apiGroup: string, resources: readonly string[], resourceNames?: readonly string[]): object => ({
  apiGroups: [apiGroup],
  resources,
  verbs: ['impersonate'],
  ...(resourceNames === undefined ? {} : { resourceNames }),
});

const podStreams = ['pods/exec', 'pods/attach', 'pods/portforward'];

/** Namespaces, accounts, pods, roles and bindings of the matrix. */
export async function setUpMatrix(arena: Arena): Promise<void> {
  const namespaces = '/api/v1/namespaces';
  const named = (kind: string, name: string, more: object = {}): object => ({
    apiVersion: 'v1',
    kind,
    metadata: { name },
    ...more,
  });
  await createObjects(arena, [
    [namespaces, named('Namespace', home)],
    [namespaces, named('Namespace', other)],
    ...['robot', 'idler', 'actor'].map(
      (name) => [`${namespaces}/${home}/serviceaccounts`, named('ServiceAccount', name)] as const,
    ),
    [`${namespaces}/${home}/configmaps`, named('ConfigMap', 'kept', { data: { a: 'b' } })],
    [
      `${namespaces}/${home}/pods`,
      named('Pod', 'demo', {
        spec: {
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              name: 'shell',
              image: 'busybox',
              command: ['sh', '-c', 'echo ready; trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done'],
            },
          ],
        },
      }),
    ],
    // Named one by one: a `*` would hold the verbs of constrained impersonation too.
    clusterRole('kexer-matrix-user', [
      {
        apiGroups: ['backup.cv.io'],
        resources: ['clusters/exec'],
        verbs: ['get', 'create', 'update', 'patch', 'delete'],
      },
    ]),
    clusterRole('kexer-matrix-getter', [{ apiGroups: [''], resources: ['pods', ...podStreams], verbs: ['get'] }]),
    clusterRole('kexer-matrix-creator', [{ apiGroups: [''], resources: podStreams, verbs: ['create'] }]),
    clusterRole('kexer-matrix-deputy', [
      impersonate('', ['users', 'groups', 'serviceaccounts']),
      impersonate('authentication.k8s.io', ['uids', 'userextras/acme.io/project']),
    ]),
    clusterRole('kexer-matrix-half-deputy', [impersonate('', ['users'], ['vera'])]),
    clusterBinding('kexer-matrix-deputy', 'kexer-matrix-deputy', [user('deputy'), account('actor')]),
    // RBAC has no wildcard of keys: whose users carry other extras than Kubernetes' own must let the impersonator set them.
    clusterRole('kexer-matrix-extras', [impersonate('authentication.k8s.io', ['userextras/acme.io/project'])]),
    clusterBinding('kexer-matrix-extras', 'kexer-matrix-extras', [arena.impersonator]),
    clusterBinding('kexer-matrix-half-deputy', 'kexer-matrix-half-deputy', [user('halfdeputy')]),
    binding('everything', 'cluster-admin', [user('anna'), group('admins')]),
    binding('edit', 'edit', [group('devs'), group('ops'), account('robot')]),
    binding('view', 'view', [user('vera'), user('ulf'), user('outsider'), group('ops,admins'), group('équipe')]),
    binding('getter', 'kexer-matrix-getter', [user('getter')]),
    binding('creator', 'kexer-matrix-creator', [user('creator')]),
    binding('kexer', 'kexer-matrix-user', [
      ...['anna', 'carol', 'vera', 'nobody', 'getter', 'creator', 'connie', 'zoë', 'ulf', 'mia', 'deputy'].map(user),
      ...['halfdeputy', 'system:node:node1'].map(user),
      ...['robot', 'idler', 'actor'].map(account),
    ]),
  ]);
}
