// What kube-apiserver says to an exec, attach, port-forward or log that it does not want is what kexer's client reads, to the word: asked of
// the cluster itself and through kexer, by every transport. Runs against the sandbox, or the cluster of KEXER_TEST_KUBECONFIG
// (support/real-arena.ts says what is set up there).

import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';

import { expect } from 'chai';

import { generateAuthority, generateServing } from '../../src/certs/generate.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import { type Arena, createObjects } from './support/arena.ts';
import { type Answer, type Ask, type Credential, HttpClient } from './support/http-client.ts';
import { home } from './support/matrix-operations.ts';
import { isRealCluster, useArena } from './support/shared-arena.ts';

const admission = '/apis/admissionregistration.k8s.io/v1';
const pods = `/api/v1/namespaces/${home}/pods`;
const rules = [
  {
    operations: ['CONNECT'],
    apiGroups: [''],
    apiVersions: ['v1'],
    resources: ['pods/exec', 'pods/attach', 'pods/portforward'],
  },
];
const inHome = { matchLabels: { 'kubernetes.io/metadata.name': home } };

interface Way {
  readonly name: string;
  readonly method: string;
  /** Without: a plain request, whose answer is that of the preflight itself. */
  readonly upgrade?: (kind: string) => RawHeaders;
}

const webSocket = (kind: string): RawHeaders => [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'websocket'],
  ['Sec-WebSocket-Version', '13'],
  ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
  ['Sec-WebSocket-Protocol', kind === 'portforward' ? 'SPDY/3.1+portforward.k8s.io' : 'v5.channel.k8s.io'],
];

const spdy = (kind: string): RawHeaders => [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'SPDY/3.1'],
  ['X-Stream-Protocol-Version', kind === 'portforward' ? 'portforward.k8s.io' : 'v4.channel.k8s.io'],
];

const ways: readonly Way[] = [
  { name: 'SPDY', method: 'POST', upgrade: spdy },
  { name: 'SPDY by GET', method: 'GET', upgrade: spdy },
  { name: 'WebSocket', method: 'GET', upgrade: webSocket },
  { name: 'plain POST', method: 'POST' },
  { name: 'plain GET', method: 'GET' },
];

/** What kube-apiserver refuses, or would have an upgrade for. `%` and the like are in query-confusion.test.ts: there kexer is stricter. */
const questions: readonly string[] = [
  'absent/exec?command=true&stdout=true',
  'absent/attach?stdout=true',
  'absent/portforward',
  'demo/exec?command=true&stdout=true&container=nope',
  'demo/attach?stdout=true&container=nope',
  'demo/exec?stdout=true',
  'demo/exec?command=true',
  'demo/attach',
  'demo/exec?command=true&stdout=true&stderr=true&tty=true',
  'demo/exec?command=true&stdout=maybe',
  'demo/exec?command=true&stdout=true&unknown=1',
  'pair/exec?command=true&stdout=true',
  'unbound/exec?command=true&stdout=true',
  'unbound/portforward',
];

const logQuestions: readonly string[] = [
  'absent/log',
  'demo/log?container=nope',
  'demo/log?tailLines=-1',
  'demo/log?tailLines=x',
  'demo/log?sinceSeconds=0',
  'demo/log?sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z',
  'demo/log?limitBytes=0',
  'demo/log?stream=Both',
  'pair/log',
  'unbound/log',
];

