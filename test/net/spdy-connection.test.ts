// What an SpdyConnection does beside its streams and its end: pings, silence, backpressure; and a recorded kubelet.

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { SpdyEncoder } from '../../src/protocol/spdy/encoder.ts';
import { readConnections } from '../support/recordings.ts';
import { data, fill, settle, startConnection } from './spdy-peer.ts';

describe('SpdyConnection pings', () => {
  it('echoes the pings of the other parity only', async () => {
    for (const [role, own, others] of [
      ['client', 1, 2],
      ['server', 2, 1],
    ] as const) {
      const { connection, peer, takeEvents } = startConnection(role);
      peer.send(peer.encoder.ping(own), peer.encoder.ping(others), peer.encoder.ping(others + 0x7ffffffe));
      await settle();
      expect({ sent: peer.take(), told: takeEvents() }).to.deep.equal({
        sent: [`ping ${others}`, `ping ${others + 0x7ffffffe}`],
        told: [`ping ${others}`, `ping ${others + 0x7ffffffe}`],
      });
      connection.destroy();
    }
  });

  it('sends its own with its parity when nothing went either way for the interval', async () => {
    const { connection, peer, clock } = startConnection('server', { options: { pingIntervalMs: 5000 } });
    const intervals: string[][] = [];
    for (const traffic of [[], [], [peer.encoder.ping(2)], [peer.encoder.ping(2), peer.encoder.ping(3)], []]) {
      if (traffic.length > 0) peer.send(...traffic);
      await settle();
      peer.take();
      clock.advance(5000);
      await settle();
      intervals.push(peer.take());
    }
    expect(intervals).to.deep.equal([
      ['ping 2'],
      ['ping 4'], // the ping before was no traffic
      ['ping 6'], // nor was its echo
      [], // a ping of the peer is
      ['ping 8'],
    ]);
    connection.destroy();
  });

  it('asks nothing of a peer that it does not read, and answers it unasked', async () => {
    for (const [role, question, unasked] of [
      ['client', 1, 0x7ffffffe],
      ['server', 2, 0x7fffffff],
    ] as const) {
      const { connection, peer, clock, takeEvents } = startConnection(role, { options: { pingIntervalMs: 5000 } });
      const sent: string[][] = [];
      for (const change of [() => connection.pause(), () => {}, () => connection.resume()]) {
        change();
        clock.advance(5000);
        await settle();
        sent.push(peer.take());
      }
      // What is unasked is no traffic either: each interval has its own.
      expect(sent).to.deep.equal([[`ping ${unasked}`], [`ping ${unasked}`], [`ping ${question}`]]);
      peer.send(peer.encoder.ping(question));
      await settle();
      expect([peer.take(), takeEvents()]).to.deep.equal([[], []]);
      connection.destroy();
      const { bytesOut } = connection;
      connection.pong();
      expect(connection.bytesOut).to.equal(bytesOut);
    }
  });

  it('sends none behind bytes that do not leave, and none after the end', async () => {
    const harness = startConnection('client', { options: { highWaterBytes: 1000 } });
    fill(harness);
    const before = harness.connection.bytesOut;
    harness.connection.ping();
    const whileFull = harness.connection.bytesOut - before;
    harness.connection.destroy();
    harness.connection.ping();
    expect({ whileFull, after: harness.connection.bytesOut - before }).to.deep.equal({ whileFull: 0, after: 0 });
  });

  it('tells when the peer has read what was written, what waited for a reply included', async () => {
    const { connection, peer } = startConnection('client');
    const told: string[] = [];
    const stream = connection.createStream([['streamtype', 'stdin']], {});
    stream.write(Buffer.from('held'));
    stream.end();
    connection.onceRead(() => told.push('read'));
    await settle();
    expect([peer.take().length, told]).to.deep.equal([1, []]); // the SYN_STREAM alone
    peer.send(peer.encoder.synReply(1, []));
    await settle();
    expect([peer.take().at(-1), told]).to.deep.equal(['ping 1', []]);
    peer.send(peer.encoder.ping(1), peer.encoder.ping(1));
    await settle();
    expect(told).to.deep.equal(['read']);
  });

  it('ends a peer that sends pings and never reads the answers', async () => {
    const { connection, peer, ends } = startConnection('server', { pair: { highWaterMark: 1024 } });
    peer.socket.pause();
    const flood = Buffer.concat(Array.from({ length: 40_000 }, () => peer.encoder.ping(1)));
    for (let at = 0; at < flood.length; at += 1200) peer.socket.write(flood.subarray(at, at + 1200));
    for (let turn = 0; turn < 1000 && ends.length === 0; turn += 1) await settle();
    const [end] = ends;
    expect(
      end?.how === 'error' && end.error instanceof KexerError ? [end.error.code, end.error.message] : end,
    ).to.deep.equal(['overLimit', 'Cannot go on with an SPDY peer: it causes answers and does not read them']);
    expect(connection.bytesOut).to.be.below(512 * 1024);
  });
});

