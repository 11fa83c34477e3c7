import type { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import { codeOf } from '../../src/base/errors.ts';
import { readBody, requestUpgrade, type UpgradeOptions } from '../../src/net/upgrade.ts';
import { parseResponseHead } from '../../src/protocol/http-head.ts';
import { duplexPair } from '../support/duplex-pair.ts';
import { FakeClock } from '../support/fake-clock.ts';

const request = {
  method: 'POST',
  target: '/exec/default/demo/c?command=ls',
  headers: [
    ['Host', 'node1:10250'],
    ['Connection', 'Upgrade'],
    ['Upgrade', 'SPDY/3.1'],
  ] as const,
};
const switching = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n';

async function settle(): Promise<void> {
  for (let round = 0; round < 5; round += 1) await turn();
}

/** Starts an upgrade over a pair; the answer is the test's to write. */
function start(options: Partial<UpgradeOptions> = {}): {
  peer: Duplex;
  socket: Duplex;
  clock: FakeClock;
  outcome: Promise<unknown>;
} {
  const [socket, peer] = duplexPair();
  const clock = new FakeClock();
  peer.on('error', () => {});
  const outcome = requestUpgrade(socket, request, { timeoutMs: 1000, clock, ...options }).then(
    ({ head, rest }) => ({ status: head.status, rest: rest.toString() }),
    (error: unknown) => ({ code: codeOf(error), isDestroyed: socket.destroyed }),
  );
  return { peer, socket, clock, outcome };
}

describe('requestUpgrade', () => {
  it('writes the head and keeps every byte that came with the 101', async () => {
    const { peer, socket, outcome } = start();
    await settle();
    expect((peer.read() as Buffer).toString()).to.equal(
      'POST /exec/default/demo/c?command=ls HTTP/1.1\r\nHost: node1:10250\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n',
    );
    peer.write(`${switching}early`);
    expect(await outcome).to.deep.equal({ status: 101, rest: 'early' });
    peer.write('later');
    await settle();
    const chunks: string[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
    await settle();
    expect(chunks).to.deep.equal(['later']);
    socket.destroy();
  });

  it('reads an answer cut at any offset', async () => {
    const wire = Buffer.from(`${switching}rest`);
    for (let at = 1; at < wire.length; at += 1) {
      const { peer, socket, outcome } = start();
      peer.write(wire.subarray(0, at));
      await settle();
      peer.write(wire.subarray(at));
      await settle();
      const answer = (await outcome) as { status: number; rest: string };
      const left = (socket.read() as Buffer | null)?.toString() ?? '';
      expect({ status: answer.status, bytes: answer.rest + left }, `cut at ${at}`).to.deep.equal({
        status: 101,
        bytes: 'rest',
      });
      socket.destroy();
    }
  });

  it("leaves the socket so that the next owner's pause holds", async () => {
    const { peer, socket, outcome } = start();
    peer.write(switching);
    await outcome;
    let bytes = 0;
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    socket.pause();
    peer.write('x');
    await settle();
    expect(bytes).to.equal(0);
    socket.resume();
    await settle();
    expect(bytes).to.equal(1);
    socket.destroy();
  });

  it('skips informational answers, together or apart', async () => {
    const { peer, socket, outcome } = start();
    peer.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102');
    await settle();
    peer.write(` Processing\r\n\r\n${switching}x`);
    expect(await outcome).to.deep.equal({ status: 101, rest: 'x' });
    socket.destroy();
  });

  it('gives a refusal as it is', async () => {
    const { peer, socket, outcome } = start();
    peer.write('HTTP/1.1 404 Not Found\r\nContent-Length: 18\r\n\r\npod does not exist');
    expect(await outcome).to.deep.equal({ status: 404, rest: 'pod does not exist' });
    socket.destroy();
  });

  const failures: [what: string, run: (peer: Duplex, clock: FakeClock) => void, code: string][] = [
    ['silence', (_peer, clock) => clock.advance(1000), 'timeout'],
    ['half a head and silence', (peer, clock) => (peer.write('HTTP/1.1 101'), clock.advance(1000)), 'timeout'],
    ['a FIN', (peer) => peer.end(), 'unreachable'],
    ['a FIN in the head', (peer) => peer.end('HTTP/1.1 101 Swi'), 'badGateway'],
    ['a reset', (peer) => peer.destroy(), 'unreachable'],
    ['bytes that are no head', (peer) => peer.write('\x15\x03\x01\r\n\r\n'), 'badGateway'],
    ['a head without an end', (peer) => peer.write('HTTP/1.1 200 OK\r\n'.repeat(10_000)), 'badGateway'],
    ['a folded header', (peer) => peer.write('HTTP/1.1 101 S\r\nA: b\r\n c\r\n\r\n'), 'badGateway'],
    ['endless informational answers', (peer) => peer.write('HTTP/1.1 100 Continue\r\n\r\n'.repeat(9)), 'badGateway'],
  ];
  for (const [what, run, code] of failures) {
    it(`fails with ${code} on ${what}, and destroys the socket`, async () => {
      const { peer, clock, outcome } = start();
      await settle();
      run(peer, clock);
      expect(await outcome).to.deep.equal({ code, isDestroyed: true });
      expect(clock.pendingCount).to.equal(0);
    });
  }

  it('fails with badGateway after a reset in the middle of the head', async () => {
    const { peer, outcome } = start();
    peer.write('HTTP/1.1 1');
    await settle();
    peer.destroy();
    expect(await outcome).to.deep.equal({ code: 'badGateway', isDestroyed: true });
  });

  it('fails with tls when the peer sends an alert, as TLS 1.3 servers do about a client certificate', async () => {
    const { socket, outcome } = start();
    await settle();
    socket.destroy(Object.assign(new Error('alert'), { code: 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED' }));
    expect(await outcome).to.deep.equal({ code: 'tls', isDestroyed: true });
  });

  it('is cancelled, before and while it waits', async () => {
    const controller = new AbortController();
    const { outcome } = start({ signal: controller.signal });
    await settle();
    controller.abort();
    expect(await outcome).to.deep.equal({ code: 'clientGone', isDestroyed: true });
    expect(await start({ signal: AbortSignal.abort() }).outcome).to.deep.equal({
      code: 'clientGone',
      isDestroyed: true,
    });
  });

  it('fails at once on a socket that is gone or ended, and on a head that would inject', async () => {
    const [gone, farEnd] = duplexPair();
    farEnd.on('error', () => {});
    gone.destroy();
    const [ended, peer] = duplexPair();
    peer.on('error', () => {});
    peer.end();
    ended.resume();
    await settle();
    const [fine, finePeer] = duplexPair();
    finePeer.on('error', () => {});
    const codes = await Promise.all(
      [
        requestUpgrade(gone, request, { timeoutMs: 10_000 }),
        requestUpgrade(ended, request, { timeoutMs: 10_000 }),
        requestUpgrade(fine, { ...request, target: '/ HTTP/1.1\r\nX: y' }, { timeoutMs: 10_000 }),
      ].map((promise) => promise.then(() => 'done', codeOf)),
    );
    expect(codes).to.deep.equal(['unreachable', 'unreachable', 'badGateway']);
    peer.destroy();
  });
});

describe('readBody', () => {
  async function body(
    head: string,
    pieces: readonly string[],
    end: 'fin' | 'reset' | 'open' | 'late',
    maxBytes = 1000,
  ): Promise<string> {
    const [socket, peer] = duplexPair();
    const clock = new FakeClock();
    peer.on('error', () => {});
    const [first = '', ...rest] = pieces;
    const promise = readBody(socket, parseResponseHead(Buffer.from(head)), Buffer.from(first), {
      maxBytes,
      timeoutMs: 1000,
      clock,
    });
    promise.catch(() => {}); // judged below, after the pieces were written
    for (const piece of rest) {
      peer.write(piece);
      await settle();
    }
    if (end === 'fin') peer.end();
    if (end === 'reset') peer.destroy();
    if (end === 'late') clock.advance(1000);
    const text = (await promise).toString();
    socket.destroy();
    return text;
  }
  const length = 'HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n';
  const chunked = 'HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n';
  const close = 'HTTP/1.1 500 X\r\n\r\n';

  const cases: [
    what: string,
    head: string,
    pieces: string[],
    end: 'fin' | 'reset' | 'open' | 'late',
    want: string,
    maxBytes?: number,
  ][] = [
    ['a length, all there', length, ['hello'], 'open', 'hello'],
    ['a length, in pieces', length, ['he', 'l', 'lo'], 'open', 'hello'],
    ['a length, more bytes than said', length, ['hello world'], 'open', 'hello'],
    ['a length, cut by a FIN', length, ['hel'], 'fin', 'hel'],
    ['a length, cut by a reset', length, ['hel', 'l'], 'reset', 'hell'],
    ['a length, late', length, ['hel'], 'late', 'hel'],
    ['a length over the limit', length, ['he', 'llo'], 'open', 'hel', 3],
    ['chunks', chunked, ['5\r\nhel', 'lo\r\n1\r\n!', '\r\n0\r\n\r\n'], 'open', 'hello!'],
    ['chunks over the limit', chunked, ['5\r\nhello\r\n', '5\r\nworld\r\n'], 'open', 'hellowo', 7],
    ['until close', close, ['hel', 'lo'], 'fin', 'hello'],
    ['until close, over the limit', close, ['hello'], 'open', 'he', 2],
    ['no body', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n', [''], 'open', ''],
    ['length 0', 'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n', [''], 'open', ''],
  ];
  for (const [what, head, pieces, end, want, maxBytes] of cases) {
    it(`reads ${what}`, async () => {
      expect(await body(head, pieces, end, maxBytes)).to.equal(want);
    });
  }

  it('rejects framing that has more than one reading, and broken chunks', async () => {
    const codes = await Promise.all([
      body('HTTP/1.1 500 X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n', [''], 'open').catch(codeOf),
      body(chunked, ['', 'zz\r\n'], 'open').catch(codeOf),
    ]);
    expect(codes).to.deep.equal(['protocol', 'protocol']);
  });
});
