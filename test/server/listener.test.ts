// One TLS port: which protocol, which client, which deadlines; and that no connection's end is the process's.

import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import { generateAuthority, generateClient } from '../../src/certs/generate.ts';
import { Listener, type Connection } from '../../src/server/listener.ts';
import type { Exchange } from '../../src/server/request-context.ts';
import { servingPair, type TestPair } from '../support/serving-pair.ts';

describe('Listener', () => {
  let scope: Scope;
  let pair: TestPair;
  let listener: Listener;
  let port: number;
  let exchanges: { exchange: Exchange; connection: Connection }[];
  let onExchange: (exchange: Exchange, connection: Connection) => void;

  beforeEach(async () => {
    scope = new Scope();
    pair = await servingPair();
    exchanges = [];
    onExchange = (exchange) => {
      if (exchange.kind === 'request') exchange.response.end('served');
      else exchange.socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n');
    };
    listener = new Listener(
      { pair },
      {
        onExchange: (exchange, connection) => {
          exchanges.push({ exchange, connection });
          onExchange(exchange, connection);
        },
        onConnectionError: () => {},
      },
    );
    port = await listener.listen({ host: '127.0.0.1', port: 0 });
    scope.add(async () => {
      const drained = listener.drain();
      listener.destroy();
      await drained;
    });
  });

  afterEach(() => scope.close());

  async function connect(options: ConnectionOptions = {}): Promise<TLSSocket> {
    const socket = connectTls({ host: '127.0.0.1', port, ca: pair.ca, ALPNProtocols: ['http/1.1'], ...options });
    scope.add(() => void socket.destroy());
    socket.setEncoding('latin1');
    await once(socket, 'secureConnect');
    socket.on('error', () => {});
    return socket;
  }

  /** Everything until the server ends. */
  async function readAll(socket: TLSSocket): Promise<string> {
    let text = '';
    socket.on('data', (chunk: string) => {
      text += chunk;
    });
    if (!socket.destroyed) await once(socket, 'close');
    return text;
  }

  const plain = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';

  it('chooses AES-128-GCM of what a client offers, also after a change of certificate', async () => {
    const chosen = [(await connect()).getCipher().name];
    listener.replacePair(await servingPair());
    chosen.push((await connect({ rejectUnauthorized: false })).getCipher().name);
    expect(chosen).to.deep.equal(['TLS_AES_128_GCM_SHA256', 'TLS_AES_128_GCM_SHA256']);
  });

  it('speaks HTTP/2 and HTTP/1.1 on one port, and HTTP/1.1 to who knows no ALPN', async () => {
    const session = connectHttp2(`https://127.0.0.1:${port}`, { ca: pair.ca });
    scope.add(() => session.destroy());
    const stream = session.request({ ':path': '/two' });
    stream.setEncoding('utf8');
    const [body] = await once(stream, 'data');
    expect(body).to.equal('served');
    const one = await connect();
    one.write(plain);
    expect(await readAll(one)).to.match(/^HTTP\/1\.1 200 OK\r\n/);
    const none = await connect({ ALPNProtocols: [] });
    none.write(plain);
    expect(await readAll(none)).to.match(/^HTTP\/1\.1 200 OK\r\n/);
    expect(exchanges.map(({ exchange }) => [exchange.request.httpVersion, exchange.request.url])).to.deep.equal([
      ['2.0', '/two'],
      ['1.1', '/'],
      ['1.1', '/'],
    ]);
  });

  it('takes HTTP/2 of whoever offers both, and ends the handshake with whoever speaks neither', async () => {
    const both = await connect({ ALPNProtocols: ['http/1.1', 'h2'] });
    expect(both.alpnProtocol).to.equal('h2');
    const neither = connectTls({ host: '127.0.0.1', port, ca: pair.ca, ALPNProtocols: ['spdy/3'] });
    scope.add(() => void neither.destroy());
    const [error] = (await once(neither, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).to.equal('ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL');
    expect(exchanges).to.deep.equal([]);
  });

  it('shows the client certificate of either protocol, unjudged, as one object a connection', async () => {
    const stranger = await generateAuthority({ commonName: 'nobody-trusts-this' });
    const client = await generateClient(stranger, { commonName: 'mallory' });
    const session = connectHttp2(`https://127.0.0.1:${port}`, { ca: pair.ca, cert: client.cert, key: client.key });
    scope.add(() => session.destroy());
    for (const path of ['/a', '/b']) {
      const stream = session.request({ ':path': path });
      stream.resume();
      await once(stream, 'close');
    }
    const socket = await connect({ cert: client.cert, key: client.key });
    socket.write(plain);
    await readAll(socket);
    const peers = exchanges.map(({ connection }) => connection.peer);
    expect(peers.map((peer) => peer?.chain[0]?.subject)).to.deep.equal(['CN=mallory', 'CN=mallory', 'CN=mallory']);
    expect(peers[0]).to.equal(peers[1]);
    const bare = await connect();
    bare.write(plain);
    await readAll(bare);
    expect(exchanges.at(-1)?.connection).to.deep.include({ peer: undefined, remoteAddress: '127.0.0.1' });
  });

  // A resumed session has no certificate of its own: it would stay trusted after its CA is gone.
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    it(`never resumes a ${version} session`, async () => {
      const sessions: Buffer[] = [];
      const first = connectTls({ host: '127.0.0.1', port, ca: pair.ca, minVersion: version, maxVersion: version });
      scope.add(() => void first.destroy());
      first.on('session', (session) => sessions.push(session));
      await once(first, 'secureConnect');
      first.write(plain);
      await readAll(first);
      const session = sessions.at(-1) ?? first.getSession();
      const second = await connect({
        ...(session === undefined ? {} : { session }),
        minVersion: version,
        maxVersion: version,
      });
      expect(second.isSessionReused()).to.equal(false);
      second.write(plain);
      await readAll(second);
    });
  }

  it('hands an upgrade over with the bytes behind its head', async () => {
    const upgraded = new Promise<{ head: string; method: string | undefined }>((resolve) => {
      onExchange = (exchange) => {
        if (exchange.kind !== 'upgrade') return;
        resolve({ head: exchange.head.toString(), method: exchange.request.method });
        exchange.socket.destroy();
      };
    });
    const socket = await connect();
    socket.write(
      'POST /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\nbytes',
    );
    expect(await upgraded).to.deep.equal({ head: 'bytes', method: 'POST' });
  });

  it('keeps every header line, however many', async () => {
    const lines = Array.from({ length: 1500 }, (_, index) => `G: ${index}\r\n`).join('');
    const socket = await connect();
    socket.write(`GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${lines}\r\n`);
    await readAll(socket);
    expect(exchanges[0]?.exchange.request.rawHeaders).to.have.length(3004);
  });

  const refused: readonly (readonly [name: string, bytes: string, answer: RegExp])[] = [
    ['nonsense', 'nonsense\r\n\r\n', /^HTTP\/1\.1 400 Bad Request\r\n/],
    ['no Host', 'GET / HTTP/1.1\r\n\r\n', /^HTTP\/1\.1 400 Bad Request\r\n/],
    ['a folded header', 'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n', /^HTTP\/1\.1 400 Bad Request\r\n/],
    ['a bare LF', 'GET / HTTP/1.1\nHost: x\n\n', /^HTTP\/1\.1 400 Bad Request\r\n/],
    ['a header of 70 KiB', `GET / HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(70_000)}\r\n\r\n`, /^HTTP\/1\.1 431 /],
    ['CONNECT', 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1\.1 405 /],
    [
      'CL and TE',
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      /^HTTP\/1\.1 400 /,
    ],
  ];
  for (const [name, bytes, answer] of refused) {
    it(`refuses ${name} and closes`, async () => {
      const socket = await connect();
      socket.write(bytes);
      expect(await readAll(socket)).to.match(answer);
      expect(exchanges).to.have.length(0);
    });
  }

  it('goes on after garbage instead of TLS, cut handshakes and cut requests', async () => {
    for (const bytes of ['GET / HTTP/1.1\r\n\r\n', '\x16\x03\x01\x02\x00', '']) {
      const socket = connectTcp(port, '127.0.0.1');
      socket.on('error', () => {});
      await once(socket, 'connect');
      socket.write(bytes, 'latin1');
      socket.resume();
      socket.end();
      await once(socket, 'close');
    }
    for (const bytes of ['GET / HT', 'POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgr']) {
      const socket = await connect();
      socket.write(bytes, () => socket.destroy());
      await once(socket, 'close');
    }
    const socket = await connect();
    socket.write(plain);
    expect(await readAll(socket)).to.match(/served$/);
  });

  it('ends an HTTP/2 session that breaks the protocol, and no other', async () => {
    const other = connectHttp2(`https://127.0.0.1:${port}`, { ca: pair.ca });
    scope.add(() => other.destroy());
    const socket = await connect({ ALPNProtocols: ['h2'] });
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    socket.write('nonsense that is no frame');
    await readAll(socket);
    const stream = other.request({ ':path': '/' });
    stream.resume();
    const [headers] = await once(stream, 'response');
    expect(headers[':status']).to.equal(200);
  });

  it('ends an HTTP/2 session whose client resets streams without end (rapid reset, CVE-2023-44487)', async () => {
    onExchange = () => {};
    const socket = await connect({ ALPNProtocols: ['h2'] });
    const isOver = readAll(socket);
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    socket.write(frame({ type: 4, flags: 0, streamId: 0, payload: '' }));
    for (let streamId = 1; streamId < 100_000 && socket.writable; streamId += 2) {
      // :method GET, :path /, :scheme https, :authority x; then RST_STREAM CANCEL.
      socket.write(frame({ type: 1, flags: 5, streamId, payload: '828487410178' }));
      socket.write(frame({ type: 3, flags: 0, streamId, payload: '00000008' }));
      if (streamId % 100 === 1) {
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
      }
    }
    await isOver;
    expect(exchanges.length).to.be.lessThan(5000);
  });

  it('closes HTTP/2 connections whose client has closed its half', async () => {
    const socket = await connect({ ALPNProtocols: ['h2'] });
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    socket.write(Buffer.from('000000040000000000', 'hex'));
    await once(socket, 'data');
    socket.end();
    await readAll(socket);
  });

  it('serves a replaced certificate to new connections', async () => {
    const other = await generateAuthority({ commonName: 'another' });
    const before = await connect();
    listener.replacePair(other);
    const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false });
    scope.add(() => void socket.destroy());
    await once(socket, 'secureConnect');
    expect(socket.getPeerCertificate().subject.CN).to.equal('another');
    before.write(plain);
    expect(await readAll(before)).to.match(/served$/);
    socket.destroy();
  });

  it('drains: refuses new connections, ends idle ones, lets a request finish', async () => {
    const started = new Promise<Exchange>((resolve) => {
      onExchange = (exchange) => resolve(exchange);
    });
    const idle = await connect();
    const http2 = connectHttp2(`https://127.0.0.1:${port}`, { ca: pair.ca });
    await once(http2, 'connect');
    const busy = await connect();
    busy.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    const exchange = await started;
    const drained = listener.drain();
    const idleEnd = readAll(idle);
    const refusal = connectTcp(port, '127.0.0.1');
    const [error] = await once(refusal, 'error');
    expect(error).to.have.property('code', 'ECONNREFUSED');
    await once(http2, 'close');
    if (exchange.kind === 'request') exchange.response.end('done');
    expect(await readAll(busy)).to.match(/done$/);
    idle.destroy();
    await idleEnd;
    await drained;
  });

  describe('with a short deadline', () => {
    let slowPort: number;

    beforeEach(async () => {
      const slow = new Listener(
        { pair, headDeadlineMs: 60 },
        { onExchange: (exchange, connection) => onExchange(exchange, connection), onConnectionError: () => {} },
      );
      slowPort = await slow.listen({ host: '127.0.0.1', port: 0 });
      scope.add(async () => {
        const drained = slow.drain();
        slow.destroy();
        await drained;
      });
    });

    it('ends handshakes, heads and silent connections that take too long, and no body or upgrade', async () => {
      const bodies: string[] = [];
      onExchange = (exchange) => {
        if (exchange.kind === 'upgrade') return;
        exchange.request.on('data', (chunk: Buffer) => bodies.push(chunk.toString()));
        exchange.request.on('end', () => exchange.response.end('served'));
      };
      const upgraded = await connect({ port: slowPort });
      upgraded.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n');
      const uploading = await connect({ port: slowPort });
      uploading.write('POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\na');
      const handshaking = connectTcp(slowPort, '127.0.0.1');
      handshaking.resume();
      const silent = await connect({ port: slowPort });
      const dripping = await connect({ port: slowPort });
      dripping.write('GET / HTTP/1.1\r\nHost: x\r\nA');
      await once(handshaking, 'close');
      expect(await readAll(silent)).to.match(/^(HTTP\/1\.1 408 |$)/);
      expect(await readAll(dripping)).to.match(/^HTTP\/1\.1 408 /);
      expect(upgraded.destroyed).to.equal(false);
      uploading.write('b');
      expect(await readAll(uploading)).to.match(/served$/);
      expect(bodies).to.deep.equal(['a', 'b']);
    });
  });

  const unusable: readonly (readonly [options: { host: string; port: number }, message: RegExp])[] = [
    [{ host: '192.0.2.1', port: 0 }, /^Cannot listen on --bind-address 192\.0\.2\.1: it is no address of this machine/],
  ];
  for (const [options, message] of unusable) {
    it(`says what is wrong with ${options.host}`, async () => {
      const second = new Listener({ pair }, { onExchange: () => {}, onConnectionError: () => {} });
      const error: unknown = await second.listen(options).catch((reason: unknown) => reason);
      expect(error).to.be.instanceOf(KexerError).with.property('message').that.matches(message);
    });
  }

  it('says that a port is in use', async () => {
    const second = new Listener({ pair }, { onExchange: () => {}, onConnectionError: () => {} });
    const error: unknown = await second.listen({ host: '127.0.0.1', port }).catch((reason: unknown) => reason);
    expect(error).to.have.property(
      'message',
      `Cannot listen on --secure-port 127.0.0.1:${port}: it is in use, want a free port`,
    );
  });
});

function frame({
  type,
  flags,
  streamId,
  payload,
}: {
  type: number;
  flags: number;
  streamId: number;
  payload: string;
}): Buffer {
  const body = Buffer.from(payload, 'hex');
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, body]);
}
