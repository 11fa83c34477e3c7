// How an SpdyConnection ends: by its peer, by its owner, by an error, and in order with GOAWAY.

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { SpdyConnection, type SpdyEnd } from '../../src/net/spdy-connection.ts';
import { duplexPair } from '../support/duplex-pair.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { data, settle, startConnection } from './spdy-peer.ts';

describe('SpdyConnection ends', () => {
  it('by the peer: GOAWAY ends everything, later frames are not read, queued bytes still leave', async () => {
    const { connection, peer, streams, takeEvents } = startConnection('server');
    peer.send(peer.synStream(1, 'stdout'));
    await settle();
    takeEvents();
    streams[0]!.write(Buffer.from('queued'));
    peer.send(data(1, 'last'), peer.encoder.goaway(0), data(1, 'never read'), Buffer.from('garbage garbage'));
    await settle();
    const told = takeEvents();
    peer.socket.end();
    await settle();
    expect({ told, later: takeEvents(), sent: peer.take(), closed: streams[0]!.isClosed }).to.deep.equal({
      told: ['1 last', '1 end goaway', 'END goaway'],
      later: ['CLOSED'],
      sent: ['synReply 1', '1: queued', 'FIN'],
      closed: true,
    });
    expect(() => connection.createStream([], {})).to.throw('Cannot create an SPDY stream: the connection has ended');
    expect(connection.isEnded).to.equal(true);
  });

  it('by the peer: FIN without GOAWAY cuts its streams', async () => {
    const { peer, takeEvents } = startConnection('server');
    peer.send(peer.synStream(1, 'stdin'));
    peer.socket.end();
    await settle();
    expect({ told: takeEvents(), sent: peer.take() }).to.deep.equal({
      told: ['stream 1 streamtype=stdin', '1 end cut', 'END fin', 'CLOSED'],
      sent: ['synReply 1', 'FIN'],
    });
  });

  it('by a reset', async () => {
    const { peer, takeEvents, ends } = startConnection('server');
    peer.send(peer.synStream(1, 'stdin'));
    await settle();
    peer.socket.destroy();
    await settle();
    const [end] = ends;
    expect({
      told: takeEvents(),
      code: end?.how === 'error' && end.error instanceof KexerError ? end.error.code : undefined,
      cause: end?.how === 'error' ? String(end.error.cause) : undefined,
    }).to.deep.equal({
      told: [
        'stream 1 streamtype=stdin',
        '1 end cut',
        'END error: Cannot go on with an SPDY connection: it was lost',
        'CLOSED',
      ],
      code: 'cut',
      cause: 'Error: read ECONNRESET',
    });
  });

  it('by somebody else who destroys the socket', async () => {
    const { socket, takeEvents } = startConnection('client');
    socket.destroy();
    await settle();
    expect(takeEvents()).to.deep.equal(['END error: Cannot go on with an SPDY connection: it was lost', 'CLOSED']);
  });

  it('by a socket that was closed or read to its end before', async () => {
    const results: string[][] = [];
    for (const how of ['closed', 'ended']) {
      const [socket, other] = duplexPair();
      for (const end of [socket, other]) end.on('error', () => {});
      if (how === 'closed') socket.destroy();
      else other.end();
      socket.resume();
      await settle();
      const told: string[] = [];
      const handlers = { onEnd: (end: SpdyEnd) => told.push(end.how), onClosed: () => told.push('CLOSED') };
      const options = { role: 'server', head: Buffer.from('late') } as const;
      const connection = new SpdyConnection({ socket, clock: new FakeClock() }, options, handlers);
      await settle();
      results.push(told);
      connection.destroy();
    }
    expect(results).to.deep.equal([
      ['error', 'CLOSED'],
      ['fin', 'CLOSED'],
    ]);
  });

  it('by a protocol error, after what came before it', async () => {
    const { peer, takeEvents } = startConnection('server');
    peer.send(peer.synStream(1, 'stdin'), data(1, 'tail'), Buffer.alloc(8));
    await settle();
    expect({ told: takeEvents(), sent: peer.take() }).to.deep.equal({
      told: [
        'stream 1 streamtype=stdin',
        '1 tail',
        '1 end cut',
        'END error: Cannot read SPDY: DATA on stream 0',
        'CLOSED',
      ],
      sent: ['error'],
    });
  });

  it('by a protocol error alone in its chunk', async () => {
    const { peer, takeEvents } = startConnection('server', { options: { limits: { maxControlBytes: 10 } } });
    peer.send(peer.synStream(1, 'stdin'));
    await settle();
    expect(takeEvents()).to.deep.equal([
      'END error: Cannot read SPDY: a control frame of 53 bytes, want at most 10',
      'CLOSED',
    ]);
  });

  it('by a handler that throws, without harm to the process', async () => {
    const { peer, takeEvents, ends } = startConnection('server', {
      handlers: {
        onStream: () => {
          throw new Error('defect');
        },
      },
    });
    peer.send(peer.synStream(1, 'stdin'));
    await settle();
    const [end] = ends;
    expect({ told: takeEvents(), cause: end?.how === 'error' ? String(end.error.cause) : undefined }).to.deep.equal({
      told: ['END error: Cannot handle an SPDY frame: a handler threw', 'CLOSED'],
      cause: 'Error: defect',
    });
  });

  it('by destroy: closed without a word to its streams, with an error they are cut', async () => {
    const results = [];
    for (const error of [undefined, new Error('limit')]) {
      const { connection, peer, takeEvents } = startConnection('server');
      peer.send(peer.synStream(1, 'stdin'));
      await settle();
      takeEvents();
      connection.destroy(error);
      connection.destroy(new Error('second'));
      await settle();
      results.push({ told: takeEvents(), sent: peer.take() });
    }
    expect(results).to.deep.equal([
      { told: ['END closed', 'CLOSED'], sent: ['synReply 1', 'error'] },
      { told: ['1 end cut', 'END error: limit', 'CLOSED'], sent: ['synReply 1', 'error'] },
    ]);
  });
});

