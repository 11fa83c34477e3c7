// Attacks on credentials: a bearer token where browsers put it, kexer's own credentials when they are refused, and tokens that might
// end up in a log. Whoever calls must never be told of kexer's accounts, nor kexer's credentials be used for what its caller may not do.

import { expect } from 'chai';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { generateAuthority, generateClient } from '../../src/certs/generate.ts';
import { getAllHeaders, getHeader } from '../../src/protocol/raw-headers.ts';
import { secretWatch } from '../support/secret-watch.ts';
import type { Answer, Ask } from './support/http-client.ts';
import { clusterPath, useStage } from './support/stage.ts';
import { dialRaw, head, messageOf, sendUntilClosed } from './support/raw-client.ts';
import { cannedAnswer, type TappedRequest } from './support/wiretap.ts';

const host = 'Host: 127.0.0.1';
const demo = '/api/v1/namespaces/default/pods/demo';
const execPath = `${demo}/exec?command=true&stdout=true`;
const prefix = 'base64url.bearer.authorization.k8s.io.';
const encoded = (token: string): string => Buffer.from(token).toString('base64url');

const spdy = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'SPDY/3.1'],
  ['X-Stream-Protocol-Version', 'v4.channel.k8s.io'],
] as const;

const webSocket = (...protocols: readonly string[]): readonly (readonly [string, string])[] => [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'websocket'],
  ['Sec-WebSocket-Version', '13'],
  ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
  ...protocols.map((protocol) => ['Sec-WebSocket-Protocol', protocol] as const),
];

