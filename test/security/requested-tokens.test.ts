// Attacks on the way kexer comes by the tokens it asks for, the impersonator's and the one towards kubelets: asked for other accounts, kept
// longer than an hour, taken from a file, used by an account that was made anew under the name, told to a caller.

import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';
import { parse, stringify } from 'yaml';

import { getHeader } from '../../src/protocol/raw-headers.ts';
import type { Answer } from './support/http-client.ts';
import { KexerProcess } from './support/kexer-process.ts';
import { messageOf } from './support/raw-client.ts';
import { useStage } from './support/stage.ts';
import { cannedAnswer, type TappedRequest } from './support/wiretap.ts';

const accounts = '/api/v1/namespaces/kexec-system/serviceaccounts';
const tokenPath = `${accounts}/kexer-impersonator/token`;
const pods = '/api/v1/namespaces/default/pods';
const impersonator = { group: '', resource: 'serviceaccounts', namespace: 'kexec-system', name: 'kexer-impersonator' };
const json = [['Content-Type', 'application/json']] as const;
const tokenRequest = JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} });

const spdy = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'SPDY/3.1'],
  ['X-Stream-Protocol-Version', 'v4.channel.k8s.io'],
] as const;

describe('tokens that kexer asks for', () => {
  const stage = useStage();

  afterEach(() => {
    stage().tap.intercept = undefined;
  });

  const textOf = ({ status, body, headers }: Answer): string =>
    `${status} ${messageOf({ status, headers, body: body.toString() })}`;

  async function ownToken(): Promise<string> {
    return (await readFile(stage().sandbox.files.kexerKubeconfig, 'utf8')).match(/eyJ[\w.-]+/)?.[0] ?? '';
  }

  const askedFor = (mark = 0): TappedRequest[] =>
    stage()
      .tap.requests.slice(mark)
      .filter(({ target }) => target.includes('/serviceaccounts/'));

  /** An ordinary call of a new user by certificate, whom only the impersonator can carry. */
  async function carried(): Promise<string> {
    const { certificate } = await stage().user();
    const client = stage().client(stage().direct, { certificate });
    const answer = await client.ask({ method: 'GET', path: pods });
    return answer.status === 200 ? '200' : textOf(answer);
  }

  /** TokenRequests that kube-apiserver has granted, by its own audit log. */
  function askedOf(account: string): number {
    const path = `/api/v1/namespaces/${account.replace('/', '/serviceaccounts/')}/token`;
    return readFileSync(stage().sandbox.files.auditLog, 'utf8')
      .split('\n')
      .filter((line) => line.includes(`"requestURI":"${path}"`) && line.includes('"stage":"ResponseComplete"')).length;
  }

  it('are asked for with kexer’s own account, for an hour, not taken from a file', async () => {
    expect(await carried()).to.equal('200');
    const own = await ownToken();
    // More than one if tests before this had kube-apiserver refuse it.
    const asked = askedFor();
    const [first] = asked;
    expect([...new Set(asked.map(({ method, target }) => `${method} ${target}`))]).to.deep.equal([`POST ${tokenPath}`]);
    expect(getHeader(first?.headers ?? [], 'Authorization') === `Bearer ${own}`).to.equal(true);
    expect(JSON.parse(Buffer.concat(first?.body ?? []).toString())).to.deep.equal({
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { expirationSeconds: 3600 },
    });
    const [call] = stage()
      .tap.requests.toReversed()
      .filter(({ headers }) => getHeader(headers, 'Impersonate-User') !== undefined);
    const token = getHeader(call?.headers ?? [], 'Authorization')?.replace('Bearer ', '') ?? '';
    const inFile = await readFile(stage().sandbox.files.impersonatorTokenFile, 'utf8');
    expect(token === inFile).to.equal(false);
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<string, number>;
    expect({ sub: claims['sub'], lifeSeconds: (claims['exp'] ?? 0) - (claims['iat'] ?? 0) }).to.deep.equal({
      sub: 'system:serviceaccount:kexec-system:kexer-impersonator',
      lifeSeconds: 3600,
    });
  });

  it('are of two accounts alone: kexer may ask for no other, in no namespace, and by no other verb', async () => {
    const client = stage().client(stage().cluster, { token: await ownToken() });
    const answers: Record<string, number> = {};
    for (const [method, path] of [
      ['POST', tokenPath],
      ['POST', `${accounts}/kexer-kubelet/token`],
      ['POST', `${accounts}/kexer/token`],
      ['POST', `${accounts}/default/token`],
      ['POST', '/api/v1/namespaces/kube-system/serviceaccounts/kexer-impersonator/token'],
      ['POST', '/api/v1/namespaces/default/serviceaccounts/default/token'],
      ['POST', accounts],
      ['GET', accounts],
      ['GET', `${accounts}/kexer-impersonator`],
      ['PATCH', `${accounts}/kexer-impersonator`],
      ['DELETE', `${accounts}/kexer-impersonator`],
      ['GET', '/api/v1/namespaces/kexec-system/secrets'],
    ] as const) {
      const isWrite = method === 'POST' || method === 'PATCH';
      const answer = await client.ask({ method, path, ...(isWrite ? { headers: json, body: tokenRequest } : {}) });
      answers[`${method} ${path}`] = answer.status;
      // What it may have is a token like any other: never to be found in what kexer writes.
      const token = /eyJ[\w.-]+/.exec(answer.body.toString())?.[0];
      if (token !== undefined) stage().secret(token);
    }
    const expected = Object.fromEntries(Object.keys(answers).map((key) => [key, 403]));
    expect(answers).to.deep.equal({
      ...expected,
      [`POST ${tokenPath}`]: 201,
      [`POST ${accounts}/kexer-kubelet/token`]: 201,
    });
  });

  it('of an impersonator that was made anew under the name are no good, and are renewed once', async () => {
    expect(await carried()).to.equal('200');
    const { store } = stage().sandbox;
    const { uid, resourceVersion, ...metadata } = structuredClone(store.mustGet(impersonator)).metadata;
    expect([uid, resourceVersion]).not.to.include(undefined);
    const mark = stage().tap.mark();
    store.delete(impersonator);
    await stage().create(accounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata });
    const refused = "502 kube-apiserver does not accept the credential of kexer's impersonator";
    expect(await carried()).to.equal(refused);
    expect(askedFor(mark)).to.have.length(0);
    // At once, but for another renewal within the last second: tests before this had the token refused too.
    let texts = await Promise.all([carried(), carried()]);
    while (texts.includes(refused)) texts = await Promise.all([carried(), carried()]);
    expect(texts).to.deep.equal(['200', '200']);
    expect(askedFor(mark)).to.have.length(1);
  });

  it('are renewed for kube-apiserver’s 401 on an upgrade too, and for no 401 of an application', async () => {
    expect(await carried()).to.equal('200');
    const { certificate } = await stage().user();
    const client = stage().client(stage().direct, { certificate });
    const path = '/api/v1/namespaces/default/services/web/proxy/';
    const upgrade = { method: 'GET', path, headers: [...spdy.slice(0, 1), ['Upgrade', 'chat'] as const] };
    const unauthorized = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'Unauthorized', code: 401 };
    const answers: Readonly<Record<string, Buffer>> = {
      application: cannedAnswer(401, 'log in, please'),
      'kube-apiserver': cannedAnswer(401, { ...unauthorized, message: 'Unauthorized' }),
    };
    const renewals: Record<string, number> = {};
    for (const [who, answer] of Object.entries(answers)) {
      stage().tap.intercept = ({ target }) => (target === path ? { answer } : undefined);
      const mark = stage().tap.mark();
      await client.upgrade(upgrade);
      if (who === 'application') await client.ask({ method: 'GET', path });
      stage().tap.intercept = undefined;
      expect(await carried()).to.equal('200');
      renewals[who] = askedFor(mark).length;
      if (who === 'application') continue;
      // A second passes before another one may be asked for.
      while (askedFor(mark).length === 0) expect(await carried()).to.equal('200');
      renewals[who] = askedFor(mark).length;
    }
    expect(renewals).to.deep.equal({ application: 0, 'kube-apiserver': 1 });
  });

  it('towards kubelets of an account that was made anew under the name are no good, and are renewed once', async () => {
    const { sandbox } = stage();
    const config = parse(await readFile(sandbox.files.kexerConfig, 'utf8')) as { kubelet: Record<string, unknown> };
    const { certificateAuthority } = config.kubelet;
    const file = join(sandbox.dir, 'kexer-kubelet-token.yaml');
    const serviceAccount = 'kexec-system/kexer-kubelet';
    await writeFile(file, stringify({ ...config, kubelet: { certificateAuthority, serviceAccount } }));
    const kexer = await KexerProcess.start(file);
    try {
      const { token } = await stage().account();
      const client = stage().client({ ...stage().direct, port: kexer.port }, { token });
      const exec = { method: 'POST', path: `${pods}/demo/exec?command=true&stdout=true`, headers: spdy };
      const log = { method: 'GET', path: `${pods}/demo/log` };
      let first = await client.upgrade(exec);
      while (first.status === 503 || first.status === 401) first = await client.upgrade(exec);
      const text = (answer: Answer): string => (answer.status < 300 ? String(answer.status) : textOf(answer));
      const texts = [text(first), text(await client.ask(log))];
      const requests = (): number => askedOf(serviceAccount);
      const before = requests();
      const key = { ...impersonator, name: 'kexer-kubelet' };
      const { uid, resourceVersion, ...metadata } = structuredClone(sandbox.store.mustGet(key)).metadata;
      expect([uid, resourceVersion]).not.to.include(undefined);
      sandbox.store.delete(key);
      await stage().create(accounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata });
      texts.push(text(await client.upgrade(exec)), text(await client.upgrade(exec)), text(await client.ask(log)));
      const unknown =
        "502 the kubelet of node node1 does not accept kexer's credential (401): its client CA or token review must know it";
      expect(texts).to.deep.equal(['101', '200', unknown, '101', '200']);
      expect(requests() - before).to.equal(1);
      expect(kexer.output).not.to.match(/eyJ[\w-]+\.[\w-]+/);
    } finally {
      await kexer.stop();
    }
  });

  describe('in a kexer that can have none', () => {
    const cases: readonly (readonly [name: string, answer: Buffer, text: RegExp])[] = [
      [
        'because it may not',
        cannedAnswer(403, {
          kind: 'Status',
          apiVersion: 'v1',
          status: 'Failure',
          reason: 'Forbidden',
          message: 'User "system:serviceaccount:kexec-system:kexer" cannot create resource "serviceaccounts/token"',
          code: 403,
        }),
        /^502 Cannot get a token of kexer's impersonator: kexer needs the verb "create" on "serviceaccounts\/token" of its account$/,
      ],
      [
        'because its own credential is refused',
        cannedAnswer(401, { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'Unauthorized', code: 401 }),
        /^502 Cannot get a token of kexer's impersonator: kube-apiserver does not accept kexer's own credential$/,
      ],
      [
        'because kube-apiserver is away',
        cannedAnswer(503, 'etcdserver: request timed out'),
        /^503 Cannot get a token of kexer's impersonator: the apiserver answered 503$/,
      ],
      ['because the answer is nonsense', cannedAnswer(201, { kind: 'TokenRequest', status: { token: 7 } }), /^502 /],
    ];
    for (const [name, answer, text] of cases) {
      it(`${name}: callers without a token are told, those with one are served, and nobody goes out as kexer`, async () => {
        const other = await stage().another([], ({ target }) => (target === tokenPath ? { answer } : undefined));
        try {
          const { token } = await stage().account();
          const { certificate } = await stage().user();
          const direct = { ...stage().direct, port: other.kexer.port };
          const byToken = stage().client(direct, { token });
          const byCertificate = stage().client(direct, { certificate });
          let first = await byToken.ask({ method: 'GET', path: pods });
          while (first.status === 503 || first.status === 401) first = await byToken.ask({ method: 'GET', path: pods });
          expect(first.status).to.equal(200);
          const mark = other.tap.mark();
          expect(textOf(await byCertificate.ask({ method: 'GET', path: pods }))).to.match(text);
          expect(other.tap.forwarded(mark)).to.deep.equal([]);
        } finally {
          await other.stop();
        }
      });
    }
  });
});
