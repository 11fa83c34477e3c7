// What is wrong with a Secret, or with what it leads to, and with what callers try there: a clear answer each, and nothing of theirs goes along.

import { readFile } from 'node:fs/promises';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import { type Answer, type Credential, HttpClient } from '../security/support/http-client.ts';
import { clusterPath, ClusterSecrets } from './support/cluster-secrets.ts';
import { FarServer } from './support/far-server.ts';
import { Stage } from './support/stage.ts';

const pods = '/api/v1/namespaces/default/pods';
const json = 'Content-Type: application/json';
const secretToken = 'the-token-of-the-secret';

describe('a cluster Secret with a mistake', function () {
  this.timeout(60_000);
  let scope: Scope;
  let stage: Stage;
  let secrets: ClusterSecrets;
  let far: FarServer;
  let ca: string;
  let alice: HttpClient;
  /** Everything kexer answered. */
  let answers: string;

  before(async () => {
    scope = new Scope();
    stage = await Stage.start({ hasKubelets: false }, [
      '--cluster-namespaces=clusters',
      '--cluster-allowed-endpoints=127.0.0.1,nowhere.invalid,10.0.0.0/8',
      '--log-level=silent',
    ]);
    scope.add(() => stage.stop());
    secrets = new ClusterSecrets(stage);
    far = await FarServer.start(scope);
    ca = await readFile(stage.sandbox.files.servingCaFile, 'utf8');
    alice = clientOf({ token: stage.sandbox.tokens.alice });
    answers = '';
  });

  after(async () => {
    await scope.close();
    expect(answers).to.not.contain(secretToken).and.not.contain('hunter2');
    expect(answers).to.not.contain(stage.sandbox.tokens.alice);
  });

  function clientOf(credential: Credential): HttpClient {
    const client = new HttpClient({ port: stage.port, ca, basePath: '' }, credential);
    scope.add(() => client.close());
    return client;
  }

  function dataOf(parts: Readonly<Record<string, string | undefined>> = {}): Record<string, string> {
    const all = { endpointUrl: far.url, caData: far.ca, token: secretToken, identity: 'impersonate', ...parts };
    return Object.fromEntries(Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined));
  }

  async function ask(
    name: string,
    path: string = pods,
    options: { client?: HttpClient; headers?: RawHeaders; method?: string } = {},
  ): Promise<[number, string]> {
    const { client = alice, headers = [], method = 'GET' } = options;
    return shown(await client.ask({ method, path: clusterPath(name) + path, headers }));
  }

  function shown({ status, body, headers }: Answer): [number, string] {
    const text = body.toString();
    answers += `${JSON.stringify(headers)}${text}\n`;
    return [status, text.startsWith('{') ? ((JSON.parse(text) as { message?: string }).message ?? text) : text.trim()];
  }

  const problems: readonly (readonly [what: string, parts: Record<string, string | undefined>, problem: string])[] = [
    ['no endpointUrl', { endpointUrl: undefined }, 'has no key "endpointUrl"'],
    ['http://', { endpointUrl: 'http://far' }, 'has an "endpointUrl" without TLS; want https://HOST[:PORT]'],
    ['a path', { endpointUrl: 'https://far/x' }, 'has an "endpointUrl" with a path; want https://HOST[:PORT]'],
    [
      'user info',
      { endpointUrl: 'https://eve:hunter2@far' },
      'has an "endpointUrl" with user information; want https://HOST[:PORT]',
    ],
    ['a query', { endpointUrl: 'https://far?hunter2' }, 'has an "endpointUrl" with a query; want https://HOST[:PORT]'],
    ['a bad CA', { caData: 'hunter2' }, 'has no PEM certificate in "caData"'],
    ['no identity', { identity: undefined }, 'has no key "identity"; want shared or impersonate'],
    [
      'no credential',
      { token: undefined },
      'has no credential; want "token", or "clientCertificateData" and "clientKeyData"',
    ],
  ];
  for (const [what, parts, problem] of problems) {
    it(`is named: ${what}`, async () => {
      await secrets.put('bad', dataOf(parts));
      expect(await ask('bad')).to.deep.equal([
        502,
        `cluster "clusters/bad" cannot be used: the Secret clusters/bad ${problem}`,
      ]);
    });
  }

  it('says what is wrong in words that kubectl shows, which makes "unknown" of a Status in its discovery', async () => {
    await secrets.put('bad', dataOf({ identity: undefined }));
    const answer = await alice.ask({ method: 'GET', path: `${clusterPath('bad')}/api` });
    expect([answer.status, answer.contentType, answer.body.toString()]).to.deep.equal([
      502,
      'text/plain; charset=utf-8',
      'cluster "clusters/bad" cannot be used: the Secret clusters/bad has no key "identity"; want shared or impersonate\n',
    ]);
  });

  it('is not trusted under another authority', async () => {
    await secrets.put('bad', dataOf({ caData: ca }));
    expect(await ask('bad')).to.deep.equal([
      502,
      `cluster "clusters/bad": Cannot trust the apiserver at 127.0.0.1:${far.port}: unable to verify the first certificate; see "caData" and "tlsServerName" of its Secret`,
    ]);
    await secrets.put('bad', dataOf({ tlsServerName: 'far.example' }));
    const [status, message] = await ask('bad');
    expect(status).to.equal(502);
    expect(message).to.match(
      /^cluster "clusters\/bad": Cannot trust the apiserver at 127\.0\.0\.1:\d+: Hostname\/IP does not match/,
    );
  });

  const unreachable: readonly (readonly [what: string, url: string, message: RegExp])[] = [
    [
      'an address that is not allowed',
      'https://192.0.2.1',
      /Cannot connect to "192\.0\.2\.1": it is not in clusters\.allowedEndpoints$/,
    ],
    [
      'loopback under another name',
      'https://[::1]',
      /Cannot connect to "::1": ::1 is a loopback address, which clusters\.allowedEndpoints has to name itself$/,
    ],
    [
      'the metadata service',
      'https://169.254.169.254',
      /Cannot connect to "169\.254\.169\.254": 169\.254\.169\.254 is an address that is never allowed$/,
    ],
    [
      'the metadata service as IPv6',
      'https://[::ffff:a9fe:a9fe]',
      /169\.254\.169\.254 is an address that is never allowed$/,
    ],
    [
      'a name that means nothing',
      'https://nowhere.invalid',
      /Cannot (?:reach|connect to) .*nowhere\.invalid.*: getaddrinfo ENOTFOUND nowhere\.invalid$/,
    ],
    [
      'a port where nobody listens',
      'https://127.0.0.1:1',
      /Cannot (?:reach|connect to) .*127\.0\.0\.1:1: connect ECONNREFUSED 127\.0\.0\.1:1$/,
    ],
  ];
  for (const [what, endpointUrl, message] of unreachable) {
    it(`is refused: ${what}`, async () => {
      await secrets.put('bad', dataOf({ endpointUrl }));
      const [status, text] = await ask('bad');
      expect(status).to.equal(502);
      expect(text).to.match(message);
      // A connection of its own is judged likewise.
      const upgrade = await alice.upgrade({
        method: 'POST',
        path: `${clusterPath('bad')}${pods}/demo/exec?command=id`,
        headers: spdy,
      });
      const [upgradeStatus, upgradeText] = shown(upgrade);
      expect(upgradeStatus).to.equal(502);
      expect(upgradeText).to.match(message);
    });
  }

  const answersOfFar: readonly (readonly [
    what: string,
    status: string,
    headers: string[],
    body: string,
    message: string,
  ])[] = [
    [
      'a 401',
      '401 Unauthorized',
      [json],
      '{"kind":"Status","apiVersion":"v1","status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}',
      'does not accept the credential of its Secret (401): it may have expired',
    ],
    [
      'a redirect',
      '302 Found',
      ['Location: https://169.254.169.254/'],
      '',
      'answers with a redirect (302), which is not followed: the "endpointUrl" of its Secret leads to no kube-apiserver',
    ],
    [
      'a page for people',
      '200 OK',
      ['Content-Type: text/html'],
      '<html>log in</html>',
      'answers with a page for people (200): the "endpointUrl" of its Secret leads to no kube-apiserver',
    ],
    [
      'a long page for people',
      '200 OK',
      ['Content-Type: text/html'],
      `<html>${'x'.repeat(100_000)}`,
      'answers with a page for people (200): the "endpointUrl" of its Secret leads to no kube-apiserver',
    ],
  ];
  for (const [what, status, headers, body, message] of answersOfFar) {
    it(`is answered for, not relayed: ${what}`, async () => {
      await secrets.put('odd', dataOf());
      far.will(status, headers, body);
      expect(await ask('odd')).to.deep.equal([502, `cluster "clusters/odd" ${message}`]);
      for (const path of [`${pods}/demo/exec?command=id`, `${pods}/demo/attach`]) {
        const upgrade = await alice.upgrade({ method: 'POST', path: clusterPath('odd') + path, headers: spdy });
        expect(shown(upgrade)).to.deep.equal([502, `cluster "clusters/odd" ${message}`]);
      }
    });
  }

  it('is not kexer itself, by its certificate', async () => {
    await secrets.put('self', dataOf({ endpointUrl: `https://127.0.0.1:${stage.port}`, caData: ca }));
    expect(await ask('self')).to.deep.equal([
      502,
      'cluster "clusters/self": Cannot use the endpoint: it is this kexer itself, want a kube-apiserver',
    ]);
  });

  it('does not lead back to kexer, by its mark', async () => {
    // The near kube-apiserver, whose aggregation layer asks kexer about clusters.
    const token = stage.sandbox.serviceAccountToken('default', 'default');
    await secrets.put(
      'back',
      dataOf({ endpointUrl: stage.sandbox.apiserver.url, caData: ca, token, identity: 'shared' }),
    );
    const cluster = { group: 'rbac.authorization.k8s.io', resource: 'clusterrolebindings' };
    stage.sandbox.store.create(cluster, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'back' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ kind: 'ServiceAccount', name: 'default', namespace: 'default' }],
    });
    expect((await ask('back', '/api/v1/namespaces/default'))[0]).to.equal(200);
    expect(await ask('back', '/apis/backup.cv.io/v1/namespaces/default/clusters')).to.deep.equal([
      508,
      'this call has come through this kexer before: the endpoint of a cluster leads back to it',
    ]);
  });

  it('cannot shadow the local cluster', async () => {
    const shadow = { ...dataOf(), identity: 'shared' };
    // Kexer tells of no change: there is none.
    const created = secrets.put('other', dataOf());
    stage.sandbox.store.create(
      { group: '', resource: 'secrets' },
      {
        apiVersion: 'v1',
        kind: 'Secret',
        type: 'backup.cv.io/cluster',
        metadata: { name: 'local', namespace: 'clusters' },
        data: Object.fromEntries(
          Object.entries(shadow).map(([key, text]) => [key, Buffer.from(text).toString('base64')]),
        ),
      },
    );
    await created;
    far.will('200 OK', [json], '{}');
    expect((await ask('local', '/version'))[1]).to.contain('kexer-sandbox');
    expect(far.received).to.equal('');
    const list = await alice.ask({ method: 'GET', path: '/apis/backup.cv.io/v1/namespaces/clusters/clusters/local' });
    expect(JSON.parse(list.body.toString())).to.have.nested.property('spec.identity', 'caller');
  });

  for (const name of ['n%C3%B6', '%F0%9F%8E%89', 'A', 'a%20b', '__proto__', 'constructor']) {
    it(`is not there: ${name}`, async () => {
      const [status, message] = await ask(name);
      expect([status, message]).to.deep.equal([404, `clusters.backup.cv.io "${decodeURIComponent(name)}" not found`]);
    });
  }

  for (const name of ['%00', '..', '%2e%2e', 'a%2Fb', '%C3%28']) {
    it(`has no such name: ${name}`, async () => {
      expect((await ask(name))[0]).to.equal(400);
    });
  }

  it('keeps what a call began with, whatever changes meanwhile', async () => {
    await secrets.put('odd', dataOf());
    far.will('200 OK', [json], '{"kind":"PodList"}');
    const slow = ask('odd');
    await Promise.all([secrets.put('odd', dataOf({ token: 'second-token' })), secrets.put('odd2', dataOf())]);
    expect((await slow)[0]).to.equal(200);
    far.will('200 OK', [json], '{"kind":"PodList"}');
    expect((await ask('odd'))[0]).to.equal(200);
    expect(far.received).to.contain('Bearer second-token').and.not.contain(secretToken);
  });

  describe('and what goes there', () => {
    /** Whatever a caller could be known by. */
    const tricks: RawHeaders = [
      ['Cookie', 'session=hunter2'],
      ['X-Remote-User', 'hunter2'],
      ['X-Remote-Group', 'hunter2'],
      ['X-Remote-Extra-Key', 'hunter2'],
      ['Proxy-Authorization', 'Basic hunter2'],
      ['Sec-WebSocket-Protocol', 'base64url.bearer.authorization.k8s.io.aHVudGVyMg, v4.channel.k8s.io'],
      ['Forwarded', 'for=hunter2'],
      ['X-Forwarded-User', 'hunter2'],
    ];

    it('is nothing of the caller, but the name where it is impersonated', async () => {
      const { adminCertFile, adminKeyFile, frontProxyCertFile, frontProxyKeyFile } = stage.sandbox.files;
      const pair = async (cert: string, key: string): Promise<{ cert: string; key: string }> => ({
        cert: await readFile(cert, 'utf8'),
        key: await readFile(key, 'utf8'),
      });
      const callers: readonly (readonly [string, Credential, RawHeaders])[] = [
        ['alice', { token: stage.sandbox.tokens.alice }, tricks],
        ['admin', { certificate: await pair(adminCertFile, adminKeyFile) }, tricks],
        [
          'proxied',
          { certificate: await pair(frontProxyCertFile, frontProxyKeyFile) },
          [
            ['X-Remote-User', 'proxied'],
            ['X-Remote-Group', 'system:masters'],
            ...tricks.filter(([name]) => !name.startsWith('X-Remote')),
          ],
        ],
      ];
      for (const identity of ['shared', 'impersonate']) {
        await secrets.put('odd', dataOf({ identity }));
        for (const [name, credential, headers] of callers) {
          const client = clientOf(credential);
          far.will('200 OK', [json], '{"kind":"PodList"}');
          expect((await ask('odd', pods, { client, headers }))[0], `${identity} ${name}`).to.equal(200);
          const plain = far.received;
          far.will('403 Forbidden', [json], '{}');
          await client.upgrade({
            method: 'GET',
            path: `${clusterPath('odd')}${pods}/demo/exec?command=id`,
            headers: [...webSocket, ...headers],
          });
          for (const received of [plain, far.received]) {
            expect(received, `${identity} ${name}`).to.not.be.oneOf(['']);
            expect(received)
              .to.not.contain('hunter2')
              .and.not.contain('aHVudGVyMg')
              .and.not.match(/x-remote-|cookie|masters/i);
            // A stream's own request and kexer's look at its pod.
            expect([...new Set(received.match(/^Authorization: .*$/gim))]).to.deep.equal([
              `Authorization: Bearer ${secretToken}`,
            ]);
            const impersonated = received.match(/^Impersonate-User: .*$/gim);
            if (identity === 'shared') expect(impersonated).to.equal(null);
            else expect(impersonated?.[0]).to.match(/^Impersonate-User: (alice|admin|kubernetes-admin|proxied)$/);
            expect(received).to.match(/^Via: 1\.1 kexer-[0-9a-f]{16}\r$/m);
          }
        }
      }
    });

    it('is no Impersonate-* of a caller', async () => {
      for (const identity of ['shared', 'impersonate']) {
        await secrets.put('odd', dataOf({ identity }));
        far.will('200 OK', [json], '{}');
        const [status, message] = await ask('odd', pods, { headers: [['Impersonate-User', 'root']] });
        expect([status, message]).to.deep.equal([
          403,
          `forbidden: User "alice" cannot impersonate in cluster "clusters/odd": nobody's --as goes to another cluster`,
        ]);
        expect(far.received).to.equal('');
      }
    });

    it('is no service account of this cluster', async () => {
      await secrets.put('odd', dataOf());
      grant('robot', ['get', 'create'], [{ kind: 'ServiceAccount', name: 'default', namespace: 'default' }]);
      const client = clientOf({ token: stage.sandbox.serviceAccountToken('default', 'default') });
      far.will('200 OK', [json], '{}');
      const [status, message] = await ask('odd', pods, { client });
      expect([status, message]).to.deep.equal([
        403,
        'forbidden: User "system:serviceaccount:default:default" cannot be passed on to cluster "clusters/odd": names that begin with system: are not',
      ]);
      expect(far.received).to.equal('');
    });

    it('opens no stream for a role with get on everything', async () => {
      await secrets.put('odd', dataOf());
      const user = await stage.sandbox.clientCertificate({ name: 'reader' });
      grant('reader', ['get', 'list', 'watch'], [{ kind: 'User', name: 'reader' }], '*');
      const client = clientOf({ certificate: user });
      far.will('200 OK', [json], '{"kind":"PodList"}');
      expect((await ask('odd', pods, { client }))[0]).to.equal(200);
      far.will('101 Switching Protocols', ['Connection: Upgrade', 'Upgrade: SPDY/3.1'], '');
      for (const path of [
        `${pods}/demo/exec?command=id`,
        `${pods}/demo/attach`,
        `${pods}/demo/portforward`,
        `${pods}/demo/log?follow=true`,
        '/api/v1/namespaces/default/services/web/proxy/',
      ]) {
        for (const headers of [spdy, webSocket]) {
          const answer = await client.upgrade({ method: 'GET', path: clusterPath('odd') + path, headers });
          expect(shown(answer)).to.deep.equal([
            403,
            'clusters.backup.cv.io "odd" is forbidden: User "reader" cannot create resource "clusters/exec" in API group "backup.cv.io" in the namespace "clusters"',
          ]);
        }
        if (!path.includes('/exec') && !path.includes('/attach') && !path.includes('/portforward')) continue;
        expect((await ask('odd', path, { client }))[0], path).to.equal(403);
      }
      expect(far.received).to.equal('');
    });
  });

  /** A right on clusters/exec of the namespace. */
  function grant(
    name: string,
    verbs: readonly string[],
    subjects: readonly object[],
    resource = 'clusters/exec',
  ): void {
    const group = 'rbac.authorization.k8s.io';
    const { store } = stage.sandbox;
    store.create(
      { group, resource: 'roles' },
      {
        apiVersion: `${group}/v1`,
        kind: 'Role',
        metadata: { name, namespace: 'clusters' },
        rules: [{ apiGroups: ['backup.cv.io'], resources: [resource], verbs: [...verbs] }],
      },
    );
    store.create(
      { group, resource: 'rolebindings' },
      {
        apiVersion: `${group}/v1`,
        kind: 'RoleBinding',
        metadata: { name, namespace: 'clusters' },
        roleRef: { apiGroup: group, kind: 'Role', name },
        subjects: subjects.map((subject) => ({
          apiGroup: 'kind' in subject && subject.kind === 'User' ? group : '',
          ...subject,
        })),
      },
    );
  }
});

const spdy: RawHeaders = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'SPDY/3.1'],
  ['X-Stream-Protocol-Version', 'v4.channel.k8s.io'],
];

const webSocket: RawHeaders = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'websocket'],
  ['Sec-WebSocket-Version', '13'],
  ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
  ['Sec-WebSocket-Protocol', 'v5.channel.k8s.io'],
];
