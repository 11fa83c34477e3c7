// A client of an apiserver whose connections go by a proxy: pooled and verified as without one, and what fails on the way is told and not tried again.

import { once } from 'node:events';
import { createServer as createHttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { systemClock } from '../../src/base/clock.ts';
import { describeError, KexerError } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import { generateAuthority, generateClient, type KeyPairPem } from '../../src/certs/generate.ts';
import { KubeClient } from '../../src/kube/client.ts';
import type { Credential, Endpoint } from '../../src/kube/credential.ts';
import { fixedCertificate, fixedToken } from '../../src/kube/sources.ts';
import { diedBeforeAnswer } from '../../src/kube/transport-error.ts';
import { HttpProxy } from '../../src/net/http-proxy.ts';
import { ConnectProxy, type ConnectProxyOptions } from '../support/connect-proxy.ts';
import { listening } from '../support/listening.ts';
import { servingPair, type TestPair } from '../support/serving-pair.ts';

describe('a client whose endpoint has a proxy', () => {
  let scope: Scope;
  let pair: TestPair;
  let users: KeyPairPem;
  /** What came in, as `METHOD PATH Authorization CN`. */
  let received: string[];
  let port: number;

  before(async () => {
    pair = await servingPair();
    users = await generateAuthority({ commonName: 'users' });
  });

  beforeEach(async () => {
    scope = new Scope();
    received = [];
    const server = createHttpsServer(
      { cert: pair.cert, key: pair.key, ca: [users.cert], requestCert: true, rejectUnauthorized: false },
      (request, response) => {
        const name = (request.socket as TLSSocket).getPeerCertificate().subject?.CN;
        received.push([request.method, request.url, request.headers.authorization, name].filter(Boolean).join(' '));
        response.setHeader('Content-Type', 'application/json');
        response.end('{}');
      },
    );
    port = await listening(scope, server);
  });
  afterEach(() => scope.close());

  function clientOf(
    via: { port: number } | 'straight',
    parts: Partial<Endpoint> = {},
    credential: Credential = { kind: 'none' },
    connectTimeoutMs = 5000,
  ): KubeClient {
    const proxy = via === 'straight' ? undefined : proxyAt(via.port);
    const url = `https://127.0.0.1:${port}`;
    const endpoint = {
      url,
      ca: pair.ca,
      isVerified: true,
      servername: undefined,
      ...(proxy === undefined ? {} : { proxy }),
      ...parts,
    };
    const client = new KubeClient(
      { clock: systemClock },
      { endpoint, credential, userAgent: 'kexer/test', connectTimeoutMs },
    );
    scope.add(() => client.close());
    return client;
  }

  function start(options: ConnectProxyOptions = {}): Promise<ConnectProxy> {
    return ConnectProxy.start(scope, options);
  }

  async function failure(promise: Promise<unknown>): Promise<KexerError> {
    const error: unknown = await promise.then(
      () => 'no failure',
      (reason: unknown) => reason,
    );
    if (!(error instanceof KexerError)) throw new Error(`want a KexerError, got ${String(error)}`);
    return error;
  }

  it('keeps its connections, one tunnel each', async () => {
    const proxy = await start();
    const client = clientOf(proxy, {}, { kind: 'token', token: fixedToken('the-token') });
    for (const path of ['/a', '/b', '/c']) await client.json({ target: path });
    await Promise.all([client.json({ target: '/d' }), client.json({ target: '/e' })]);
    expect(received.toSorted()).to.deep.equal(['a', 'b', 'c', 'd', 'e'].map((name) => `GET /${name} Bearer the-token`));
    expect(proxy.targets).to.deep.equal([`127.0.0.1:${port}`, `127.0.0.1:${port}`]);
    expect(proxy.heads.join('') + proxy.seen.join(''))
      .to.not.contain('the-token')
      .and.not.contain('GET /');
  });

  it('shows its certificate to the endpoint, not to the proxy', async () => {
    const proxy = await start();
    const certificate = fixedCertificate(await generateClient(users, { commonName: 'kexer' }));
    const client = clientOf(proxy, {}, { kind: 'certificate', certificate });
    await client.json({ target: '/a' });
    expect(received).to.deep.equal(['GET /a kexer']);
  });

  it('goes on when the proxy has closed what was idle', async () => {
    const proxy = await start();
    const client = clientOf(proxy);
    for (const path of ['/a', '/b', '/c']) {
      await client.json({ target: path });
      proxy.closeAll();
    }
    expect([received.length, proxy.targets.length]).to.deep.equal([3, 3]);
  });

  it('is refused what is not verified, in the same words as without a proxy', async () => {
    const proxy = await start();
    for (const parts of [{ ca: users.cert }, { servername: 'far.example' }]) {
      const through = await failure(clientOf(proxy, parts).json({ target: '/a' }));
      const straight = await failure(clientOf('straight', parts).json({ target: '/a' }));
      expect([through.code, describeError(through)]).to.deep.equal([straight.code, describeError(straight)]);
      expect(through.code).to.equal('tls');
    }
    expect(received).to.deep.equal([]);
  });

  it('does not dial what the guard refuses, nor asks the proxy', async () => {
    const proxy = await start();
    const guard = { problem: () => 'it is not allowed' };
    for (const url of [`https://127.0.0.1:${port}`, `https://localhost:${port}`]) {
      const error = await failure(clientOf(proxy, { url, guard }).json({ target: '/a' }));
      expect(error.code).to.equal('badGateway');
      expect(error.message).to.match(/^Cannot connect to "(?:127\.0\.0\.1|localhost" \(.*\))"?: it is not allowed$/);
    }
    expect(proxy.heads).to.deep.equal([]);
  });

  it('does not go to an endpoint without TLS', async () => {
    const proxy = await start();
    const error = await failure(clientOf(proxy, { url: `http://127.0.0.1:${port}` }).json({ target: '/a' }));
    expect([error.code, proxy.heads]).to.deep.equal(['config', []]);
  });

  const failures: readonly (readonly [what: string, options: ConnectProxyOptions, code: string, message: RegExp])[] = [
    [
      'refuses',
      { answer: ({ socket }) => void socket.end('HTTP/1.1 407 x\r\n\r\n') },
      'badGateway',
      /: the proxy 127\.0\.0\.1:\d+ answered 407 Proxy Authentication Required to CONNECT/,
    ],
    [
      'hangs up',
      { answer: ({ socket }) => void socket.end() },
      'unreachable',
      /: the proxy 127\.0\.0\.1:\d+ closed the connection before it answered$/,
    ],
    [
      'closes the tunnel',
      { answer: ({ socket }) => void socket.end('HTTP/1.1 200 OK\r\n\r\n') },
      'unreachable',
      /: the proxy 127\.0\.0\.1:\d+ opened a tunnel that was closed before TLS was established$/,
    ],
    [
      'resets the tunnel',
      {
        answer: ({ socket }) => {
          socket.write('HTTP/1.1 200 OK\r\n\r\n');
          socket.once('data', () => socket.resetAndDestroy()).resume();
        },
      },
      'unreachable',
      /: the proxy 127\.0\.0\.1:\d+ opened a tunnel that was closed before TLS was established$/,
    ],
  ];
  for (const [what, options, code, message] of failures) {
    it(`tells of a proxy that ${what}, and does not try again`, async () => {
      const proxy = await start(options);
      const error = await failure(clientOf(proxy).json({ target: '/a' }));
      expect([error.code, diedBeforeAnswer(error), proxy.heads.length]).to.deep.equal([code, false, 1]);
      expect(describeError(error)).to.match(message);
    });
  }

  it('tries a read again that died on a connection it had kept', async () => {
    const proxy = await start();
    const client = clientOf(proxy);
    await client.json({ target: '/a' });
    proxy.resetOnData();
    await client.json({ target: '/b' });
    expect([received, proxy.targets.length]).to.deep.equal([['GET /a', 'GET /b'], 2]);
  });

  for (const stage of ['proxy', 'TLS']) {
    it(`gives up a ${stage} that says nothing after its deadline, as unreachable`, async () => {
      const proxy = await start({
        answer: ({ socket }) => {
          if (stage === 'TLS') socket.write('HTTP/1.1 200 OK\r\n\r\n');
          socket.resume();
        },
      });
      const error = await failure(clientOf(proxy, {}, { kind: 'none' }, 50).json({ target: '/a' }));
      expect(error.code).to.equal('unreachable');
      expect(error.message).to.match(
        stage === 'TLS'
          ? /: no TLS through the proxy 127\.0\.0\.1:\d+ within 50 ms$/
          : /: the proxy 127\.0\.0\.1:\d+ did not answer within 50 ms$/,
      );
    });

    it(`ends the connection when nobody waits any more: ${stage}`, async () => {
      for (const end of ['abort', 'close'] as const) {
        const asked = Promise.withResolvers<Socket>();
        const proxy = await start({
          answer: ({ socket }) => {
            if (stage === 'TLS') socket.write('HTTP/1.1 200 OK\r\n\r\n');
            socket.resume();
            asked.resolve(socket);
          },
        });
        // Long enough that no deadline does it.
        const client = clientOf(proxy, {}, { kind: 'none' }, 60_000);
        const leaving = new AbortController();
        const call = failure(client.json({ target: '/a', signal: leaving.signal }));
        const socket = await asked.promise;
        if (stage === 'TLS') await once(socket, 'data');
        if (end === 'abort') leaving.abort();
        else await client.close();
        expect((await call).code).to.equal(end === 'abort' ? 'clientGone' : 'draining');
        if (!socket.destroyed) await once(socket, 'close');
      }
    });
  }

  it('heeds no proxy of the environment', async () => {
    const proxy = await start();
    const other = await start();
    const names = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'NODE_USE_ENV_PROXY'];
    const before = names.map((name) => process.env[name]);
    try {
      for (const name of names) process.env[name] = name === 'NODE_USE_ENV_PROXY' ? '1' : other.url;
      await clientOf(proxy).json({ target: '/a' });
      await clientOf('straight').json({ target: '/b' });
    } finally {
      for (const [index, name] of names.entries()) {
        const value = before[index];
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    }
    expect([received, proxy.targets.length, other.heads]).to.deep.equal([['GET /a', 'GET /b'], 1, []]);
  });
});

function proxyAt(port: number): HttpProxy {
  return new HttpProxy({}, { address: { isTls: false, host: '127.0.0.1', port }, userAgent: 'kexer/test' });
}
