import { once } from 'node:events';
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { expect } from 'chai';
import { Scope } from '../../src/base/scope.ts';
import { generateAuthority, generateClient, generateServing, type KeyPairPem } from '../../src/certs/generate.ts';
import { addressText, DialError, dialTcp, dialTls, type DialTlsOptions } from '../../src/net/dial.ts';
import { TlsMemory, TlsSessionCache } from '../../src/net/tls-memory.ts';
import { requestUpgrade } from '../../src/net/upgrade.ts';
import { codeOf } from '../../src/base/errors.ts';
import { FakeClock } from '../support/fake-clock.ts';

describe('dial', () => {
  let scope: Scope;
  let authority: KeyPairPem;
  let serving: KeyPairPem;
  before(async () => {
    authority = await generateAuthority({ commonName: 'kubelet-ca' });
    serving = await generateServing(authority, {
      commonName: 'node1',
      dnsNames: ['node1.example'],
      ipAddresses: ['127.0.0.1'],
    });
  });
  beforeEach(() => {
    scope = new Scope();
  });
  afterEach(() => scope.close());

  async function listen(server: Server): Promise<number> {
    server.on('connection', (socket: Socket) => {
      socket.on('error', () => {});
      scope.add(() => void socket.destroy());
    });
    scope.add(async () => {
      server.close();
      await once(server, 'close');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  async function listenTls(
    options: TlsOptions = {},
    onSocket: (socket: TLSSocket) => void = () => {},
  ): Promise<number> {
    return listen(
      createTlsServer(
        { cert: serving.cert, key: serving.key, ALPNProtocols: ['h2', 'http/1.1'], ...options },
        (socket) => {
          socket.on('error', () => {});
          onSocket(socket);
        },
      ),
    );
  }

  function tls(port: number, options: Partial<DialTlsOptions> = {}): Promise<TLSSocket> {
    const dialled = dialTls({
      host: '127.0.0.1',
      port,
      ca: [authority.cert],
      isVerified: true,
      timeoutMs: 5000,
      ...options,
    });
    return dialled.then((socket) => {
      scope.add(() => void socket.destroy());
      return socket;
    });
  }

  async function failure(promise: Promise<unknown>): Promise<DialError> {
    const outcome: unknown = await promise.then(
      () => 'no failure',
      (error: unknown) => error,
    );
    if (outcome instanceof DialError) return outcome;
    throw new Error(`want a DialError, got ${String(outcome)}`);
  }

  it('sends without delay: Nagle costs each small frame that follows another 40 ms', async () => {
    const without = (socket: Socket): unknown => {
      // What Node remembers of setNoDelay, by the description of its symbol.
      const symbol = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'kSetNoDelay');
      return symbol === undefined ? 'this Node has no such part' : Reflect.get(socket, symbol);
    };
    const plain = await dialTcp({ host: '127.0.0.1', port: await listen(createTcpServer()), timeoutMs: 5000 });
    scope.add(() => void plain.destroy());
    const secure = await tls(await listenTls());
    scope.add(() => void secure.destroy());
    expect([without(plain), without(secure)]).to.deep.equal([true, true]);
  });

  it('verifies by address and by name, and agrees on http/1.1', async () => {
    const port = await listenTls();
    const byAddress = await tls(port, { alpn: ['http/1.1'] });
    const byName = await tls(port, { servername: 'node1.example' });
    expect([byAddress.authorized, byAddress.alpnProtocol, byName.authorized]).to.deep.equal([true, 'http/1.1', true]);
  });

  it('keeps none of the shared pool of buffers alive for as long as a connection lives', async () => {
    const socket = await tls(await listenTls(), { alpn: ['http/1.1'] });
    const { ALPNProtocols: kept } = Reflect.get(socket, '_tlsOptions') as { ALPNProtocols: Buffer };
    expect([kept.toString('latin1'), kept.buffer.byteLength]).to.deep.equal(['\x08http/1.1', 9]);
  });

  it("names the certificate's names when the name is wrong", async () => {
    const port = await listenTls();
    const error = await failure(tls(port, { servername: 'node2.example' }));
    const { code, address, servername, subjectAltName, systemCode, message } = error;
    expect({ code, address, servername, subjectAltName, systemCode, message }).to.deep.equal({
      code: 'tls',
      address: `127.0.0.1:${port}`,
      servername: 'node2.example',
      subjectAltName: 'DNS:node1.example, IP Address:127.0.0.1',
      systemCode: 'ERR_TLS_CERT_ALTNAME_INVALID',
      message: `Cannot accept the certificate of 127.0.0.1:${port} for node2.example (its names: DNS:node1.example, IP Address:127.0.0.1)`,
    });
  });

  it("names the certificate's names when its CA is not ours", async () => {
    const other = await generateAuthority({ commonName: 'another' });
    const error = await failure(tls(await listenTls(), { ca: [other.cert] }));
    expect([error.code, error.systemCode, error.subjectAltName]).to.deep.equal([
      'tls',
      'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      'DNS:node1.example, IP Address:127.0.0.1',
    ]);
  });

  it('says that a certificate has no names', async () => {
    const nameless = await generateServing(authority, { commonName: '127.0.0.1' });
    const error = await failure(tls(await listenTls({ cert: nameless.cert, key: nameless.key })));
    expect([error.code, error.subjectAltName, error.message.endsWith('(its names: none)')]).to.deep.equal([
      'tls',
      '',
      true,
    ]);
  });

  it('takes any certificate when not verified', async () => {
    const socket = await tls(await listenTls(), { ca: [], isVerified: false, servername: 'whatever' });
    expect(socket.authorized).to.equal(false);
  });

  it('shows its client certificate', async () => {
    const client = await generateClient(authority, { commonName: 'kexer-kubelet' });
    const seen = new Promise<string>((resolve) => {
      void listenTls({ requestCert: true, ca: authority.cert }, (socket) =>
        resolve(`${socket.authorized} ${String(socket.getPeerCertificate().subject.CN)}`),
      ).then((port) => tls(port, { certificate: client }));
    });
    expect(await seen).to.equal('true kexer-kubelet');
  });

  it('a refused client certificate shows as tls at the first answer', async () => {
    const port = await listenTls({ requestCert: true, rejectUnauthorized: true, ca: authority.cert });
    const socket = await tls(port);
    const code = await requestUpgrade(
      socket,
      { method: 'GET', target: '/', headers: [['Host', 'h']] },
      { timeoutMs: 5000 },
    ).then(() => 'done', codeOf);
    expect(code).to.equal('tls');
  });

  it('resumes a session, only with the same peer and name', async () => {
    // Answering only what came back, so that the session's tickets are on their way before.
    const port = await listenTls({}, (socket) => socket.on('data', () => socket.write('HTTP/1.1 101 S\r\n\r\n')));
    const memory = new TlsMemory();
    const reused: boolean[] = [];
    for (const servername of ['127.0.0.1', '127.0.0.1', 'node1.example'])
      reused.push(await isReused(port, { memory, servername }));
    expect(reused).to.deep.equal([false, true, false]);
  });

  it('goes on with the session it has for as long as the peer takes it', async () => {
    const port = await listenTls({}, (socket) => socket.on('data', () => socket.write('HTTP/1.1 101 S\r\n\r\n')));
    const memory = new TlsMemory();
    const { sessions } = memory.for({ ca: [authority.cert], certificate: undefined });
    const key = `127.0.0.1:${port}/127.0.0.1`;
    await isReused(port, { memory });
    const first = sessions.get(key);
    expect(await isReused(port, { memory })).to.equal(true);
    // Each that came would be a buffer of its own for the life of a connection.
    expect(first).to.equal(sessions.get(key));
  });

  it('leaves one listener for errors, which holds nothing of the dial', async () => {
    const [first, second] = [await tls(await listenTls()), await tls(await listenTls())];
    const [listeners, others] = [first.listeners('error'), second.listeners('error')];
    expect(listeners.filter((listener) => others.includes(listener))).to.have.length(1);
  });

  it('resumes nothing after its CA or certificate changed, after ten minutes, or unverified', async () => {
    const port = await listenTls({}, (socket) => socket.on('data', () => socket.write('HTTP/1.1 101 S\r\n\r\n')));
    const clock = new FakeClock();
    const memory = new TlsMemory({ clock });
    const certificate = await generateClient(authority, { commonName: 'kexer' });
    const another = await generateAuthority({ commonName: 'another' });
    const ways: readonly Partial<DialTlsOptions>[] = [
      {},
      { ca: [authority.cert, another.cert] },
      { ca: [authority.cert, another.cert], certificate },
      { ca: [authority.cert, another.cert], certificate },
      { isVerified: false },
      { isVerified: false },
    ];
    const reused: boolean[] = [];
    for (const way of ways) reused.push(await isReused(port, { memory, ...way }));
    reused.push(await isReused(port, { memory }), await isReused(port, { memory }));
    clock.advance(10 * 60 * 1000);
    reused.push(await isReused(port, { memory }));
    expect(reused).to.deep.equal([false, false, false, true, false, false, false, true, false]);
    const untrusted = await failure(tls(port, { memory, ca: [another.cert] }));
    expect(untrusted.code).to.equal('tls');
  });

  /** Sessions of TLS 1.3 come with the first bytes read. */
  async function isReused(port: number, options: Partial<DialTlsOptions>): Promise<boolean> {
    const socket = await tls(port, options);
    await requestUpgrade(socket, { method: 'GET', target: '/', headers: [['Host', 'h']] }, { timeoutMs: 5000 });
    return socket.isSessionReused();
  }

  it('forgets a session after a failure', async () => {
    const memory = new TlsMemory();
    const { sessions } = memory.for({ ca: [authority.cert], certificate: undefined });
    const port = await listen(createTcpServer((socket) => socket.destroy()));
    sessions.set(`127.0.0.1:${port}/127.0.0.1`, Buffer.alloc(1));
    await failure(tls(port));
    await tls(port, { memory }).catch(() => undefined);
    expect(sessions.get(`127.0.0.1:${port}/127.0.0.1`)).to.equal(undefined);
  });

  it('is unreachable when refused, unknown, or hung up in the handshake', async () => {
    const closing = await listen(createTcpServer((socket) => socket.destroy()));
    const gone = await listen(createTcpServer());
    await scope.close();
    scope = new Scope();
    const hangUp = await listen(createTcpServer((socket) => socket.destroy()));
    const errors = [
      await failure(tls(closing)),
      await failure(dialTcp({ host: '127.0.0.1', port: gone, timeoutMs: 5000 })),
      await failure(dialTcp({ host: 'localhost', port: gone, timeoutMs: 5000 })),
      await failure(tls(hangUp)),
    ];
    expect(errors.map(({ code, systemCode }) => [code, systemCode])).to.deep.equal([
      ['unreachable', 'ECONNREFUSED'],
      ['unreachable', 'ECONNREFUSED'],
      ['unreachable', 'ECONNREFUSED'],
      ['unreachable', 'ECONNRESET'],
    ]);
    expect(errors[1]?.message).to.equal(`Cannot connect to 127.0.0.1:${gone}`);
  });

  it('fails as tls when the peer speaks something else', async () => {
    const port = await listen(createTcpServer((socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')));
    const error = await failure(tls(port));
    expect([error.code, error.message, error.subjectAltName]).to.deep.equal([
      'tls',
      `Cannot make a TLS connection to 127.0.0.1:${port}`,
      undefined,
    ]);
  });

  it('gives up after its deadline and when cancelled', async () => {
    const port = await listen(createTcpServer());
    const clock = new FakeClock();
    const late = failure(tls(port, { clock, timeoutMs: 700 }));
    clock.advance(700);
    const controller = new AbortController();
    const cancelled = failure(tls(port, { signal: controller.signal }));
    controller.abort();
    const before = failure(dialTcp({ host: '127.0.0.1', port, timeoutMs: 5000, signal: AbortSignal.abort() }));
    const errors = await Promise.all([late, cancelled, before]);
    expect(errors.map(({ code }) => code)).to.deep.equal(['timeout', 'clientGone', 'clientGone']);
    expect(errors[0]?.message).to.equal(`Cannot connect to 127.0.0.1:${port}: no answer within 700 ms`);
    expect(clock.pendingCount).to.equal(0);
  });

  it('dials TCP', async () => {
    const port = await listen(createTcpServer((socket) => socket.end('hi')));
    const socket = await dialTcp({ host: '127.0.0.1', port, timeoutMs: 5000 });
    scope.add(() => void socket.destroy());
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    expect([chunk.toString(), socket.listenerCount('error')]).to.deep.equal(['hi', 1]);
  });
});

describe('addressText', () => {
  it('puts brackets around IPv6', () => {
    expect([addressText({ host: '::1', port: 1 }), addressText({ host: 'h', port: 2 })]).to.deep.equal([
      '[::1]:1',
      'h:2',
    ]);
  });
});

describe('TlsSessionCache', () => {
  it('keeps the latest, the oldest written leaving first', () => {
    const cache = new TlsSessionCache({ maxEntries: 2 });
    for (const key of ['a', 'b', 'a', 'c']) cache.set(key, Buffer.from(key));
    const kept = ['a', 'b', 'c'].map((key) => cache.get(key)?.toString());
    cache.delete('a');
    expect([kept, cache.get('a')]).to.deep.equal([['a', undefined, 'c'], undefined]);
  });
});
