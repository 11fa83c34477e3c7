// A peer that hangs, or whose machine is gone, must not count as alive forever; one that is only busy must not count as dead.

import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import { SilenceWatch } from '../../src/net/silence-watch.ts';
import { SpdyConnection, type SpdyEnd } from '../../src/net/spdy-connection.ts';
import { WebSocketConnection, type WebSocketEnd } from '../../src/net/websocket-connection.ts';
import { duplexPair } from '../support/duplex-pair.ts';
import { FakeClock } from '../support/fake-clock.ts';

describe('SilenceWatch', () => {
  let clock: FakeClock;
  let watch: SilenceWatch;
  let bytesIn: number;

  beforeEach(() => {
    clock = new FakeClock();
    watch = new SilenceWatch({ clock }, { limitMs: 100, isPeerKnownToAnswer: true });
    bytesIn = 0;
  });

  /** One interval of 30 ms: the question, then a ping. */
  function tick(id: number, isPaused = false): boolean {
    clock.advance(30);
    const isDead = watch.isDead({ bytesIn, isPaused });
    watch.pingSent(id);
    return isDead;
  }

  function ticks(count: number, firstId = 1, isPaused = false): boolean[] {
    return Array.from({ length: count }, (_, index) => tick(firstId + index, isPaused));
  }

  it('finds a peer dead when pings went unanswered for the limit', () => {
    expect(ticks(5)).to.deep.equal([false, false, false, false, true]);
  });

  it('takes any byte for life', () => {
    const seen = ticks(4);
    bytesIn += 1;
    expect([...seen, ...ticks(4, 5)]).to.not.include(true);
  });

  it('waits without end for a peer that has never answered, until it has', () => {
    watch = new SilenceWatch({ clock }, { limitMs: 100, isPeerKnownToAnswer: false });
    expect(ticks(20)).to.not.include(true);
    bytesIn += 12;
    watch.pongHeard(20);
    expect(ticks(5, 21)).to.deep.equal([false, false, false, false, true]);
  });

  it('waits without end for a peer that may still hold our payload', () => {
    watch.payloadSent();
    expect(ticks(20)).to.not.include(true);
  });

  it('counts the answer to a ping before the payload for nothing, to one behind it for proof', () => {
    tick(1);
    watch.payloadSent();
    watch.pongHeard(1);
    bytesIn += 12;
    expect(ticks(20, 2)).to.not.include(true);
    watch.pongHeard(2);
    bytesIn += 12;
    expect(ticks(5, 22)).to.deep.equal([false, false, false, false, true]);
  });

  it('counts no silence while the owner does not read', () => {
    expect(ticks(20, 1, true)).to.not.include(true);
    // The last ping of the pause counts.
    expect(ticks(4, 21)).to.deep.equal([false, false, false, true]);
  });
});

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

describe('a peer that answers no ping any more', () => {
  const pingIntervalMs = 30_000;
  const silenceLimitMs = 150_000;

  /** Advances in steps, so that answers can travel. */
  async function pass(clock: FakeClock, ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= pingIntervalMs) {
      clock.advance(Math.min(left, pingIntervalMs));
      await settle();
    }
  }

  it('ends an SPDY connection, and not while it answers', async () => {
    const clock = new FakeClock();
    const [ours, theirs] = duplexPair();
    const ends: SpdyEnd[] = [];
    const connection = new SpdyConnection(
      { socket: ours, clock },
      { role: 'client', pingIntervalMs, silenceLimitMs, isPeerKnownToAnswer: true },
      { onEnd: (end) => ends.push(end) },
    );
    const peer = new SpdyConnection(
      { socket: theirs, clock },
      { role: 'server' },
      { onStream: (stream) => stream.reply(), onEnd: () => {} },
    );
    const stream = connection.createStream([['streamtype', 'stdin']], {});
    await settle();
    stream.write(Buffer.from('x'));
    await pass(clock, 3_600_000);
    expect(ends).to.deep.equal([]);
    peer.pause();
    await pass(clock, 150_000);
    expect(ends).to.deep.equal([]);
    await pass(clock, 60_000);
    expect(ends.map((end) => (end.how === 'error' ? end.error.message : end.how))).to.deep.equal([
      'it has answered no ping for too long',
    ]);
    peer.destroy();
    await settle();
    expect(clock.pendingCount).to.equal(0);
  });

  it('is waited for on an SPDY connection while it holds our payload', async () => {
    const clock = new FakeClock();
    const [ours, theirs] = duplexPair();
    const ends: SpdyEnd[] = [];
    const connection = new SpdyConnection(
      { socket: ours, clock },
      { role: 'client', pingIntervalMs, silenceLimitMs, isPeerKnownToAnswer: true },
      { onEnd: (end) => ends.push(end) },
    );
    const peer = new SpdyConnection(
      { socket: theirs, clock },
      { role: 'server' },
      { onStream: (stream) => stream.reply(), onEnd: () => {} },
    );
    const stream = connection.createStream([['streamtype', 'stdin']], {});
    await settle();
    peer.pause(); // a command that does not read its stdin stops the kubelet from reading at all
    stream.write(Buffer.from('x'));
    await pass(clock, 4 * 3_600_000);
    expect(ends).to.deep.equal([]);
    connection.destroy();
    peer.destroy();
    await settle();
  });

  it('ends a WebSocket connection once it had answered, and not while it does', async () => {
    const clock = new FakeClock();
    const [ours, theirs] = duplexPair();
    const ends: WebSocketEnd[] = [];
    const connection = new WebSocketConnection(
      { socket: ours, clock },
      { role: 'server', pingIntervalMs, silenceLimitMs },
      { onData: () => {}, onEnd: (end) => ends.push(end) },
    );
    const peer = new WebSocketConnection(
      { socket: theirs, clock },
      { role: 'client' },
      { onData: () => {}, onEnd: () => {} },
    );
    connection.sendBinary(Buffer.from('x'));
    await pass(clock, 3_600_000);
    expect(ends).to.deep.equal([]);
    peer.pause();
    await pass(clock, 240_000);
    expect(ends.map((end) => (end.how === 'error' ? end.error.message : end.how))).to.deep.equal([
      'it has answered no ping for too long',
    ]);
    peer.destroy();
    await settle();
    expect(clock.pendingCount).to.equal(0);
  });

  it('is waited for on a WebSocket connection if it never answered', async () => {
    const clock = new FakeClock();
    const [ours, theirs] = duplexPair();
    const ends: WebSocketEnd[] = [];
    const connection = new WebSocketConnection(
      { socket: ours, clock },
      { role: 'server', pingIntervalMs, silenceLimitMs },
      { onData: () => {}, onEnd: (end) => ends.push(end) },
    );
    await pass(clock, 3_600_000);
    expect(ends).to.deep.equal([]);
    connection.destroy();
    theirs.destroy();
    await settle();
  });
});
