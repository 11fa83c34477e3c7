// Ordinary calls byte by byte: what reaches the apiserver, what reaches the client, and what each sees when the other breaks off.

import { constants } from 'node:http2';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { ChunkedDecoder } from '../../src/protocol/framing.ts';
import { outer, startFront, startUpstream, type Front, type RawClient } from './support.ts';

const pods = `${outer}/api/v1/pods`;

describe('forward', () => {
  let scope: Scope;
  let peers: RawClient[];
  let onPeer: (peer: RawClient, index: number) => void;
  let front: Front;

  beforeEach(async () => {
    scope = new Scope();
    peers = [];
    onPeer = () => {};
    const port = await startUpstream(scope, (peer, index) => {
      peers.push(peer);
      onPeer(peer, index);
    });
    front = await startFront(scope, port);
  });

  afterEach(() => scope.close());

  /** Answers each connection's first request head with `answer`. */
  function answerWith(answer: string): void {
    onPeer = (peer) => {
      void peer.untilReceived('\r\n\r\n').then(() => peer.write(answer));
    };
  }

  async function ask(text: string): Promise<RawClient> {
    const client = await front.connect();
    client.write(text);
    return client;
  }

  const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok';

  it('sends the raw target and the end-to-end headers with the identity of the call alone', async () => {
    answerWith(ok);
    const client = await ask(
      `GET ${outer}/api/v1/pods?labelSelector=a%20b&x=%zz HTTP/1.1\r\nHost: kexer\r\nAccept: a\r\naccept: b\r\nUser-Agent: kubectl\r\n` +
        'Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nAuthorization: Bearer other\r\nImpersonate-User: root\r\nX-Remote-User: root\r\n' +
        'X-Forwarded-For: 1.2.3.4\r\nProxy-Authorization: x\r\nTE: trailers\r\nAccept-Encoding: gzip\r\n\r\n',
    );
    await client.untilReceived('ok');
    const lines = (peers[0]?.received ?? '').split('\r\n');
    expect(lines[0]).to.equal('GET /api/v1/pods?labelSelector=a%20b&x=%zz HTTP/1.1');
    expect(
      lines
        .slice(1)
        .filter((line) => line !== '' && !/^(host|connection):/i.test(line))
        .toSorted(),
    ).to.deep.equal(
      [
        'Accept: a',
        'Accept-Encoding: gzip',
        'Audit-ID: audit-1',
        'Authorization: Bearer alices-token',
        'User-Agent: kubectl',
        'X-Forwarded-For: 127.0.0.1',
        'accept: b',
      ].toSorted(),
    );
  });

  it('passes status, headers and body as they are, but for what concerns the connection', async () => {
    answerWith(
      'HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nWarning: 299 - "a"\r\nWarning: 299 - "b"\r\nAudit-Id: x\r\n' +
        'Retry-After: 1\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nno',
    );
    const client = await ask(`GET ${pods} HTTP/1.1\r\nHost: kexer\r\n\r\n`);
    await client.untilReceived('\r\n\r\nno');
    const [head = '', body] = client.received.split('\r\n\r\n');
    expect(body).to.equal('no');
    expect(head.split('\r\n').filter((line) => !/^(connection|keep-alive): /i.test(line))).to.deep.equal([
      'HTTP/1.1 429 Too Many Requests',
      'Content-Type: application/json',
      'Warning: 299 - "a"',
      'Warning: 299 - "b"',
      'Audit-Id: x',
      'Retry-After: 1',
      'Date: Sat, 01 Jan 2000 00:00:00 GMT',
      'Content-Length: 2',
    ]);
    expect(head).to.not.match(/timeout=1\b|X-Hop/);
  });

  const bodiless: readonly (readonly [method: string, answer: string, pattern: RegExp])[] = [
    ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', /^HTTP\/1\.1 200 OK\r\nContent-Length: 5\r\n/],
    ['GET', 'HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n', /^HTTP\/1\.1 204 No Content\r\nX: 1\r\n/],
    ['GET', 'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n', /^HTTP\/1\.1 304 Not Modified\r\nETag: "a"\r\n/],
  ];
  for (const [method, answer, pattern] of bodiless) {
    it(`passes ${method} ${answer.slice(9, 12)} without a body, and the connection goes on`, async () => {
      answerWith(answer);
      const client = await ask(`${method} ${pods} HTTP/1.1\r\nHost: kexer\r\n\r\n`);
      await client.untilReceived('\r\n\r\n');
      expect(client.received).to.match(pattern);
      expect(client.received).to.match(/\r\n\r\n$/);
      const first = client.received.length;
      client.write(`${method} ${pods} HTTP/1.1\r\nHost: kexer\r\n\r\n`);
      await peers[0]?.until((peer) => peer.received.split('\r\n\r\n').length > 2);
      peers[0]?.write(answer);
      await client.until(({ received }) => received.length >= first * 2);
      expect(client.received.slice(first)).to.match(pattern);
    });
  }

  it('passes each event of a watch when it comes, and the head before the first', async () => {
    const client = await ask(`GET ${pods}?watch=1 HTTP/1.1\r\nHost: kexer\r\n\r\n`);
    await until(() => peers.length === 1);
    const peer = await peers[0]!.untilReceived('\r\n\r\n');
    peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
    await client.untilReceived('\r\n\r\n');
    peer.write('5\r\nfirst\r\n');
    await client.untilReceived('first');
    peer.write('6\r\nsecond\r\n0\r\n\r\n');
    await client.untilReceived('0\r\n\r\n');
    expect(client.received.split('\r\n\r\n').slice(1).join('\r\n\r\n')).to.equal(
      '5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n',
    );
  });

  it('slows the apiserver down when the client does not read', async () => {
    const chunk = Buffer.alloc(64 * 1024, 'x');
    let sent = 0;
    const isStuck = new Promise<void>((resolve) => {
      onPeer = (peer) => {
        void peer.untilReceived('\r\n\r\n').then(() => {
          peer.write('HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n');
          while (peer.socket.write(chunk)) sent += chunk.length;
          const more = (): void => {
            while (sent < 1073741824 && peer.socket.write(chunk)) sent += chunk.length;
            // Every buffer on the way is full when no drain comes for many turns of the event loop.
            idle = 0;
          };
          let idle = 0;
          peer.socket.on('drain', more);
          const turn = (): void => {
            idle += 1;
            if (idle > 300 || peer.isClosed) resolve();
            else setImmediate(turn);
          };
          turn();
        });
      };
    });
    const client = await front.connect();
    client.socket.pause();
    client.write(`GET ${pods} HTTP/1.1\r\nHost: kexer\r\n\r\n`);
    await isStuck;
    // The sockets' own buffers take some megabytes on loopback; kexer adds well under one.
    expect(sent).to.be.lessThan(32 * 1024 * 1024);
  });

  it('ends the call when the client leaves', async () => {
    const client = await ask(`GET ${pods}?watch=1 HTTP/1.1\r\nHost: kexer\r\n\r\n`);
    await until(() => peers.length === 1);
    await peers[0]!.untilReceived('\r\n\r\n');
    peers[0]!.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n');
    await client.untilReceived('first');
    client.socket.destroy();
    await peers[0]!.until((peer) => peer.isEnded || peer.isClosed);
  });

  it('ends the call when an HTTP/2 client resets its stream', async () => {
    const session = front.connectHttp2();
    const stream = session.request({ ':path': `${pods}?watch=1` });
    stream.on('error', () => {});
    await until(() => peers.length === 1);
    await peers[0]!.untilReceived('\r\n\r\n');
    stream.close(constants.NGHTTP2_CANCEL);
    await peers[0]!.until((peer) => peer.isEnded || peer.isClosed);
  });

  const cuts: readonly (readonly [name: string, start: string])[] = [
    ['chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n'],
    ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst'],
  ];
  for (const [name, start] of cuts) {
    it(`breaks off an HTTP/1.1 answer whose body (${name}) is cut`, async () => {
      onPeer = (peer) => {
        void peer.untilReceived('\r\n\r\n').then(() => {
          peer.write(start);
        });
      };
      const client = await ask(`GET ${pods} HTTP/1.1\r\nHost: kexer\r\n\r\n`);
      await client.untilReceived('first');
      peers[0]!.socket.destroy();
      await client.until(({ isEnded, isClosed }) => isEnded || isClosed);
      expect(client.received).to.not.match(/0\r\n\r\n$/);
    });

    it(`resets an HTTP/2 answer whose body (${name}) is cut`, async () => {
      answerWith(start);
      const session = front.connectHttp2();
      const stream = session.request({ ':path': pods });
      const closed = new Promise<number>((resolve) => {
        stream.on('error', () => {});
        stream.once('close', () => resolve(stream.rstCode));
      });
      stream.once('data', () => peers[0]?.socket.destroy());
      expect(await closed).to.equal(constants.NGHTTP2_INTERNAL_ERROR);
    });
  }

  it('sends a body of known length with its length, a chunked one in chunks', async () => {
    answerWith(ok);
    const first = await ask(`PUT ${pods} HTTP/1.1\r\nHost: kexer\r\nContent-Length: 5\r\n\r\nhello`);
    await first.untilReceived('ok');
    const second = await ask(
      `POST ${pods} HTTP/1.1\r\nHost: kexer\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
    );
    await second.untilReceived('ok');
    expect(peers.map(({ received }) => bodyOf(received))).to.deep.equal([
      { framing: 'length', body: 'hello', rest: '' },
      { framing: 'chunked', body: 'hello', rest: '' },
    ]);
  });

  it('sends a body in chunks while it comes in chunks', async () => {
    answerWith(ok);
    const client = await ask(
      `POST ${pods} HTTP/1.1\r\nHost: kexer\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`,
    );
    await until(() => peers.length === 1);
    await peers[0]!.untilReceived('hello');
    client.write('6\r\n world\r\n0\r\n\r\n');
    await peers[0]!.untilReceived('0\r\n\r\n');
    expect(bodyOf(peers[0]!.received)).to.deep.equal({ framing: 'chunked', body: 'hello world', rest: '' });
  });

  // CVE-2026-29057: http-proxy sends the body of a chunked DELETE without framing, so that it becomes a request of its own, with the rights of
  // whoever uses the connection next.
  it('never makes a second request of the body of a chunked DELETE (CVE-2026-29057)', async () => {
    answerWith(ok);
    const smuggled = `DELETE ${pods}/victim HTTP/1.1\r\nHost: x\r\n\r\n`;
    const client = await ask(
      `DELETE ${pods}/mine HTTP/1.1\r\nHost: kexer\r\nTransfer-Encoding: chunked\r\n\r\n${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`,
    );
    await client.untilReceived('ok');
    expect(peers).to.have.length(1);
    expect(peers[0]!.received).to.match(/^DELETE \/api\/v1\/pods\/mine HTTP\/1\.1\r\n/);
    expect(bodyOf(peers[0]!.received)).to.deep.include({ body: smuggled, rest: '' });
  });

  const ambiguous: readonly string[] = [
    'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello',
    'Content-Length: +5\r\n\r\nhello',
    'Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n',
  ];
  for (const rest of ambiguous) {
    it(`refuses a body with two readings: ${JSON.stringify(rest.split('\r\n\r\n')[0])}`, async () => {
      const client = await ask(`POST ${pods} HTTP/1.1\r\nHost: kexer\r\n${rest}`);
      await client.untilReceived('\r\n\r\n');
      expect(client.received).to.match(/^HTTP\/1\.1 400 Bad Request\r\n/);
      expect(peers).to.have.length(0);
    });
  }

  it('breaks a request off when its HTTP/1.1 client leaves in the middle of the body', async () => {
    const client = await ask(
      `POST ${pods} HTTP/1.1\r\nHost: kexer\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`,
    );
    await until(() => peers.length === 1);
    await peers[0]!.untilReceived('hello');
    client.socket.destroy();
    await peers[0]!.until((peer) => peer.isEnded || peer.isClosed);
    expect(peers[0]!.received).to.match(/5\r\nhello(?:\r\n)?$/);
  });

  // Node's HTTP/2 streams emit 'end' for a body that was reset, before they emit 'aborted'.
  for (const code of [constants.NGHTTP2_CANCEL, constants.NGHTTP2_NO_ERROR]) {
    it(`never ends a body that an HTTP/2 client reset with code ${code}`, async () => {
      const session = front.connectHttp2();
      const stream = session.request({ ':method': 'POST', ':path': pods });
      stream.on('error', () => {});
      stream.write('hello');
      await until(() => peers.length === 1);
      await peers[0]!.untilReceived('hello');
      stream.close(code);
      await peers[0]!.until((peer) => peer.isEnded || peer.isClosed);
      expect(peers[0]!.received).to.match(/5\r\nhello(?:\r\n)?$/);
    });
  }

  it('passes an HTTP/2 body to its end', async () => {
    answerWith('HTTP/1.1 201 Created\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmade');
    const session = front.connectHttp2();
    const stream = session.request({ ':method': 'POST', ':path': pods, 'content-type': 'application/json' });
    stream.write('{"a":');
    stream.end('1}');
    const answer = await readHttp2(stream);
    expect(answer).to.deep.equal({ status: 201, body: 'made' });
    expect(bodyOf(peers[0]!.received)).to.deep.include({ body: '{"a":1}', rest: '' });
  });

  it('answers 100-continue itself and does not pass Expect on', async () => {
    answerWith(ok);
    const client = await ask(
      `POST ${pods} HTTP/1.1\r\nHost: kexer\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n`,
    );
    await client.untilReceived('HTTP/1.1 100 Continue\r\n\r\n');
    client.write('hello');
    await client.untilReceived('ok');
    expect(peers[0]?.received)
      .to.match(/\r\n\r\nhello$/)
      .and.not.match(/expect:/i);
  });

  it('leaves a compressed body compressed', async () => {
    const bytes = '\x1f\x8b\x08\x00\x00\x00\x00\x00';
    answerWith(`HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: ${bytes.length}\r\n\r\n${bytes}`);
    const client = await ask(`GET ${pods} HTTP/1.1\r\nHost: kexer\r\nAccept-Encoding: gzip\r\n\r\n`);
    await client.untilReceived(`\r\n\r\n${bytes}`);
    expect(client.received).to.match(/\r\nContent-Encoding: gzip\r\n/);
  });

  it('asks once more when a kept-alive connection dies before an answer, but only for what may run twice', async () => {
    const answered: number[] = [];
    onPeer = (peer, index) => {
      void peer.untilReceived('\r\n\r\n').then(() => {
        peer.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        answered.push(index);
        void peer.until(({ received }) => received.split('\r\n\r\n').length > 2).then(() => peer.socket.destroy());
      });
    };
    const client = await ask(`GET ${pods} HTTP/1.1\r\nHost: kexer\r\n\r\n`);
    await client.untilReceived('ok');
    client.received = '';
    client.write(`GET ${pods} HTTP/1.1\r\nHost: kexer\r\n\r\n`);
    await client.untilReceived('ok');
    expect(answered).to.deep.equal([0, 1]);
    client.received = '';
    client.write(`POST ${pods} HTTP/1.1\r\nHost: kexer\r\nContent-Length: 0\r\n\r\n`);
    await client.untilReceived('"code":503');
    expect(answered).to.deep.equal([0, 1]);
  });

  it('says 502 to an answer that is no HTTP', async () => {
    answerWith('SSH-2.0-OpenSSH\r\n\r\n');
    const client = await ask(`GET ${pods} HTTP/1.1\r\nHost: kexer\r\n\r\n`);
    await client.untilReceived('"code":502');
    expect(client.received).to.match(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
  });

  it('says 503 with Retry-After when the apiserver cannot be reached, and serves again when it can', async () => {
    const dead = await startFront(scope, 1);
    const client = await dead.connect();
    client.write(`GET ${pods} HTTP/1.1\r\nHost: kexer\r\n\r\n`);
    await client.untilReceived('"code":503');
    expect(client.received)
      .to.match(/^HTTP\/1\.1 503 Service Unavailable\r\n/)
      .and.match(/\r\nRetry-After: 1\r\n/);
    expect(client.received).to.match(/"reason":"ServiceUnavailable"/);
  });
});

/** A request's body by its own framing, and what stands behind it: anything there would be a second request. */
function bodyOf(received: string): { framing: string; body: string; rest: string } {
  const headEnd = received.indexOf('\r\n\r\n') + 4;
  const head = received.slice(0, headEnd);
  const after = received.slice(headEnd);
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(head)?.[1];
  const isChunked = /\r\ntransfer-encoding: chunked\r\n/i.test(head);
  expect(isChunked && length !== undefined, 'two framings').to.equal(false);
  if (!isChunked) {
    const end = Number(length ?? 0);
    return { framing: 'length', body: after.slice(0, end), rest: after.slice(end) };
  }
  const decoder = new ChunkedDecoder();
  const pieces = decoder.acceptChunk(Buffer.from(after, 'latin1'));
  return { framing: 'chunked', body: Buffer.concat(pieces).toString('latin1'), rest: decoder.rest.toString('latin1') };
}

async function readHttp2(stream: ReturnType<ReturnType<Front['connectHttp2']>['request']>): Promise<unknown> {
  let status = 0;
  let body = '';
  stream.setEncoding('utf8');
  stream.on('response', (headers) => {
    status = headers[':status'] ?? 0;
  });
  stream.on('data', (text: string) => {
    body += text;
  });
  await new Promise<void>((resolve, reject) => {
    stream.once('close', resolve);
    stream.once('error', reject);
  });
  return { status, body };
}

/** For what has no event of its own here: turns of the event loop, no time. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}
