import { Duplex } from 'node:stream';

import { expect } from 'chai';

import { Http2Session } from '../../src/kube/http2-session.ts';
import { encodePing, encodeSettings } from '../../src/protocol/http2/frame-writer.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** A connection whose peer never reads. */
class StuckSocket extends Duplex {
  override _read(): void {}

  override _write(): void {
    // never done
  }
}

describe('Http2Session', () => {
  it('gives up a peer that asks without end and does not read the answers', () => {
    const socket = new StuckSocket();
    const clock = new FakeClock();
    const log: string[] = [];
    const session = new Http2Session(
      { socket, clock },
      {
        ready: () => log.push('ready'),
        retired: () => log.push('retired'),
        closed: (cause) => log.push(cause.message),
      },
    );
    socket.emit('data', encodeSettings([]));
    const pings = Buffer.concat(Array.from({ length: 1000 }, () => encodePing(Buffer.alloc(8), false)));
    for (let count = 0; count < 60; count += 1) socket.emit('data', pings);
    expect(log).to.deep.equal(['ready']);
    for (let count = 0; count < 10; count += 1) socket.emit('data', pings);
    expect([log, session.room, socket.destroyed, clock.pendingCount]).to.deep.equal([
      ['ready', 'the apiserver does not read'],
      0,
      true,
      0,
    ]);
  });

  it('closes itself when it has been idle, also if its peer does not take the last words', () => {
    const socket = new StuckSocket();
    const clock = new FakeClock();
    const log: string[] = [];
    const owner = { ready: () => {}, retired: () => log.push('retired'), closed: () => log.push('closed') };
    const session = new Http2Session({ socket, clock }, owner);
    socket.emit('data', encodeSettings([]));
    expect(session.room).to.equal(100);
    clock.advance(30_000);
    expect([log, session.room]).to.deep.equal([['retired'], 0]);
    clock.advance(45_000);
    expect([log, socket.destroyed, clock.pendingCount]).to.deep.equal([['retired', 'closed'], true, 0]);
  });
});