describe('SpdyConnection goaway', () => {
  it('sends all queued bytes, GOAWAY and FIN, then drops what comes until the peer closes', async () => {
    const { connection, peer, streams, takeEvents } = startConnection('server', { pair: { highWaterMark: 1024 } });
    peer.send(peer.synStream(1, 'stdout'), peer.synStream(3, 'error'));
    await settle();
    takeEvents();
    peer.take();
    peer.socket.pause();
    for (let count = 0; count < 20; count += 1) streams[0]!.write(Buffer.alloc(50_000));
    streams[1]!.write(Buffer.from('{"status":"Success"}'));
    streams[1]!.end();
    connection.goaway();
    connection.goaway();
    streams[1]!.write(Buffer.from('too late'));
    peer.send(data(1, 'dropped'), peer.encoder.ping(1), Buffer.from('even garbage'), Buffer.alloc(100_000));
    await settle();
    const whilePaused = takeEvents();
    peer.socket.resume();
    await settle();
    const sent = peer.take();
    const beforePeerEnds = takeEvents();
    peer.socket.end();
    await settle();
    expect({
      whilePaused,
      output: sent.reduce((sum, line) => sum + Number(/^1: (\d+) bytes$/.exec(line)?.[1] ?? 0), 0),
      tail: sent.slice(-4),
      beforePeerEnds,
      told: takeEvents(),
    }).to.deep.equal({
      whilePaused: [],
      output: 1_000_000,
      tail: ['3: {"status":"Success"}', '3:  fin', 'goaway 3 0', 'FIN'],
      beforePeerEnds: [],
      told: ['END closed', 'CLOSED'],
    });
  });

  it('keeps its FIN back for a while if told so: until the peer ends, or the time is over', async () => {
    const results = [];
    for (const isPeerEnding of [true, false]) {
      const { connection, peer, clock, takeEvents } = startConnection('server', { options: { finDelayMs: 5000 } });
      peer.send(peer.synStream(1, 'error'));
      await settle();
      peer.take();
      takeEvents();
      connection.goaway();
      peer.send(Buffer.alloc(100_000)); // still read, so that no close of ours becomes a reset
      await settle();
      const atOnce = peer.take();
      if (isPeerEnding) peer.socket.end();
      else clock.advance(5000);
      await settle();
      results.push({ atOnce, later: peer.take(), told: takeEvents() });
      peer.socket.end();
      await settle();
    }
    const atOnce = ['goaway 1 0'];
    expect(results).to.deep.equal([
      { atOnce, later: ['FIN'], told: ['END closed', 'CLOSED'] },
      { atOnce, later: ['FIN'], told: [] },
    ]);
  });

  it('ends as closed when the peer answers by GOAWAY or resets after everything has left', async () => {
    const results = [];
    for (const answer of ['goaway', 'reset']) {
      const { connection, peer, takeEvents } = startConnection('client');
      connection.goaway();
      await settle();
      if (answer === 'reset') peer.socket.destroy();
      else peer.socket.end(peer.encoder.goaway(0));
      await settle();
      results.push(takeEvents());
    }
    expect(results).to.deep.equal([
      ['END closed', 'CLOSED'],
      ['END closed', 'CLOSED'],
    ]);
  });

  it('ends as an error when the peer resets before everything has left', async () => {
    const harness = startConnection('client', { pair: { highWaterMark: 1024 } });
    const { connection, peer, takeEvents } = harness;
    peer.socket.pause();
    const stream = connection.createStream([], {});
    peer.send(peer.encoder.synReply(1));
    await settle();
    stream.write(Buffer.alloc(100_000));
    await settle();
    connection.goaway();
    await settle();
    peer.socket.destroy();
    await settle();
    expect(takeEvents()).to.deep.equal(['END error: Cannot go on with an SPDY connection: it was lost', 'CLOSED']);
  });

  it('waits for a peer that reads slowly, and gives up one that does not', async () => {
    const { connection, peer, clock, takeEvents } = startConnection('client', {
      options: { lingerTimeoutMs: 1000 },
      pair: { highWaterMark: 16 * 1024 },
    });
    peer.socket.pause();
    const stream = connection.createStream([], {});
    peer.send(peer.encoder.synReply(1));
    await settle();
    for (let turn = 0; turn < 3; turn += 1) {
      stream.write(Buffer.alloc(60_000)); // the first is under way from here on, the others wait behind it
      await settle();
    }
    connection.goaway();
    const told: string[][] = [];
    // Something is read in the first span, nothing in the second.
    for (const isRead of [true, false]) {
      if (isRead) peer.socket.read();
      await settle();
      clock.advance(1000);
      await settle();
      told.push(takeEvents());
    }
    expect(told).to.deep.equal([[], ['END closed', 'CLOSED']]);
  });
});