describe('what kube-apiserver says to a stream is what the client reads', function () {
  this.timeout(120_000);
  const arena = useArena();
  const scope: (() => Promise<void> | void)[] = [];

  before('a pod with two containers and one with one, both without a node', async () => {
    // Neither is ever scheduled, so that they are deleted with their namespace at once.
    const nodeSelector = { 'kexer-matrix/no-such': 'label' };
    const pod = (name: string, containers: readonly string[]): readonly [string, object] => [
      pods,
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name },
        spec: {
          nodeSelector,
          containers: containers.map((one) => ({ name: one, image: 'busybox', command: ['sleep', '60'] })),
        },
      },
    ];
    await createObjects(arena(), [pod('pair', ['one', 'two']), pod('unbound', ['one'])]);
  });

  after(async () => {
    for (const close of scope.toReversed()) await close();
  });

  async function editor(): Promise<Credential> {
    const token = await arena().token('robot');
    return { token: token ?? '' };
  }

  function client(server: Arena['cluster'], credential: Credential): HttpClient {
    const made = new HttpClient(server, credential);
    scope.push(() => made.close());
    return made;
  }

  /** The same question to the cluster and to kexer. */
  async function both(credential: Credential, ask: Ask & { isUpgrade?: boolean }): Promise<[Comparable, Comparable]> {
    const answers: Comparable[] = [];
    for (const server of [arena().cluster, arena().direct]) {
      const asker = client(server, credential);
      answers.push(comparable(await (ask.isUpgrade === true ? asker.upgrade(ask) : asker.ask(ask))));
      asker.close();
    }
    const [cluster = {}, kexer = {}] = answers;
    return [cluster, kexer];
  }

  function asksOf(question: string): readonly (readonly [name: string, ask: Ask & { isUpgrade?: boolean }])[] {
    const kind = /\/(\w+)(\?|$)/.exec(question)?.[1] ?? '';
    return ways.map(({ name, method, upgrade }) => [
      `${question} by ${name}`,
      {
        method,
        path: `${pods}/${question}`,
        ...(upgrade === undefined ? {} : { headers: upgrade(kind), isUpgrade: true }),
      },
    ]);
  }

  for (const account of ['robot', 'idler']) {
    it(`as ${account === 'robot' ? 'one who may' : 'one who may not'}: ${questions.length} questions by ${ways.length} ways`, async () => {
      const credential = { token: (await arena().token(account)) ?? '' };
      const differences: unknown[] = [];
      let refused = 0;
      for (const [name, ask] of questions.flatMap(asksOf)) {
        const [cluster, kexer] = await both(credential, ask);
        if (Number(cluster['status']) >= 400) refused += 1;
        if (!isSame(cluster, kexer, ask)) differences.push({ name, cluster, kexer });
      }
      expect(differences).to.deep.equal([]);
      expect(refused).to.be.at.least(account === 'robot' ? 50 : questions.length * ways.length);
    });

    it(`logs, as ${account === 'robot' ? 'one who may' : 'one who may not'}`, async () => {
      const credential = { token: (await arena().token(account)) ?? '' };
      const differences: unknown[] = [];
      for (const question of logQuestions) {
        const [cluster, kexer] = await both(credential, { method: 'GET', path: `${pods}/${question}` });
        if (JSON.stringify(cluster) !== JSON.stringify(kexer)) differences.push({ question, cluster, kexer });
      }
      expect(differences).to.deep.equal([]);
    });
  }

  it('whatever the client accepts: kexer reads the answer, and passes on the one it has read', async () => {
    const credential = await editor();
    for (const accept of [
      undefined,
      '*/*',
      'application/yaml',
      'application/vnd.kubernetes.protobuf',
      'application/json;as=Table;v=v1;g=meta.k8s.io',
      'text/html',
      'nonsense',
    ]) {
      const headers: RawHeaders = accept === undefined ? [] : [['Accept', accept]];
      for (const [question, want] of [
        ['absent/exec?command=true&stdout=true', `404 pods "absent" not found`],
        ['demo/exec?command=true&stdout=true&container=nope', '400 container nope is not valid for pod demo'],
        ['demo/exec?command=true&stdout=true', '101'],
      ] as const) {
        const path = `${pods}/${question}`;
        const answer = await client(arena().direct, credential).upgrade({
          method: 'POST',
          path,
          headers: [...headers, ...spdy('exec')],
        });
        const { status, message } = comparable(answer);
        expect(
          status === 101 ? '101' : `${String(status)} ${String(message)}`,
          `${accept ?? 'none'}: ${question}`,
        ).to.equal(want);
      }
    }
  });

  /** Creates what admits, waits until the cluster refuses by it, compares, and takes it away again. */
  async function refusedBy(
    objects: readonly (readonly [
      collection: string,
      object: { readonly metadata: { readonly name: string }; readonly [field: string]: unknown },
    ])[],
    wanted: RegExp,
  ): Promise<void> {
    const credential = await editor();
    const probe = asksOf('demo/exec?command=true&stdout=true')[0]?.[1] ?? { method: '', path: '' };
    const admin = client(arena().cluster, arena().admin);
    const own = client(arena().cluster, credential);
    const until = async (isSo: (message: string) => boolean): Promise<void> => {
      while (!isSo(String(comparable(await own.upgrade(probe))['message'])));
    };
    await createObjects(arena(), objects);
    try {
      await until((message) => wanted.test(message));
      const differences: unknown[] = [];
      for (const question of ['demo/exec?command=true&stdout=true', 'demo/attach?stdout=true', 'demo/portforward']) {
        for (const [name, ask] of asksOf(question)) {
          const [cluster, kexer] = await both(credential, ask);
          expect(String(cluster['message']), name).to.match(wanted);
          if (JSON.stringify(cluster) !== JSON.stringify(kexer)) differences.push({ name, cluster, kexer });
        }
      }
      expect(differences).to.deep.equal([]);
    } finally {
      for (const [collection, { metadata }] of objects.toReversed()) {
        await admin.ask({ method: 'DELETE', path: `${collection}/${metadata.name}` });
      }
      await until((message) => !wanted.test(message));
    }
  }

  it("a policy's 422", async () => {
    const name = 'kexer-matrix-policy';
    const kind = (suffix: string): object => ({
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: `ValidatingAdmissionPolicy${suffix}`,
    });
    await refusedBy(
      [
        [
          `${admission}/validatingadmissionpolicies`,
          {
            ...kind(''),
            metadata: { name },
            spec: {
              failurePolicy: 'Fail',
              matchConstraints: { resourceRules: rules, namespaceSelector: inHome },
              validations: [{ expression: 'false', message: 'nobody enters <here> & now' }],
            },
          },
        ],
        [
          `${admission}/validatingadmissionpolicybindings`,
          { ...kind('Binding'), metadata: { name }, spec: { policyName: name, validationActions: ['Deny'] } },
        ],
      ],
      /^pods "demo" is forbidden: ValidatingAdmissionPolicy 'kexer-matrix-policy' with binding 'kexer-matrix-policy' denied request: nobody enters <here> & now$/,
    );
  });

  it("a webhook's denial", async function () {
    const { reachableAt } = arena();
    if (reachableAt === undefined) this.skip();
    const authority = await generateAuthority({ commonName: 'kexer-matrix-webhook' });
    const pair = await generateServing(authority, { commonName: 'webhook', ipAddresses: [reachableAt] });
    const server = denying(pair);
    server.listen(0, isRealCluster ? '0.0.0.0' : '127.0.0.1');
    await once(server, 'listening');
    scope.push(
      () =>
        new Promise((resolve) => {
          server.close(() => resolve());
          server.closeAllConnections();
        }),
    );
    const { port } = server.address() as AddressInfo;
    await refusedBy(
      [
        [
          `${admission}/validatingwebhookconfigurations`,
          {
            apiVersion: 'admissionregistration.k8s.io/v1',
            kind: 'ValidatingWebhookConfiguration',
            metadata: { name: 'kexer-matrix-webhook' },
            webhooks: [
              {
                name: 'streams.kexer.example',
                clientConfig: {
                  url: `https://${reachableAt}:${port}/`,
                  caBundle: Buffer.from(authority.cert).toString('base64'),
                },
                rules,
                namespaceSelector: inHome,
                failurePolicy: 'Fail',
                sideEffects: 'None',
                admissionReviewVersions: ['v1'],
              },
            ],
          },
        ],
      ],
      /^admission webhook "streams\.kexer\.example" denied the request: not in this namespace$/,
    );
  });
});

