// Whatever a client does slowly ends: before anybody was authenticated with the connection, afterwards within what a request may take. And one
// address cannot hold the port against others. Deadlines here are real and short, since Node's own timers keep half of them.

import { once } from 'node:events';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { codeOf } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import { type Connection, Listener, type ListenerOptions } from '../../src/server/listener.ts';
import type { Exchange } from '../../src/server/request-context.ts';
import { servingPair, type TestPair } from '../support/serving-pair.ts';

const longMs = 3_600_000;
const patient = {
  headDeadlineMs: longMs,
  idleDeadlineMs: longMs,
  unreadBodyDeadlineMs: longMs,
  strangerDeadlineMs: longMs,
};

describe('Listener, with slow clients', () => {
  let scope: Scope;
  let pair: TestPair;
  let port: number;
  let errors: unknown[];
  let onExchange: (exchange: Exchange, connection: Connection) => void;

  before(async () => {
    pair = await servingPair();
  });

  beforeEach(() => {
    scope = new Scope();
    errors = [];
    onExchange = (exchange, connection) => {
      if (exchange.kind === 'upgrade') return;
      if (exchange.request.url === '/known') connection.markKnown();
      exchange.response.statusCode = exchange.request.url === '/known' ? 200 : 401;
      exchange.response.end('answer');
    };
  });

  afterEach(() => scope.close());

  async function start(options: Partial<ListenerOptions>): Promise<void> {
    const listener = new Listener(
      { pair, ...patient, ...options },
      {
        onExchange: (exchange, connection) => onExchange(exchange, connection),
        onConnectionError: (error) => errors.push(error),
      },
    );
    port = await listener.listen({ host: '127.0.0.1', port: 0 });
    scope.add(async () => {
      const drained = listener.drain();
      listener.destroy();
      await drained;
    });
  }

  async function connect(protocol: 'http/1.1' | 'h2' = 'http/1.1'): Promise<TLSSocket> {
    const socket = connectTls({ host: '127.0.0.1', port, ca: pair.ca, ALPNProtocols: [protocol] });
    socket.on('error', () => {});
    scope.add(() => void socket.destroy());
    socket.resume();
    await once(socket, 'secureConnect');
    return socket;
  }

  function open(options: Parameters<typeof connectHttp2>[1] = {}): ClientHttp2Session {
    const session = connectHttp2(`https://127.0.0.1:${port}`, { ca: pair.ca, ...options });
    session.on('error', () => {});
    scope.add(() => session.destroy());
    return session;
  }

  async function closed(socket: Socket | ClientHttp2Session): Promise<void> {
    if (!socket.destroyed) await once(socket, 'close');
  }

  /** Resolves with a request's answer, or when the connection is over. */
  function ask(socket: TLSSocket, text: string): Promise<void> {
    return new Promise((resolve) => {
      let received = '';
      const onData = (chunk: Buffer): void => {
        received += chunk.toString('latin1');
        if (received.endsWith('answer')) done();
      };
      const done = (): void => {
        socket.off('data', onData).off('close', done);
        resolve();
      };
      socket.on('data', onData).on('close', done);
      if (socket.destroyed) done();
      else socket.write(text);
    });
  }

  const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;

  describe('on a connection nobody has been authenticated on', () => {
    it('ends one that trickles the body of a refused request', async () => {
      await start({ strangerDeadlineMs: 200 });
      const socket = await connect();
      await ask(socket, 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n');
      socket.write('a');
      await closed(socket);
    });

    it('ends one that is kept alive by requests without a credential', async () => {
      await start({ strangerDeadlineMs: 200 });
      const socket = await connect();
      while (!socket.destroyed) await ask(socket, get('/'));
    });

    it('ends HTTP/2 that never says a word, or does not take its answer', async () => {
      await start({ strangerDeadlineMs: 200 });
      const silent = await connect('h2');
      const session = open({ settings: { initialWindowSize: 0 } });
      const stream = session.request({ ':path': '/' });
      stream.on('error', () => {});
      stream.resume();
      await once(stream, 'response');
      await closed(silent);
      if (!session.closed) await once(session, 'goaway');
    });

    it('lets the answer under way end', async () => {
      await start({ strangerDeadlineMs: 100 });
      let answer = (): void => {};
      onExchange = (exchange) => {
        if (exchange.kind === 'request') answer = () => void exchange.response.end('answer');
      };
      const socket = await connect();
      const asked = ask(socket, get('/'));
      const other = await connect();
      await closed(other); // younger, so the deadline of the first is over
      answer();
      await asked;
      await closed(socket);
    });

    it('keeps one on which somebody was authenticated', async () => {
      await start({ strangerDeadlineMs: 100 });
      const known = await connect();
      await ask(known, get('/known'));
      const session = open();
      const stream = session.request({ ':path': '/known' });
      stream.resume();
      await once(stream, 'close');
      await closed(await connect());
      expect([known.destroyed, session.destroyed]).to.deep.equal([false, false]);
    });
  });

  describe('on any connection', () => {
    it('ends one whose body does not come to its end after the answer', async () => {
      await start({ unreadBodyDeadlineMs: 100 });
      const socket = await connect();
      await ask(socket, 'POST /known HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n');
      await closed(socket);
    });

    it('keeps one whose body did', async () => {
      await start({ unreadBodyDeadlineMs: 100 });
      const socket = await connect();
      await ask(socket, 'POST /known HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n');
      socket.write('ok');
      const slow = await connect();
      await ask(slow, 'POST /known HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n');
      await closed(slow);
      await ask(socket, get('/known'));
    });

    it('ends HTTP/2 that sends no first request, or an endless head of one', async () => {
      await start({ headDeadlineMs: 150 });
      const silent = await connect('h2');
      const endless = await connect('h2');
      endless.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
      endless.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])); // SETTINGS
      endless.write(Buffer.from([0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82])); // HEADERS without END_HEADERS
      await closed(silent);
      await closed(endless);
    });

    it('ends idle HTTP/2, and not one with a quiet stream', async () => {
      await start({ idleDeadlineMs: 150 });
      onExchange = (exchange, connection) => {
        connection.markKnown();
        if (exchange.kind === 'request' && exchange.request.url === '/idle') exchange.response.end();
        else if (exchange.kind === 'request') (exchange.response as { writeHead(status: number): void }).writeHead(200);
      };
      const watching = open();
      await once(watching.request({ ':path': '/watch' }), 'response');
      const idle = open();
      const stream = idle.request({ ':path': '/idle' });
      stream.resume();
      await once(stream, 'close');
      await closed(idle);
      expect(watching.destroyed).to.equal(false);
    });
  });

  describe('of one address', () => {
    it('takes so many strangers and no more, until they are known or gone', async () => {
      await start({ maxStrangersPerSource: 2 });
      const first = await connect();
      const handshaking = connectTcp(port, '127.0.0.1');
      handshaking.on('error', () => {});
      scope.add(() => void handshaking.destroy());
      await once(handshaking, 'connect');
      const refused = connectTls({ host: '127.0.0.1', port, ca: pair.ca });
      const [error] = (await once(refused, 'error')) as [Error];
      expect(error).to.have.property('code', 'ECONNRESET');
      expect(errors.map(codeOf)).to.include('overLimit');
      // Another address has room.
      const other = connectTls({
        socket: connectTcp({ host: '127.0.0.1', port, localAddress: '127.0.0.2' }),
        ca: pair.ca,
      });
      scope.add(() => void other.destroy());
      await once(other, 'secureConnect');
      await ask(first, get('/known'));
      const next = await connect();
      next.destroy();
      await closed(next);
    });
  });
});
