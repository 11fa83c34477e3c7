// The impersonator with nothing but constrained impersonation (Kubernetes 1.36): config/rbac/impersonation-constrained does what docs/rbac.md
// says of it. Users are carried for every verb; nobody is carried who could be system:masters, a node or a service account.

import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { expect } from 'chai';
import { parseAllDocuments } from 'yaml';

import type { PolicyRule } from '../../src/sandbox/apiserver/identity/rbac.ts';
import type { Answer, HttpClient } from './support/http-client.ts';
import { messageOf } from './support/raw-client.ts';
import { readTable } from './support/rbac-table.ts';
import { useStage } from './support/stage.ts';

const manifest = fileURLToPath(
  new URL('../../config/rbac/impersonation-constrained/impersonator.yaml', import.meta.url),
);
const role = {
  group: 'rbac.authorization.k8s.io',
  resource: 'clusterroles',
  namespace: '',
  name: 'kexer-impersonator',
};
const home = '/api/v1/namespaces/default';
const json = [['Content-Type', 'application/json']] as const;

const spdy = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'SPDY/3.1'],
  ['X-Stream-Protocol-Version', 'v4.channel.k8s.io'],
] as const;

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly rules?: readonly PolicyRule[];
}

describe('constrained impersonation', () => {
  const stage = useStage();
  let kept: unknown;
  let objects: readonly Manifest[];
  let rules: readonly PolicyRule[];

  before(async () => {
    objects = parseAllDocuments(await readFile(manifest, 'utf8')).map((document) => document.toJS() as Manifest);
    rules = objects.find(({ kind }) => kind === 'ClusterRole')?.rules ?? [];
    kept = structuredClone(stage().sandbox.store.mustGet(role)['rules']);
    put(rules);
  });

  after(() => {
    if (kept !== undefined) put(kept as readonly PolicyRule[]);
  });

  function put(given: readonly PolicyRule[]): void {
    stage().sandbox.store.mutate(role, (draft) => {
      draft['rules'] = structuredClone(given);
    });
  }

  const textOf = ({ status, body, headers }: Answer): string =>
    status < 300 ? String(status) : `${status} ${messageOf({ status, headers, body: body.toString() })}`;

  async function user(options: Parameters<ReturnType<typeof stage>['user']>[0] = {}): Promise<HttpClient> {
    const { certificate } = await stage().user(options);
    return stage().client(stage().direct, { certificate });
  }

  it('is what the table says', async () => {
    const table = await readTable(1);
    expect(table.map(({ verbs, resource, group }) => `${verbs.join()} ${resource} ${group}`)).to.deep.equal([
      ...(rules[0]?.resources ?? []).map((resource) => `impersonate:user-info ${resource} authentication.k8s.io`),
      'impersonate-on:user-info:VERB  ',
    ]);
    expect(
      rules.flatMap(({ verbs = [] }) => verbs).filter((verb) => !/^impersonate(-on)?:user-info/.test(verb)),
    ).to.deep.equal([]);
  });

  it('is the same account and the same right to its tokens as impersonation/ has', async () => {
    const other = manifest.replace('-constrained', '');
    const others = parseAllDocuments(await readFile(other, 'utf8')).map((document) => document.toJS() as Manifest);
    const isRole = ({ kind }: Manifest): boolean => kind === 'ClusterRole';
    expect(objects.filter((object) => !isRole(object))).to.deep.equal(others.filter((object) => !isRole(object)));
  });

  it('carries users for every verb, streams and logs included, and names them to kube-apiserver', async () => {
    const client = await user();
    const body = (name: string): string => JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name } });
    const name = stage().freshName('constrained');
    const answers: Record<string, string> = {};
    const mark = stage().tap.mark();
    for (const [what, ask] of Object.entries({
      get: { method: 'GET', path: `${home}/pods/demo` },
      list: { method: 'GET', path: `${home}/pods` },
      watch: { method: 'GET', path: `${home}/pods?watch=true`, isEndless: true },
      create: { method: 'POST', path: `${home}/configmaps`, headers: json, body: body(name) },
      update: { method: 'PUT', path: `${home}/configmaps/${name}`, headers: json, body: body(name) },
      patch: {
        method: 'PATCH',
        path: `${home}/configmaps/${name}`,
        headers: [['Content-Type', 'application/merge-patch+json']] as const,
        body: '{"data":{"a":"b"}}',
      },
      delete: { method: 'DELETE', path: `${home}/configmaps/${name}` },
      deletecollection: { method: 'DELETE', path: `${home}/configmaps?labelSelector=a%3Dnone` },
      discovery: { method: 'GET', path: '/api/v1' },
      log: { method: 'GET', path: `${home}/pods/ticker/log?tailLines=1` },
    })) {
      answers[what] = textOf(await client.ask(ask));
    }
    answers['exec'] = String(
      (
        await client.upgrade({
          method: 'POST',
          path: `${home}/pods/demo/exec?command=true&stdout=true`,
          headers: spdy,
        })
      ).status,
    );
    expect(answers).to.deep.equal({
      get: '200',
      list: '200',
      watch: '200',
      create: '201',
      update: '200',
      patch: '200',
      delete: '200',
      deletecollection: '200',
      discovery: '200',
      log: '200',
      exec: '101',
    });
    expect(stage().tap.forwarded(mark).length).to.be.at.least(11);
  });

  it('carries `--as` of those who may, and names both', async () => {
    const { name, certificate } = await stage().user();
    const { name: wanted } = await stage().user({ role: 'view' });
    const deputies = await stage().role({ apiGroups: [''], resources: ['users'], verbs: ['impersonate'] });
    await stage().create('/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: stage().freshName('deputy') },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: deputies },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name }],
    });
    const client = stage().client(stage().direct, { certificate, headers: [['Impersonate-User', wanted]] });
    expect(textOf(await client.ask({ method: 'GET', path: `${home}/pods` }))).to.equal('200');
    expect(textOf(await client.ask({ method: 'GET', path: `${home}/secrets` }))).to.match(
      new RegExp(`^403 secrets is forbidden: User "${wanted}" cannot list`),
    );
  });

  const never: readonly (readonly [who: string, credential: () => Promise<HttpClient>])[] = [
    ['a member of system:masters', () => user({ groups: ['system:masters'] })],
    ['a node', () => user({ name: 'system:node:node1', groups: ['system:nodes'] })],
    [
      'a service account through the aggregation layer',
      async () =>
        stage().client(stage().direct, {
          certificate: stage().frontProxy,
          headers: [
            ['X-Remote-User', (await stage().account()).name],
            ['X-Remote-Uid', 'u-1'],
            ['X-Remote-Group', 'system:serviceaccounts'],
            ['X-Remote-Group', 'system:authenticated'],
          ],
        }),
    ],
  ];
  for (const [who, make] of never) {
    it(`never carries ${who}: 502, and no account of kexer's is named`, async () => {
      const text = textOf(await (await make()).ask({ method: 'GET', path: `${home}/pods` }));
      expect(text).to.match(/^502 kube-apiserver does not let kexer's impersonator act as this user/);
      expect(text).not.to.contain('kexec-system');
    });
  }

  it('has no right it could do without: each one taken away is a 502 for somebody', async () => {
    const byCertificate = await user();
    const withUid = stage().client(stage().direct, {
      certificate: stage().frontProxy,
      headers: [
        ['X-Remote-User', (await stage().user()).name],
        ['X-Remote-Uid', 'u-1'],
        ['X-Remote-Group', 'system:authenticated'],
      ],
    });
    const missed: string[] = [];
    const tryWithout = async (what: string, given: readonly PolicyRule[], client: HttpClient): Promise<void> => {
      put(given);
      const { status } = await client.ask({ method: 'GET', path: `${home}/pods/demo` });
      if (status !== 502) missed.push(`${what}: ${status}`);
    };
    try {
      const [whom, ...rest] = rules;
      for (const resource of whom?.resources ?? []) {
        if (resource.includes('original-user')) continue; // of --as, above
        const resources = whom?.resources?.filter((one) => one !== resource) ?? [];
        const client = resource === 'uids' ? withUid : byCertificate;
        await tryWithout(resource, [{ ...whom, resources }, ...rest], client);
      }
      const [on] = rest;
      const verbs = on?.verbs?.filter((verb) => !verb.endsWith(':get')) ?? [];
      await tryWithout('impersonate-on', [...(whom === undefined ? [] : [whom]), { ...on, verbs }], byCertificate);
    } finally {
      put(rules);
    }
    expect(missed).to.deep.equal([]);
    expect((await byCertificate.ask({ method: 'GET', path: `${home}/pods/demo` })).status).to.equal(200);
    expect((await withUid.ask({ method: 'GET', path: `${home}/pods/demo` })).status).to.equal(200);
  });
});