type Comparable = Readonly<Record<string, unknown>>;

function comparable({ status, body, contentType }: Answer): Comparable {
  const text = body.toString();
  if (status === 101) return { status };
  if (!contentType.startsWith('application/json')) return { status, contentType, text };
  const { reason, message, details, code } = JSON.parse(text) as Record<string, unknown>;
  return { status, code, reason, message, details };
}

/** A kubelet's own refusal is text; kexer gives a WebSocket's client a Status of the same code and words, as libraries read one. */
function isSame(cluster: Comparable, kexer: Comparable, ask: Ask): boolean {
  const isWebSocket = ask.headers?.some(([, value]) => value === 'websocket') === true;
  if (isWebSocket && 'text' in cluster && cluster['contentType'] !== undefined) {
    return cluster['status'] === kexer['status'] && String(cluster['text']).trim() === kexer['message'];
  }
  return JSON.stringify(cluster) === JSON.stringify(kexer);
}

/** A webhook that denies with the code and reason of its own. */
function denying(pair: { cert: string; key: string }): Server {
  return createServer(pair, (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { request: asked } = JSON.parse(Buffer.concat(chunks).toString()) as { request: { uid: string } };
      response.setHeader('Content-Type', 'application/json');
      response.end(
        JSON.stringify({
          apiVersion: 'admission.k8s.io/v1',
          kind: 'AdmissionReview',
          response: {
            uid: asked.uid,
            allowed: false,
            status: { code: 418, reason: 'Teapot', message: 'not in this namespace' },
          },
        }),
      );
    });
  });
}