describe('credentials', () => {
  const stage = useStage();

  afterEach(() => {
    stage().tap.intercept = undefined;
  });

  describe('a bearer token in the WebSocket subprotocol', () => {
    const offers: Readonly<Record<string, (token: string) => readonly string[]>> = {
      'behind another': (token) => [`v5.channel.k8s.io, ${prefix}${encoded(token)}`],
      'in front of another': (token) => [`${prefix}${encoded(token)},v5.channel.k8s.io`],
      'on a line of its own': (token) => [`${prefix}${encoded(token)}`, 'v5.channel.k8s.io'],
    };
    for (const [name, offer] of Object.entries(offers)) {
      it(`is its caller’s identity, ${name}; it is not chosen, and does not travel on as a subprotocol`, async () => {
        const { name: user, token } = await stage().account();
        const client = stage().client(stage().direct, {});
        const mark = stage().tap.mark();
        const answer = await client.upgrade({ method: 'GET', path: execPath, headers: webSocket(...offer(token)) });
        expect({ status: answer.status, protocol: getHeader(answer.headers, 'Sec-WebSocket-Protocol') }).to.deep.equal({
          status: 101,
          protocol: 'v5.channel.k8s.io',
        });
        const [preflight] = stage().tap.forwarded(mark);
        expect(getAllHeaders(preflight?.headers ?? [], 'Authorization')).to.deep.equal([`Bearer ${token}`]);
        expect(preflight?.raw.toString('latin1')).not.to.match(/sec-websocket|base64url/i);
        const line = await stage().kexer.whenLogged((one) => one.msg === 'session started' && one['user'] === user);
        expect(JSON.stringify(line)).not.to.contain(encoded(token));
      });
    }

    it('is not sent on with an upgrade that kexer relays to kube-apiserver either', async () => {
      const { token } = await stage().account();
      const client = stage().client(stage().direct, {});
      const mark = stage().tap.mark();
      const path = '/api/v1/namespaces/default/services/web/proxy/socket';
      const protocols = [`chat, ${prefix}${encoded(token)}`, `${prefix.toUpperCase()}${encoded(token)}`];
      await client.upgrade({ method: 'GET', path, headers: webSocket(...protocols) });
      const [sent] = stage().tap.forwarded(mark);
      expect(getAllHeaders(sent?.headers ?? [], 'Sec-WebSocket-Protocol')).to.deep.equal(['chat']);
      expect(getAllHeaders(sent?.headers ?? [], 'Authorization')).to.deep.equal([`Bearer ${token}`]);
    });

    it('with one reading alone: two of them, none beside it, bad base64, a control character are a 401', async () => {
      const { token } = await stage().account();
      const { token: other } = await stage().account();
      const client = stage().client(stage().direct, {});
      const statuses: Record<string, number> = {};
      const bad: Readonly<Record<string, readonly string[]>> = {
        two: [`v5.channel.k8s.io, ${prefix}${encoded(token)}, ${prefix}${encoded(other)}`],
        alone: [`${prefix}${encoded(token)}`],
        padded: [`v5.channel.k8s.io, ${prefix}${Buffer.from(token).toString('base64url')}==`],
        'no base64url': [`v5.channel.k8s.io, ${prefix}+/${encoded(token)}`],
        'with a line end': [`v5.channel.k8s.io, ${prefix}${encoded(`${token}\r\nImpersonate-User: admin`)}`],
        'another case': [`v5.channel.k8s.io, ${prefix.toUpperCase()}${encoded(token)}`],
        empty: [`v5.channel.k8s.io, ${prefix}`],
      };
      for (const [name, protocols] of Object.entries(bad)) {
        const answer = await client.upgrade({ method: 'GET', path: execPath, headers: webSocket(...protocols) });
        statuses[name] = answer.status;
      }
      expect(statuses).to.deep.equal(Object.fromEntries(Object.keys(bad).map((name) => [name, 401])));
    });

    it('counts for a WebSocket’s upgrade alone, and never beside an Authorization header', async () => {
      const { token } = await stage().account();
      const line = `Sec-WebSocket-Protocol: v5.channel.k8s.io, ${prefix}${encoded(token)}`;
      const get = (...lines: readonly string[]): string =>
        head(`GET ${clusterPath}${demo} HTTP/1.1`, host, 'Connection: close', line, ...lines);
      const statuses = [];
      for (const lines of [[], ['Upgrade: websocket'], ['Authorization: Bearer nobodys']]) {
        statuses.push((await sendUntilClosed(stage().raw(), get(...lines)))[0]?.status);
      }
      expect(statuses).to.deep.equal([401, 401, 401]);
    });
  });

  describe('of the impersonator, refused by kube-apiserver', () => {
    const account = 'kexer-impersonator';
    const binding = {
      group: 'rbac.authorization.k8s.io',
      resource: 'clusterrolebindings',
      namespace: '',
      name: account,
    };

    const ways: readonly (readonly [name: string, ask: Ask & { isUpgrade?: boolean }])[] = [
      ['an ordinary call', { method: 'GET', path: demo }],
      ['a log', { method: 'GET', path: `${demo}/log` }],
      ['an exec, plain', { method: 'POST', path: execPath }],
      ['an exec by SPDY', { method: 'POST', path: execPath, headers: spdy, isUpgrade: true }],
      [
        'an exec by WebSocket',
        { method: 'GET', path: execPath, headers: webSocket('v5.channel.k8s.io'), isUpgrade: true },
      ],
      [
        'an upgrade that is relayed',
        {
          method: 'GET',
          path: '/api/v1/namespaces/default/services/web/proxy/',
          headers: webSocket('chat'),
          isUpgrade: true,
        },
      ],
    ];

    async function askAll(): Promise<Record<string, string>> {
      const { certificate } = await stage().user();
      const client = stage().client(stage().direct, { certificate });
      const answers: Record<string, string> = {};
      for (const [name, ask] of ways) {
        const answer = ask.isUpgrade === true ? await client.upgrade(ask) : await client.ask(ask);
        answers[name] = textOf(answer);
      }
      return answers;
    }

    it('by a 403, is a 502 that names the rights it needs and not its account; the log names both', async () => {
      const { store } = stage().sandbox;
      const kept = structuredClone(store.mustGet(binding));
      const subjects = kept['subjects'];
      store.mutate(binding, (draft) => {
        draft['subjects'] = [];
      });
      let answers: Record<string, string>;
      try {
        answers = await askAll();
      } finally {
        store.mutate(binding, (draft) => {
          draft['subjects'] = subjects;
        });
      }
      for (const [name, text] of Object.entries(answers)) {
        expect(text, name).to.match(
          /^502 .*impersonator.*"impersonate" on users, groups, userextras\/authentication\.kubernetes\.io\/credential-id/,
        );
        expect(text, name).not.to.match(/kexec-system|system:serviceaccount/);
      }
      const line = await stage().kexer.whenLogged(({ err }) => String(err).includes(account));
      expect(line.level).to.equal('error');
    });

    it('by a 401, is a 502: the caller, whose credential is fine, is not asked to log in', async () => {
      const status = {
        kind: 'Status',
        apiVersion: 'v1',
        status: 'Failure',
        message: 'Unauthorized',
        reason: 'Unauthorized',
        code: 401,
      };
      stage().tap.intercept = (request) =>
        isImpersonating(request) ? { answer: cannedAnswer(401, status) } : undefined;
      for (const [name, text] of Object.entries(await askAll())) {
        expect(text, name).to.match(/^502 .*does not accept the credential of kexer's impersonator/);
      }
    });

    it('is not confused with the caller’s own refusal, nor with that of an application behind a proxy', async () => {
      const { certificate, name } = await stage().user({ role: 'view' });
      const client = stage().client(stage().direct, { certificate });
      const refused = await client.ask({ method: 'GET', path: '/api/v1/namespaces/default/secrets' });
      expect(textOf(refused)).to.match(new RegExp(`^403 .*User "${name}" cannot list resource "secrets"`));
      stage().tap.intercept = ({ target }) =>
        target.includes('/proxy/')
          ? { answer: cannedAnswer(401, 'log in, please', [['WWW-Authenticate', 'Basic realm="app"']]) }
          : undefined;
      const app = await client.ask({ method: 'GET', path: '/api/v1/namespaces/default/services/web/proxy/' });
      expect([app.status, app.body.toString(), getHeader(app.headers, 'WWW-Authenticate')]).to.deep.equal([
        401,
        'log in, please',
        'Basic realm="app"',
      ]);
    });
  });

  describe('of kexer towards kubelets, refused', () => {
    it('by a 403 is a 502 that names node and right, on every way, and nothing of kexer’s account', async () => {
      const { store } = stage().sandbox;
      const binding = {
        group: 'rbac.authorization.k8s.io',
        resource: 'clusterrolebindings',
        namespace: '',
        name: 'kexer-kubelet',
      };
      const subjects = store.mustGet(binding)['subjects'];
      const { token } = await stage().account();
      const client = stage().client(stage().direct, { token });
      store.mutate(binding, (draft) => {
        draft['subjects'] = [];
      });
      const texts: string[] = [];
      try {
        texts.push(textOf(await client.upgrade({ method: 'POST', path: execPath, headers: spdy })));
        texts.push(
          textOf(await client.upgrade({ method: 'GET', path: execPath, headers: webSocket('v5.channel.k8s.io') })),
        );
        texts.push(textOf(await client.ask({ method: 'GET', path: `${demo}/log` })));
      } finally {
        store.mutate(binding, (draft) => {
          draft['subjects'] = subjects;
        });
      }
      const right = (verb: string): RegExp =>
        new RegExp(
          `^502 the kubelet of node node1 refuses kexer's credential \\(403\\): it needs verb "${verb}" on resource "nodes/proxy"$`,
        );
      expect(texts[0]).to.match(right('create'));
      expect(texts[1]).to.match(right('create'));
      expect(texts[2]).to.match(right('get'));
      expect(texts.join()).not.to.contain('kexer-kubelet');
    });

    it('by a 401 is a 502: a client must not take it for its own', async () => {
      const authority = await generateAuthority({ commonName: 'forgotten-ca' });
      const pair = await generateClient(authority, { commonName: 'kexer-kubelet' });
      const [cert, key] = [join(stage().sandbox.dir, 'forgotten.crt'), join(stage().sandbox.dir, 'forgotten.key')];
      await writeFile(cert, pair.cert);
      await writeFile(key, pair.key, { mode: 0o600 });
      const other = await stage().another(['--kubelet-client-certificate', cert, '--kubelet-client-key', key]);
      try {
        const { token } = await stage().account();
        const client = stage().client({ ...stage().direct, port: other.kexer.port }, { token });
        const exec = { method: 'POST', path: execPath, headers: spdy };
        let text = textOf(await client.upgrade(exec));
        // Until it has heard of its nodes.
        while (text.startsWith('503')) text = textOf(await client.upgrade(exec));
        expect(text).to.match(/^502 the kubelet of node node1 does not accept kexer's credential \(401\)/);
        expect(text).not.to.contain('kexer-kubelet');
      } finally {
        await other.stop();
      }
    });
  });

  it('of kexer are never a user’s: a call goes out with the caller’s token or the impersonator’s, and nothing else', async () => {
    const own = (await readFile(stage().sandbox.files.kexerKubeconfig, 'utf8')).match(/eyJ[\w.-]+/)?.[0] ?? '';
    const { token } = await stage().account();
    const { certificate } = await stage().user();
    const mark = stage().tap.mark();
    for (const credential of [{ token }, { certificate }]) {
      const client = stage().client(stage().direct, credential);
      await client.ask({ method: 'GET', path: demo });
      await client.ask({ method: 'GET', path: `${demo}/log` });
      await client.upgrade({ method: 'POST', path: execPath, headers: spdy });
    }
    const used = stage()
      .tap.forwarded(mark)
      .map(({ headers }) => ({
        bearer: getAllHeaders(headers, 'Authorization').map((value) => value.replace('Bearer ', '')),
        isImpersonating: getAllHeaders(headers, 'Impersonate-User').length === 1,
      }));
    expect(used).to.have.length(6);
    for (const { bearer, isImpersonating: impersonates } of used) {
      expect(bearer).to.have.length(1);
      expect(bearer[0] === own).to.equal(false);
      if (impersonates)
        expect(accountOf(bearer[0] ?? '')).to.equal('system:serviceaccount:kexec-system:kexer-impersonator');
      else expect(bearer[0] === token).to.equal(true);
    }
    // And kexer's own calls are never anybody's: they impersonate nobody.
    const ownCalls = stage().tap.requests.filter(
      ({ headers }) => getHeader(headers, 'Authorization') === `Bearer ${own}`,
    );
    expect(ownCalls.filter(isImpersonating)).to.deep.equal([]);
  });

  it('are in no line of the log, wherever a client puts them and however kexer fails', async () => {
    const { token } = await stage().account();
    const opaque = 'opaque-secret-of-somebody-0123456789';
    stage().secret(opaque);
    const lines = (secret: string): readonly (readonly string[])[] => [
      [`Authorization: Bearer ${secret}`],
      [`Authorization: Basic ${secret}`],
      [`Authorization: Bearer ${secret} ${secret}`],
      [`authorization: bearer ${secret}`],
      [`Authorization : Bearer ${secret}`],
      [`Cookie: token=${secret}`],
      [`Proxy-Authorization: Bearer ${secret}`],
      [`User-Agent: ${secret}`],
      [`Audit-ID: x ${secret}`],
      [`X-Forwarded-For: ${secret}`],
      [`Impersonate-User: ${secret}`],
      [`Impersonate-Extra-Token: ${secret}`],
      [`X-Remote-User: ${secret}`],
      [
        `Sec-WebSocket-Protocol: v5.channel.k8s.io, ${prefix}${encoded(secret)}`,
        'Connection: Upgrade',
        'Upgrade: websocket',
      ],
      [`Host: ${secret}`],
      [`Content-Length: ${secret}`],
      [`Transfer-Encoding: ${secret}`],
      [`Upgrade: ${secret}`, 'Connection: Upgrade'],
      [`X-Broken\x01: ${secret}`],
    ];
    // Who says their token in a command, or calls their client by it, has told kube-apiserver, whose audit log has both.
    secretWatch.search.ignore(token, 'the file audit.log');
    for (const secret of [token, opaque]) {
      for (const extra of lines(secret)) {
        const target = `${clusterPath}${demo}/exec?command=${secret}&token=${secret}`;
        await sendUntilClosed(stage().raw(), head(`GET ${target} HTTP/1.1`, host, 'Connection: close', ...extra));
      }
      // A request line of nonsense, and a head that is never whole.
      await sendUntilClosed(stage().raw(), `${secret}\r\n\r\n`);
      const socket = await dialRaw(stage().raw());
      socket.end(`GET / HTTP/1.1\r\nAuthorization: Bearer ${secret}`);
      await once(socket.resume(), 'close');
    }
    stage().secret(encoded(opaque));
    stage().secret(encoded(token));
    stage().check();
  });
});

function isImpersonating({ headers }: TappedRequest): boolean {
  return getHeader(headers, 'Impersonate-User') !== undefined;
}

/** Whose a service account token is. */
function accountOf(token: string): unknown {
  const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { sub?: unknown };
  return claims.sub;
}

/** `CODE MESSAGE` */
function textOf({ status, body, headers }: Answer): string {
  return `${status} ${messageOf({ status, headers, body: body.toString() })}`;
}
