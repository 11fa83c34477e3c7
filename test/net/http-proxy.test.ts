// CONNECT to proxies that do as they should, and to such as do not: what they are sent, what becomes of their answers, and what is told.

import type { Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { codeOf } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import type { AddressGuard, Resolver } from '../../src/kube/address-guard.ts';
import { DialError, dialTcp, dialTls, type DialTlsOptions } from '../../src/net/dial.ts';
import { HttpProxy, type HttpProxyDeps, type HttpProxyOptions } from '../../src/net/http-proxy.ts';
import { readProxyUrl } from '../../src/net/proxy-url.ts';
import { ReadTap, tapReads } from '../../src/net/read-tap.ts';
import { SocketWriter } from '../../src/net/socket-writer.ts';
import { ConnectProxy, type ConnectProxyOptions } from '../support/connect-proxy.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { listening } from '../support/listening.ts';
import { servingPair, type TestPair } from '../support/serving-pair.ts';

const secret = 'user:hunter2';

describe('HttpProxy', () => {
  let scope: Scope;
  let pair: TestPair;

  before(async () => {
    pair = await servingPair();
  });
  beforeEach(() => {
    scope = new Scope();
  });
  afterEach(() => scope.close());

  function proxyAt(url: string, options: Partial<HttpProxyOptions> = {}, deps: HttpProxyDeps = {}): HttpProxy {
    const address = readProxyUrl(url);
    if ('problem' in address) throw new Error(address.problem);
    return new HttpProxy(deps, { address, userAgent: 'kexer/test', ...options });
  }

  async function start(options: ConnectProxyOptions = {}): Promise<ConnectProxy> {
    return ConnectProxy.start(scope, options);
  }

  /** A peer with TLS that gives back what it gets. */
  async function echo(onSocket: (socket: TLSSocket) => void = (socket) => void socket.pipe(socket)): Promise<number> {
    const server = createTlsServer({ cert: pair.cert, key: pair.key }, (socket) => {
      socket.on('error', () => {});
      onSocket(socket);
    });
    server.on('connection', (socket: Socket) => void socket.on('error', () => {}));
    server.on('tlsClientError', () => {});
    return listening(scope, server);
  }

  async function dial(options: Partial<DialTlsOptions> & { port: number }): Promise<TLSSocket> {
    const socket = await dialTls({
      host: '127.0.0.1',
      ca: [pair.ca],
      isVerified: true,
      timeoutMs: 5000,
      ...options,
    });
    scope.add(() => void socket.destroy());
    return socket;
  }

  async function failure(promise: Promise<unknown>): Promise<{ code: string; message: string; problem?: string }> {
    const outcome: unknown = await promise.then(
      () => 'no failure',
      (error: unknown) => error,
    );
    if (!(outcome instanceof Error)) throw new Error(String(outcome));
    const told = { code: codeOf(outcome), message: outcome.message };
    expect(JSON.stringify([told, outcome.stack, outcome.cause]))
      .to.not.contain('hunter2')
      .and.not.contain(Buffer.from(secret).toString('base64'));
    return outcome instanceof DialError && outcome.proxyProblem !== undefined
      ? { ...told, problem: outcome.proxyProblem }
      : told;
  }

  async function roundTrip(socket: Socket, text: string): Promise<string> {
    const answer = new Promise<string>((resolve) => {
      let got = '';
      socket.on('data', (chunk: Buffer) => {
        got += chunk.toString();
        if (got.length >= text.length) resolve(got);
      });
    });
    socket.write(text);
    return answer;
  }

  const resolverOf =
    (...addresses: readonly string[]): Resolver =>
    (_host, _options, done) =>
      done(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      );

  it('asks for the address and speaks TLS with the peer itself', async () => {
    const proxy = await start();
    const port = await echo();
    const socket = await dial({ port, proxy: proxyAt(proxy.url) });
    expect([await roundTrip(socket, 'through'), socket.authorized]).to.deep.equal(['through', true]);
    expect(proxy.heads).to.deep.equal([
      `CONNECT 127.0.0.1:${port} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUser-Agent: kexer/test\r\n\r\n`,
    ]);
    expect(proxy.seen.join('')).to.not.contain('through');
  });

  it('speaks TLS with a proxy that has it, and TLS with the peer inside', async () => {
    const proxy = await start({ tls: pair });
    const port = await echo();
    const http = proxyAt(proxy.url, { ca: () => pair.ca, credentials: () => secret });
    for (let round = 0; round < 2; round += 1) {
      const socket = await dial({ port, proxy: http });
      const text = 'x'.repeat(300_000);
      expect(await roundTrip(socket, text)).to.equal(text);
    }
    expect(proxy.targets).to.deep.equal([`127.0.0.1:${port}`, `127.0.0.1:${port}`]);
  });

  it('shows its credentials to the proxy, as they are now, and to nobody else', async () => {
    const proxy = await start();
    let received = '';
    const port = await echo((socket) => {
      socket.on('data', (chunk: Buffer) => {
        received += chunk.toString();
        socket.write(chunk);
      });
    });
    let credentials = secret;
    const http = proxyAt(proxy.url, { credentials: () => credentials });
    await roundTrip(await dial({ port, proxy: http }), 'one');
    credentials = 'ü:p:q ';
    await roundTrip(await dial({ port, proxy: http }), 'two');
    expect(proxy.heads.map((head) => /^Proxy-Authorization: Basic (.*)\r$/m.exec(head)?.[1] ?? '')).to.deep.equal([
      Buffer.from(secret).toString('base64'),
      Buffer.from('ü:p:q ', 'utf8').toString('base64'),
    ]);
    expect(received).to.equal('onetwo');
  });

  it('loses no byte that came with the answer', async () => {
    const answer = 'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.0 200 OK\r\nVia: 1.0 odd\r\n\r\nfirst';
    const proxy = await start({ answer: ({ socket }) => void socket.end(answer) });
    const http = proxyAt(proxy.url);
    const socket = await dialTcp({ host: '192.0.2.1', port: 1, timeoutMs: 5000, proxy: http });
    scope.add(() => void socket.destroy());
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    expect(text).to.equal('first');
  });

  it('hands a TLS peer what came with the answer, too', async () => {
    // The peer's whole first flight cannot come before its cause; what is no TLS is told as such.
    const proxy = await start({
      answer: ({ socket }) => socket.write('HTTP/1.1 200 OK\r\n\r\nSSH-2.0-OpenSSH_9.6\r\n'),
    });
    const { code } = await failure(dial({ port: 1, proxy: proxyAt(proxy.url) }));
    expect(code).to.equal('tls');
  });

  it('lets what is read be tapped and what is written be used again, as of any socket', async () => {
    for (const tls of [undefined, pair]) {
      const proxy = await start(tls === undefined ? {} : { tls });
      const port = await echo();
      const socket = await dial({ port, proxy: proxyAt(proxy.url, { ca: () => pair.ca }), tap: new ReadTap() });
      const wanted = 2 * 1024 * 1024;
      let sum = 0;
      let got = 0;
      let tapped = 0;
      const done = new Promise<void>((resolve) => {
        const take = (bytes: Buffer): void => {
          for (const byte of bytes) sum = (sum + byte) % 65_521;
          got += bytes.length;
          if (got === wanted) resolve();
        };
        tapReads(socket, (bytes) => {
          tapped += bytes.length;
          take(bytes);
        });
        socket.on('data', take);
      });
      const writer = new SocketWriter({ socket });
      const chunk = Buffer.alloc(16 * 1024);
      let expected = 0;
      for (let at = 0; at < wanted; at += chunk.length) {
        chunk.fill((at / chunk.length) % 251);
        for (const byte of chunk) expected = (expected + byte) % 65_521;
        writer.write(chunk);
        if (!writer.isWritable) await new Promise<void>((resolve) => writer.onDrain(resolve));
      }
      await done;
      expect([got, sum, tapped > wanted / 2]).to.deep.equal([wanted, expected, true]);
    }
  });

  describe('with a guard', () => {
    const only = (allowed: string): AddressGuard => ({
      problem: (_host, address) => (address === allowed ? undefined : 'it is not the one'),
    });

    it('names the address that was judged, never the name', async () => {
      const proxy = await start();
      const port = await echo();
      const http = proxyAt(proxy.url, {}, { resolver: resolverOf('10.0.0.1', '127.0.0.1') });
      await dial({ host: 'far.example', servername: 'localhost', port, proxy: http, guard: only('127.0.0.1') });
      expect(proxy.targets).to.deep.equal([`127.0.0.1:${port}`]);
      expect(proxy.heads.join('')).to.not.contain('far.example');
    });

    for (const host of ['far.example', '10.0.0.1']) {
      it(`is not asked for what the guard refuses: ${host}`, async () => {
        const proxy = await start();
        const http = proxyAt(proxy.url, {}, { resolver: resolverOf('10.0.0.1') });
        const told = await failure(dial({ host, port: 443, proxy: http, guard: only('127.0.0.2') }));
        expect(told).to.deep.equal({
          code: 'badGateway',
          message: `Cannot connect to ${host === '10.0.0.1' ? '"10.0.0.1"' : '"far.example" (10.0.0.1)'}: it is not the one`,
        });
        expect([proxy.heads, proxy.openCount]).to.deep.equal([[], 0]);
      });
    }

    it("does not judge the proxy's own address", async () => {
      const proxy = await start({ answer: ({ socket }) => socket.end('HTTP/1.1 403 Forbidden\r\n\r\n') });
      const told = await failure(
        dial({ host: '192.0.2.1', port: 443, proxy: proxyAt(proxy.url), guard: only('192.0.2.1') }),
      );
      expect(told.message).to.match(/answered 403 Forbidden to CONNECT 192\.0\.2\.1:443$/);
    });
  });

  it('tries each allowed address that the proxy cannot reach, of both families in turn', async () => {
    const port = await echo();
    const proxy = await start({
      answer: (request, self) => {
        if (request.target.startsWith('127.')) self.tunnel(request);
        else request.socket.end('HTTP/1.1 503 Service Unavailable\r\n\r\n');
      },
    });
    const resolver = resolverOf('2001:db8::1', '2001:db8::2', '127.0.0.1', '192.0.2.1');
    await dial({ host: 'localhost', port, proxy: proxyAt(proxy.url, {}, { resolver }) });
    expect(proxy.targets).to.deep.equal([`[2001:db8::1]:${port}`, `127.0.0.1:${port}`]);
    const none = resolverOf('2001:db8::1', '2001:db8::2', '2001:db8::3', '2001:db8::4', '2001:db8::5', '192.0.2.1');
    proxy.targets.length = 0;
    const told = await failure(dial({ host: 'far', port: 443, proxy: proxyAt(proxy.url, {}, { resolver: none }) }));
    expect([proxy.targets, told.message]).to.deep.equal([
      ['[2001:db8::1]:443', '192.0.2.1:443', '[2001:db8::2]:443', '[2001:db8::3]:443'],
      `Cannot connect to far:443: the proxy 127.0.0.1:${proxy.port} answered 503 Service Unavailable to CONNECT [2001:db8::1]:443`,
    ]);
  });

  it('says that names are resolved here', async () => {
    const resolver: Resolver = (_host, _options, done) => done(new Error('getaddrinfo ENOTFOUND far.example'), []);
    const proxy = await start();
    expect(
      await failure(dial({ host: 'far.example', port: 443, proxy: proxyAt(proxy.url, {}, { resolver }) })),
    ).to.deep.equal({
      code: 'unreachable',
      message:
        'Cannot connect to far.example:443: getaddrinfo ENOTFOUND far.example (names are resolved here, not by the proxy)',
    });
    expect(proxy.heads).to.deep.equal([]);
  });

  describe('tells of a proxy that', () => {
    const answers: readonly (readonly [what: string, answer: string, code: string, problem: string | RegExp])[] = [
      [
        'asks for credentials',
        'HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\n\r\n',
        'badGateway',
        /^answered 407 Proxy Authentication Required to CONNECT 192\.0\.2\.1:443; it wants another user or password than those of clusters\.proxyCredentialsFile$/,
      ],
      [
        'refuses',
        'HTTP/1.1 403 Go away hunter2\r\n\r\n',
        'badGateway',
        'answered 403 Forbidden to CONNECT 192.0.2.1:443',
      ],
      [
        'cannot get there',
        'HTTP/1.1 502 Bad Gateway\r\n\r\n',
        'badGateway',
        'answered 502 Bad Gateway to CONNECT 192.0.2.1:443',
      ],
      [
        'has waited',
        'HTTP/1.1 504 Gateway Timeout\r\n\r\n',
        'badGateway',
        'answered 504 Gateway Timeout to CONNECT 192.0.2.1:443',
      ],
      [
        'redirects',
        'HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n',
        'badGateway',
        'answered 302 Found to CONNECT 192.0.2.1:443',
      ],
      [
        'switches protocols',
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n',
        'badGateway',
        'answered 101 Switching Protocols to CONNECT 192.0.2.1:443',
      ],
      [
        'has a page for people',
        '<html><h1>hunter2</h1></html>\r\n\r\n',
        'badGateway',
        'gave an answer that is no whole head of HTTP/1.1',
      ],
      [
        'sends back what it got',
        'HTTP/1.1 200 OK\r\nProxy-Authorization : Basic dXNlcjpodW50ZXIy\r\n\r\n',
        'badGateway',
        'gave an answer that is no whole head of HTTP/1.1',
      ],
      ['is no proxy', 'SSH-2.0-OpenSSH_9.6\r\n', 'badGateway', 'gave an answer that is no whole head of HTTP/1.1'],
      [
        'speaks HTTP/2',
        'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
        'badGateway',
        'gave an answer that is no whole head of HTTP/1.1',
      ],
      ['hangs up in the head', 'HTTP/1.1 200 OK\r\n', 'badGateway', 'gave an answer that is no whole head of HTTP/1.1'],
      ['hangs up', '', 'unreachable', 'closed the connection before it answered'],
      [
        'never comes to the point',
        `${'HTTP/1.1 100 Continue\r\n\r\n'.repeat(10)}HTTP/1.1 200 OK\r\n\r\n`,
        'badGateway',
        'gave an answer that is no whole head of HTTP/1.1',
      ],
      [
        'has an endless head',
        `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}`,
        'badGateway',
        'gave an answer that is no whole head of HTTP/1.1',
      ],
      [
        'opens the tunnel and closes it',
        'HTTP/1.1 200 OK\r\n\r\n',
        'unreachable',
        'opened a tunnel that was closed before TLS was established',
      ],
    ];
    for (const [what, answer, code, problem] of answers) {
      it(what, async () => {
        const proxy = await start({ answer: ({ socket }) => void socket.end(answer, 'latin1') });
        const told = await failure(
          dial({ host: '192.0.2.1', port: 443, proxy: proxyAt(proxy.url, { credentials: () => secret }) }),
        );
        const name = `the proxy 127.0.0.1:${proxy.port}`;
        expect([told.code, told.message]).to.deep.equal([
          code,
          `Cannot connect to 192.0.2.1:443: ${told.problem ?? ''}`,
        ]);
        expect(told.problem?.slice(0, name.length)).to.equal(name);
        const rest = told.problem?.slice(name.length + 1) ?? '';
        if (typeof problem === 'string') expect(rest).to.equal(problem);
        else expect(rest).to.match(problem);
      });
    }

    it('asks for credentials where there are none', async () => {
      const proxy = await start({ answer: ({ socket }) => void socket.end('HTTP/1.1 407 x\r\n\r\n') });
      const { problem } = await failure(dial({ host: '192.0.2.1', port: 443, proxy: proxyAt(proxy.url) }));
      expect(problem).to.match(/; it wants a user and a password: set clusters\.proxyCredentialsFile$/);
    });

    it('is not there', async () => {
      const told = await failure(dial({ port: 443, proxy: proxyAt('http://127.0.0.1:1') }));
      expect([told.code, told.problem]).to.deep.equal([
        'unreachable',
        'the proxy 127.0.0.1:1 cannot be reached: connect ECONNREFUSED 127.0.0.1:1',
      ]);
    });

    it('resets the connection', async () => {
      const proxy = await start({ accept: (socket) => void socket.resetAndDestroy() });
      const told = await failure(dial({ port: 443, proxy: proxyAt(proxy.url) }));
      expect(told.code).to.equal('unreachable');
      expect(told.problem).to.match(/closed the connection before it answered$|cannot be reached: .*ECONNRESET/);
    });

    it('is another than it says', async () => {
      const proxy = await start({ tls: pair });
      const told = await failure(dial({ port: 443, proxy: proxyAt(proxy.url) }));
      expect([told.code, told.problem]).to.deep.equal([
        'badGateway',
        `the proxy 127.0.0.1:${proxy.port} cannot be trusted: self-signed certificate in certificate chain; see clusters.proxyCaFile`,
      ]);
      expect(proxy.heads).to.deep.equal([]);
    });

    it('has no TLS where it should', async () => {
      const proxy = await start({ accept: (socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n') });
      const told = await failure(dial({ port: 443, proxy: proxyAt(proxy.url.replace('http:', 'https:')) }));
      expect(told.code).to.equal('badGateway');
      expect(told.problem).to.match(/ speaks no TLS that is understood: ERR_SSL_[A-Z_]+$/);
    });

    it('has credentials that cannot be used', async () => {
      const proxy = await start();
      const credentials = (): string => {
        throw new Error('no USER:PASSWORD');
      };
      const told = await failure(dial({ port: 443, proxy: proxyAt(proxy.url, { credentials }) }));
      expect(told.message).to.equal('no USER:PASSWORD');
      expect(proxy.openCount).to.equal(0);
    });
  });

  describe('within one deadline', () => {
    /** Moves virtual time when the proxy has got so far. */
    async function late(clock: FakeClock, ms: number, reached: Promise<unknown>): Promise<void> {
      await reached;
      clock.advance(ms);
    }

    it('gives up a proxy that says nothing', async () => {
      const clock = new FakeClock();
      const asked = Promise.withResolvers<void>();
      const proxy = await start({ answer: () => asked.resolve() });
      const dialled = failure(dial({ port: 443, proxy: proxyAt(proxy.url, {}, { clock }), clock }));
      await late(clock, 5000, asked.promise);
      const told = await dialled;
      expect([told.code, told.problem]).to.deep.equal([
        'unreachable',
        `the proxy 127.0.0.1:${proxy.port} did not answer within 5000 ms`,
      ]);
    });

    it('gives up a peer that says nothing in the tunnel, in what time is left', async () => {
      const clock = new FakeClock();
      const asked = Promise.withResolvers<void>();
      const spoken = Promise.withResolvers<void>();
      const proxy = await start({
        answer: ({ socket }) => {
          clock.advance(4000);
          socket.write('HTTP/1.1 200 OK\r\n\r\n');
          socket.once('data', () => spoken.resolve());
          socket.resume();
          asked.resolve();
        },
      });
      const dialled = failure(dial({ port: 443, proxy: proxyAt(proxy.url, {}, { clock }), clock }));
      await asked.promise;
      await late(clock, 1000, spoken.promise);
      expect(await dialled).to.deep.equal({
        code: 'timeout',
        message: 'Cannot connect to 127.0.0.1:443: no answer within 5000 ms',
      });
    });

    it('gives up a name that is not resolved', async () => {
      const clock = new FakeClock();
      const asked = Promise.withResolvers<void>();
      const proxy = await start();
      const http = proxyAt(proxy.url, {}, { clock, resolver: () => asked.resolve() });
      const dialled = failure(dial({ host: 'far.example', port: 443, proxy: http, clock }));
      await late(clock, 5000, asked.promise);
      const told = await dialled;
      expect([told.code, told.message]).to.deep.equal([
        'unreachable',
        'Cannot connect to far.example:443: its name was not resolved within 5000 ms (names are resolved here, not by the proxy)',
      ]);
    });

    for (const stage of ['name', 'proxy', 'answer', 'TLS'] as const) {
      it(`ends when nobody waits any more: ${stage}`, async () => {
        const leaving = new AbortController();
        const leave = (): void => leaving.abort();
        const proxy = await start({
          answer: ({ socket }) => {
            if (stage === 'answer') leave();
            if (stage !== 'TLS') return;
            socket.write('HTTP/1.1 200 OK\r\n\r\n');
            socket.once('data', leave);
            socket.resume();
          },
        });
        const resolver: Resolver = stage === 'name' ? leave : resolverOf('127.0.0.1');
        if (stage === 'proxy') leave();
        const http = proxyAt(proxy.url, {}, { resolver });
        const told = await failure(dial({ host: 'far.example', port: 443, proxy: http, signal: leaving.signal }));
        expect([told.code, told.message]).to.deep.equal(['clientGone', 'Cannot connect to far.example:443: cancelled']);
      });
    }
  });
});
