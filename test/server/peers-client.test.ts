// One question to another kexer, over real TLS: what it carries, and what is made of an answer that is late, cut, too long, of another kind, or of
// somebody else.

import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';

import { expect } from 'chai';

import { codeOf, describeError } from '../../src/base/errors.ts';
import { systemClock } from '../../src/base/clock.ts';
import { Scope } from '../../src/base/scope.ts';
import { generateAuthority, generateServing, type KeyPairPem } from '../../src/certs/generate.ts';
import { PeerClient } from '../../src/server/peers-client.ts';
import type { PeerAddress } from '../../src/server/peers-directory.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { toldSession } from './support/session-stand.ts';

const servername = 'kexer.kexec-system.svc';
const order = { namespace: 'shop', name: 's1', uid: 'u', user: 'bob' };

interface Authority extends KeyPairPem {
  readonly ca: string;
}

async function authority(dnsName: string): Promise<Authority> {
  const made = await generateAuthority({ commonName: 'kexer-serving' });
  const pair = await generateServing(made, { commonName: 'kexer', dnsNames: [dnsName] });
  return { ...pair, ca: made.cert };
}

describe('PeerClient', () => {
  let ours: Authority;
  let strangers: Authority;
  let elsewhere: Authority;
  let scope: Scope;
  let clock: FakeClock;
  let trusted: { text: string };
  let client: PeerClient;

  before(async () => {
    [ours, strangers, elsewhere] = await Promise.all([
      authority(servername),
      authority(servername),
      authority('kexer.other.svc'),
    ]);
  });
  beforeEach(() => {
    scope = new Scope();
    clock = new FakeClock();
    trusted = { text: ours.ca };
    const token = { read: async () => 'peer-token', invalidate: () => {} };
    client = new PeerClient(
      { clock, token, authority: trusted },
      { servername, userAgent: 'kexer/test', maxAnswerBytes: 10_000 },
    );
    scope.add(() => client.close());
  });
  afterEach(() => scope.close());

  async function listening(server: Server): Promise<PeerAddress> {
    const sockets = new Set<Socket>();
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    scope.add(
      () =>
        new Promise<void>((resolve) => {
          for (const socket of sockets) socket.destroy();
          server.close(() => resolve());
        }),
    );
    return { name: 'kexer-1', host: '127.0.0.1', port: (server.address() as AddressInfo).port };
  }

  function serve(listener: RequestListener, pair: KeyPairPem = ours): Promise<PeerAddress> {
    const server = createServer({ key: pair.key, cert: pair.cert }, listener);
    server.on('tlsClientError', () => {});
    return listening(server);
  }

  /** Bytes instead of an answer, as soon as a request has begun. */
  function say(text: string): Promise<PeerAddress> {
    const server = createTlsServer({ key: ours.key, cert: ours.cert }, (socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end(text));
    });
    return listening(server);
  }

  const body = (text: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;

  async function failureOf(run: Promise<unknown>): Promise<string> {
    try {
      await run;
      return 'no failure';
    } catch (error) {
      return `${codeOf(error)}: ${describeError(error)}`;
    }
  }

  it('asks for a namespace, with the token of peers, and gives what is told', async () => {
    const seen: unknown[] = [];
    const told = { instance: 'x', sessions: [toldSession('a')] };
    const peer = await serve((request, response) => {
      const { method, url, headers } = request;
      const { authorization, accept } = headers;
      seen.push({ method, url, authorization, accept, userAgent: headers['user-agent'], auditId: headers['audit-id'] });
      response.end(JSON.stringify(told));
    });
    expect(await client.list(peer, 'shop', 'audit-1')).to.deep.equal(told);
    await client.list(peer, '');
    const common = { method: 'GET', authorization: 'Bearer peer-token', accept: 'application/json' };
    expect(seen).to.deep.equal([
      { ...common, url: '/peer/v1/sessions?namespace=shop', userAgent: 'kexer/test', auditId: 'audit-1' },
      { ...common, url: '/peer/v1/sessions', userAgent: 'kexer/test', auditId: undefined },
    ]);
  });

  it('gives an order as it is, and reads what came of it', async () => {
    let heard = '';
    const peer = await serve((request, response) => {
      request.setEncoding('utf8').on('data', (text: string) => (heard += text));
      request.once('end', () => response.end('{"outcome":"ending"}'));
    });
    expect(await client.end(peer, order, 'audit-1')).to.equal('ending');
    expect(JSON.parse(heard)).to.deep.equal(order);
  });

  describe('waits', () => {
    /** @returns how long until the question fails, in steps of the virtual clock. */
    async function patience(ask: (peer: PeerAddress) => Promise<unknown>, listener: RequestListener): Promise<string> {
      let onAsked = (): void => {};
      const asked = new Promise<void>((resolve) => {
        onAsked = resolve;
      });
      const peer = await serve((request, response) => {
        listener(request, response);
        onAsked();
      });
      const failure = failureOf(ask(peer));
      await asked;
      let waitedMs = 0;
      const isPending = async (): Promise<boolean> =>
        (await Promise.race([failure, new Promise((resolve) => void setImmediate(() => resolve('pending')))])) ===
        'pending';
      while (await isPending()) {
        if (waitedMs >= 10_000) return 'too long';
        clock.advance(500);
        waitedMs += 500;
      }
      return `${await failure} (${waitedMs} ms)`;
    }

    it('a second for a list that does not come', async () => {
      expect(
        await patience(
          (peer) => client.list(peer, ''),
          () => {},
        ),
      ).to.equal('timeout: it did not answer within 1 s (1000 ms)');
    });

    it('a second for a list that begins and does not end', async () => {
      const listener: RequestListener = (_request, response) => void response.write('{"instance":"x","sessions":[');
      expect(await patience((peer) => client.list(peer, ''), listener)).to.match(/^timeout: .* \(1000 ms\)$/);
    });

    it('three seconds for an order', async () => {
      expect(
        await patience(
          (peer) => client.end(peer, order, 'audit-1'),
          () => {},
        ),
      ).to.equal('timeout: it did not answer within 3 s (3000 ms)');
    });
  });

  const answers: readonly (readonly [what: string, text: string, failure: RegExp])[] = [
    ['no JSON', body('<html>'), /^badGateway: Cannot read the answer of another kexer: it is no JSON/],
    ['half of it', body('{"instance":"x","ses'), /^badGateway: .*it is no JSON/],
    ['nothing', body(''), /^badGateway: .*it is no JSON/],
    ['another object', body('{"kind":"Status"}'), /^badGateway: .*it has no list of sessions$/],
    ['a session that is none', body('{"instance":"x","sessions":[{}]}'), /^badGateway: .*one of its sessions is none$/],
    [
      'more than it may',
      body(`{"instance":"${'x'.repeat(20_000)}"}`),
      /^badGateway: its answer cannot be used: Cannot hold/,
    ],
    ['a refusal', 'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n', /^badGateway: it answered 401$/],
    ['an empty success', 'HTTP/1.1 204 No Content\r\n\r\n', /^badGateway: it answered 204$/],
    [
      'the way to somebody else',
      'HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n',
      /^badGateway: it answered 302$/,
    ],
    ['less than it promised', 'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}', /^cut: /],
    ['no HTTP', 'SSH-2.0-OpenSSH_9.6\r\n', /^(badGateway|unreachable|cut): /],
    ['the end', '', /^unreachable: /],
  ];
  for (const [what, text, failure] of answers) {
    it(`refuses ${what}`, async () => {
      expect(await failureOf(client.list(await say(text), ''))).to.match(failure);
    });
  }

  it('refuses an outcome that it does not know', async () => {
    expect(await failureOf(client.end(await say(body('{"outcome":"maybe"}')), order, 'a'))).to.match(
      /it has no outcome$/,
    );
  });

  it('shows its token to nobody whom the authority has not signed, or for another Service', async () => {
    const asked: string[] = [];
    for (const pair of [strangers, elsewhere]) {
      const peer = await serve((request, response) => {
        asked.push(request.headers.authorization ?? '');
        response.end();
      }, pair);
      trusted.text = pair === elsewhere ? elsewhere.ca : ours.ca;
      expect(await failureOf(client.list(peer, ''))).to.match(/^tls: /);
    }
    expect(asked).to.deep.equal([]);
  });

  it('trusts nobody while the authority is not known, and the new one as soon as it is', async () => {
    const peer = await serve((_request, response) => void response.end('{"instance":"x","sessions":[]}'), strangers);
    trusted.text = '';
    expect(await failureOf(client.list(peer, ''))).to.match(/^tls: /);
    trusted.text = strangers.ca;
    expect(await client.list(peer, '')).to.deep.equal({ instance: 'x', sessions: [] });
    trusted.text = ours.ca;
    expect(await failureOf(client.list(peer, ''))).to.match(/^tls: /);
  });

  it('says that nobody listens', async () => {
    const server = createTcpServer();
    const peer = await listening(server);
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
    expect(await failureOf(client.list(peer, ''))).to.match(/^unreachable: /);
  });

  it('closes connections to those that are no peers any more, and dials them anew if they come back', async () => {
    // Real time: a connection is kept for as long as the real one would be.
    const lasting = new PeerClient(
      { clock: systemClock, token: { read: async () => 't', invalidate: () => {} }, authority: trusted },
      { servername, userAgent: 'kexer/test' },
    );
    scope.add(() => lasting.close());
    let connections = 0;
    let onClosed = (): void => {};
    const closed = new Promise<void>((resolve) => {
      onClosed = resolve;
    });
    const server = createServer({ key: ours.key, cert: ours.cert }, (_request, response) => {
      response.end('{"instance":"x","sessions":[]}');
    });
    server.on('secureConnection', (socket) => {
      connections += 1;
      socket.once('close', onClosed);
    });
    const peer = await listening(server);
    await lasting.list(peer, '');
    await lasting.keep([peer]);
    await lasting.list(peer, '');
    expect(connections).to.equal(1);
    await lasting.keep([]);
    await closed;
    await lasting.list(peer, '');
    expect(connections).to.equal(2);
  });
});