describe('SpdyConnection that is silent until its peer speaks', () => {
  it('sends nothing before the first byte, then everything', async () => {
    const { connection, peer, clock } = startConnection('server', {
      options: { isSilentUntilPeerSpeaks: true, pingIntervalMs: 1000 },
    });
    connection.createStream([['streamtype', 'x']], {});
    clock.advance(1000);
    await settle();
    const before = peer.take();
    peer.send(peer.synStream(1, 'stdin').subarray(0, 1));
    await settle();
    expect({ before, after: peer.take() }).to.deep.equal({ before: [], after: ['synStream 2 streamtype=x'] });
    connection.destroy();
  });

  it('takes the bytes after the upgrade head as speech, after the constructor has returned', async () => {
    const encoder = new SpdyEncoder();
    const { connection, peer, events, takeEvents } = startConnection('server', {
      options: {
        isSilentUntilPeerSpeaks: true,
        head: Buffer.concat([encoder.synStream(1, [['streamtype', 'error']]), data(1, 'a')]),
      },
    });
    const early = [...events];
    await settle();
    expect({ early, told: takeEvents(), sent: peer.take() }).to.deep.equal({
      early: [],
      told: ['stream 1 streamtype=error', '1 a'],
      sent: ['synReply 1'],
    });
    connection.destroy();
  });

  it('leaves with a bare FIN if the peer never spoke', async () => {
    const { connection, peer } = startConnection('server', { options: { isSilentUntilPeerSpeaks: true } });
    connection.createStream([], {});
    connection.goaway();
    await settle();
    expect(peer.take()).to.deep.equal(['FIN']);
    connection.destroy();
  });
});

describe('SpdyConnection backpressure', () => {
  it('reads nothing until every pause has its resume', async () => {
    const { connection, peer, takeEvents } = startConnection('server');
    connection.pause();
    connection.pause();
    peer.send(peer.encoder.ping(1));
    await settle();
    connection.resume();
    await settle();
    const whilePaused = takeEvents();
    connection.resume();
    connection.resume(); // one too many: no debt
    await settle();
    const resumed = takeEvents();
    connection.pause();
    peer.send(peer.encoder.ping(3));
    await settle();
    expect({ whilePaused, resumed, pausedAgain: takeEvents() }).to.deep.equal({
      whilePaused: [],
      resumed: ['ping 1'],
      pausedAgain: [],
    });
    connection.destroy();
  });

  it('tells when to wait and when to go on, once for each who asked', async () => {
    const { connection, peer, streams } = startConnection('server', {
      options: { highWaterBytes: 10_000 },
      pair: { highWaterMark: 1024 },
    });
    peer.send(peer.synStream(1, 'stdout'));
    await settle();
    peer.socket.pause();
    const answers = [1, 2, 3].map(() => streams[0]!.write(Buffer.alloc(5000)));
    const runs: string[] = [];
    connection.onDrain(() => runs.push('first'));
    connection.onDrain(() => runs.push('second'));
    await settle();
    const whileFull = [...runs];
    peer.socket.resume();
    await settle();
    connection.onDrain(() => runs.push('at once'));
    expect({ answers, whileFull, runs, isWritable: connection.isWritable }).to.deep.equal({
      answers: [true, false, false],
      whileFull: [],
      runs: ['first', 'second', 'at once'],
      isWritable: true,
    });
    connection.destroy();
  });

  it('writes what one turn brings as one', async () => {
    const { connection, socket, peer, streams } = startConnection('server');
    peer.send(peer.synStream(1, 'stdout'));
    await settle();
    const writes: number[] = [];
    const write = socket._write.bind(socket);
    socket._write = (chunk: Buffer, encoding, done): void => {
      writes.push(chunk.length);
      write(chunk, encoding, done);
    };
    for (let count = 0; count < 5; count += 1) streams[0]!.write(Buffer.from('abc'));
    streams[0]!.end();
    await settle();
    expect(writes).to.deep.equal([5 * (8 + 3) + 8]);
    connection.destroy();
  });

  it('counts bytes both ways', async () => {
    const { connection, peer } = startConnection('server');
    peer.send(peer.encoder.ping(1));
    await settle();
    expect([connection.bytesIn, connection.bytesOut, connection.queuedBytes]).to.deep.equal([12, 12, 0]);
    connection.destroy();
  });
});

describe('SpdyConnection with a recorded kubelet', () => {
  it('gives output, status and ends of an exec with exit code 3, however the bytes are split', async () => {
    const [recorded] = readConnections('exec-spdy-exit3');
    const bytes = recorded!.kubelet.body;
    for (const size of [1, 7, bytes.length]) {
      const { connection, peer, takeEvents, noting } = startConnection('client');
      for (const name of ['error', 'stdout', 'stderr']) connection.createStream([['streamtype', name]], noting(name));
      for (let at = 0; at < bytes.length; at += size) peer.send(bytes.subarray(at, at + size));
      peer.socket.end();
      await settle();
      const told = takeEvents();
      const textOf = (name: string): string =>
        told
          .filter((line) => line.startsWith(`${name} `) && !/ (reply|end \w+|\d+ bytes)$/.test(line))
          .map((line) => line.slice(name.length + 1))
          .join('');
      expect({
        sent: peer.take().slice(0, 3),
        stdout: textOf('stdout'),
        stderr: textOf('stderr'),
        ends: told.filter((line) => / end |END|CLOSED/.test(line)),
      }).to.deep.equal({
        sent: ['synStream 1 streamtype=error', 'synStream 3 streamtype=stdout', 'synStream 5 streamtype=stderr'],
        stdout: 'out\n',
        stderr: 'err\n',
        ends: ['stdout end fin', 'stderr end fin', 'error end reset', 'END goaway', 'CLOSED'],
      });
    }
  });
});
