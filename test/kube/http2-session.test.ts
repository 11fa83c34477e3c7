import { Duplex } from 'node:stream';

import { expect } from 'chai';

import { Http2Exchange } from '../../src/kube/http2-exchange.ts';
import { Http2Session } from '../../src/kube/http2-session.ts';
import { FrameReader } from '../../src/protocol/http2/frame-reader.ts';
import { encodePing, encodeSettings } from '../../src/protocol/http2/frame-writer.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** A connection whose peer never reads. */
class StuckSocket extends Duplex {
  override _read(): void {}

  override _write(): void {
    // never done
  }
}

/** A connection that remembers what is written, write by write. */
class OpenSocket extends Duplex {
  readonly writes: Buffer[] = [];

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.writes.push(chunk);
    done();
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** A request whose answer nobody waits for. */
function get(path: string): Http2Exchange {
  const owner = { authority: 'a', basePath: '', forget: () => {}, refused: () => {} };
  const sink = { onHead: () => {}, onData: () => {}, onEnd: () => {}, onError: () => {} };
  return new Http2Exchange(
    owner,
    { method: 'GET', target: path, headers: [], body: undefined, contentLength: undefined },
    sink,
  );
}

const owner = { ready: () => {}, retired: () => {}, closed: () => {} };
/** HEADERS with END_STREAM that say 200. */
function emptyAnswer(streamId: number): Buffer {
  return Buffer.from([0, 0, 1, 1, 5, 0, 0, 0, streamId, 0x88]);
}

describe('Http2Session', () => {
  it('sends what one turn of the event loop asks as one', async () => {
    const socket = new OpenSocket();
    const session = new Http2Session({ socket, clock: new FakeClock() }, owner);
    socket.emit('data', encodeSettings([]));
    await turn();
    expect(socket.writes.length).to.equal(1);
    session.begin(get('/1'));
    process.nextTick(() => session.begin(get('/2')));
    await Promise.resolve();
    session.begin(get('/3'));
    expect(socket.writes.length).to.equal(1);
    await turn();
    const frames: string[] = [];
    new FrameReader({ maxBlockBytes: 1000 }).acceptChunk(socket.writes[1] ?? Buffer.alloc(0), (frame) =>
      frames.push(frame.type),
    );
    expect([socket.writes.length, frames]).to.deep.equal([2, ['headers', 'headers', 'headers']]);
    session.destroy(new Error('over'));
  });

  it('sends what waits before it is destroyed', () => {
    const socket = new OpenSocket();
    const session = new Http2Session({ socket, clock: new FakeClock() }, owner);
    session.destroy(new Error('over'));
    expect([socket.writes.length, socket.destroyed]).to.deep.equal([1, true]);
  });

  it('is idle from its last answer on, and needs one timer for all of them', () => {
    const socket = new OpenSocket();
    const clock = new FakeClock();
    const session = new Http2Session({ socket, clock }, owner);
    socket.emit('data', encodeSettings([]));
    for (let call = 0; call < 3; call += 1) {
      clock.advance(9000);
      session.begin(get('/'));
      clock.advance(1000);
      socket.emit('data', emptyAnswer(2 * call + 1));
    }
    expect(clock.pendingCount).to.equal(2); // and the one that listens for silence
    clock.advance(29_999);
    expect(session.room).to.equal(100);
    clock.advance(1);
    expect(session.room).to.equal(0);
    session.destroy(new Error('over'));
  });

  it('does not end while something is under way, however long that takes', () => {
    const socket = new OpenSocket();
    const clock = new FakeClock();
    const session = new Http2Session({ socket, clock }, owner);
    socket.emit('data', encodeSettings([]));
    session.begin(get('/'));
    for (let seconds = 0; seconds < 100; seconds += 1) {
      clock.advance(1000);
      socket.emit('data', encodePing(Buffer.alloc(8), true));
    }
    expect(session.room).to.equal(99);
    socket.emit('data', emptyAnswer(1));
    clock.advance(30_000);
    expect(session.room).to.equal(0);
    session.destroy(new Error('over'));
  });

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
