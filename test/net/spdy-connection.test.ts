import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { SpdyConnection, type SpdyEnd } from '../../src/net/spdy-connection.ts';
import { SpdyEncoder } from '../../src/protocol/spdy/encoder.ts';
import { duplexPair } from '../support/duplex-pair.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { readConnections } from '../support/recordings.ts';
import { data, settle, startConnection, type Harness } from './spdy-peer.ts';

/** Queues bytes that the peer does not take, until the connection is not writable. */
function fill(harness: Harness): void {
  harness.peer.socket.pause();
  const stream = harness.connection.createStream([['streamtype', 'stdin']], {});
  while (stream.write(Buffer.alloc(16 * 1024)));
}

describe('SpdyConnection streams', () => {
  it('creates streams with odd ids as a client, and ends them once both sides have', async () => {
    const { connection, peer, takeEvents, noting } = startConnection('client');
    const first = connection.createStream([['streamtype', 'error']], noting('error'));
    const second = connection.createStream([['streamtype', 'stdin']], noting('stdin'), { fin: true });
    await settle();
    peer.send(peer.encoder.synReply(1, [['x', 'y']]), peer.encoder.synReply(3), data(1, 'hello'), data(3, '', true));
    await settle();
    const isHalfOpen = first.isReplied && !first.isClosed;
    first.write(Buffer.from('abc'));
    first.end();
    first.end();
    peer.send(data(1, ' world'), data(1, '!', true));
    await settle();
    expect({
      sent: peer.take(),
      told: takeEvents(),
      closed: [isHalfOpen, first.isClosed, second.isClosed],
    }).to.deep.equal({
      sent: ['synStream 1 streamtype=error', 'synStream 3 fin streamtype=stdin', '1: abc', '1:  fin'],
      told: [
        'error reply x=y',
        'stdin reply',
        'error hello',
        'stdin end fin',
        'error  world',
        'error !',
        'error end fin',
      ],
      closed: [true, true, true],
    });
    connection.destroy();
  });

  it('creates streams with even ids as a server', async () => {
    const { connection, peer } = startConnection('server');
    connection.createStream([], {});
    connection.createStream([], {});
    await settle();
    expect(peer.take()).to.deep.equal(['synStream 2', 'synStream 4']);
    connection.destroy();
  });

  it('serves the streams of a client', async () => {
    const { connection, peer, streams, takeEvents } = startConnection('server');
    peer.send(peer.synStream(1, 'error'), peer.synStream(3, 'stdin'), data(3, 'abc'), data(3, '', true));
    await settle();
    streams[1]!.write(Buffer.from('echo'));
    streams[1]!.end();
    streams[0]!.reply(); // again: ignored
    await settle();
    expect({ sent: peer.take(), told: takeEvents() }).to.deep.equal({
      sent: ['synReply 1', 'synReply 3', '3: echo', '3:  fin'],
      told: ['stream 1 streamtype=error', 'stream 3 streamtype=stdin', '3 abc', '3 end fin'],
    });
    connection.destroy();
  });

  it('replies by itself before the first byte or FIN of a stream that was not replied to', async () => {
    const { connection, peer } = startConnection('server', {
      handlers: {
        onStream: (stream) => {
          if (stream.id === 1) stream.write(Buffer.from('x'));
          else stream.end();
        },
      },
    });
    peer.send(peer.synStream(1, 'stdout'), peer.synStream(3, 'stderr'));
    await settle();
    expect(peer.take()).to.deep.equal(['synReply 1', '1: x', 'synReply 3', '3:  fin']);
    connection.destroy();
  });

  it('tells the FIN of a SYN_STREAM after onStream, and accepts a unidirectional one', async () => {
    const { connection, peer, streams, takeEvents } = startConnection('server');
    peer.send(
      peer.synStream(1, 'stdin', { fin: true }),
      peer.synStream(3, 'data', { unidirectional: true, fin: true }),
    );
    await settle();
    streams[1]!.write(Buffer.from('no way back'));
    await settle();
    expect({ told: takeEvents(), sent: peer.take(), closed: streams.map((stream) => stream.isClosed) }).to.deep.equal({
      told: ['stream 1 streamtype=stdin', '1 end fin', 'stream 3 streamtype=data', '3 end fin'],
      sent: ['synReply 1', 'synReply 3'],
      closed: [false, true],
    });
    connection.destroy();
  });

  it('refuses ids that are lower, repeated or of the wrong parity, and still inflates their headers', async () => {
    const { connection, peer, takeEvents } = startConnection('server');
    peer.send(peer.synStream(5, 'a'), peer.synStream(3, 'b'), peer.synStream(5, 'c'), peer.synStream(8, 'd'));
    peer.send(peer.synStream(7, 'stdout'));
    await settle();
    expect({ sent: peer.take(), told: takeEvents() }).to.deep.equal({
      sent: ['synReply 5', 'rstStream 3 1', 'rstStream 5 1', 'rstStream 8 1', 'synReply 7'],
      told: ['stream 5 streamtype=a', 'stream 7 streamtype=stdout'],
    });
    connection.destroy();
  });

  it('refuses streams beyond the limit until others are over', async () => {
    const { connection, peer, streams } = startConnection('server', { options: { maxStreams: 2 } });
    peer.send(peer.synStream(1, 'a'), peer.synStream(3, 'b'), peer.synStream(5, 'c'));
    await settle();
    streams[0]!.reset();
    peer.send(peer.synStream(7, 'd'), peer.synStream(9, 'e'));
    await settle();
    expect(peer.take()).to.deep.equal([
      'synReply 1',
      'synReply 3',
      'rstStream 5 3',
      'rstStream 1 5',
      'synReply 7',
      'rstStream 9 3',
    ]);
    connection.destroy();
  });

  it('refuses streams when nobody wants any', async () => {
    const { connection, peer } = startConnection('client', { handlers: { onStream: undefined as never } });
    peer.send(peer.synStream(2, 'a'));
    await settle();
    expect(peer.take()).to.deep.equal(['rstStream 2 3']);
    connection.destroy();
  });

  it('holds what is written before the reply, in order, and counts it', async () => {
    const harness = startConnection('client', {
      options: { highWaterBytes: 1000 },
      pair: { highWaterMark: 1000 },
    });
    const { connection, peer } = harness;
    const stream = connection.createStream([], {
      onReply: () => {
        stream.write(Buffer.from('later'));
        stream.end();
      },
    });
    const answers = [stream.write(Buffer.from('first')), stream.write(Buffer.alloc(1000))];
    let drains = 0;
    connection.onDrain(() => (drains += 1));
    await settle();
    const before = { sent: peer.take(), drains, isWritable: connection.isWritable, queued: connection.queuedBytes };
    peer.send(peer.encoder.synReply(1));
    await settle();
    expect({ answers, before, sent: peer.take(), drains, isWritable: connection.isWritable }).to.deep.equal({
      answers: [true, false],
      before: { sent: ['synStream 1'], drains: 0, isWritable: false, queued: 1005 },
      sent: ['1: first', '1: 1000 bytes', '1: later', '1:  fin'],
      drains: 1,
      isWritable: true,
    });
    connection.destroy();
  });

  it('holds FIN before the reply and drops what is held when the stream is reset', async () => {
    const { connection, peer, takeEvents, noting } = startConnection('client', {
      options: { highWaterBytes: 10 },
      pair: { highWaterMark: 10 },
    });
    const ended = connection.createStream([], noting('ended'));
    ended.end();
    ended.write(Buffer.from('after the end'));
    const refused = connection.createStream([], noting('refused'));
    refused.write(Buffer.alloc(20));
    await settle();
    peer.send(peer.encoder.synReply(1), peer.encoder.rstStream(3, 3));
    await settle();
    expect({ sent: peer.take(), told: takeEvents(), isWritable: connection.isWritable }).to.deep.equal({
      sent: ['synStream 1', 'synStream 3', '1:  fin'],
      told: ['ended reply', 'refused end reset'],
      isWritable: true,
    });
    connection.destroy();
  });

  it('resets a stream that gets bytes before its reply', async () => {
    const { connection, peer, takeEvents, noting } = startConnection('client');
    connection.createStream([], noting('early'));
    peer.send(data(1, 'lost'), peer.encoder.synReply(1), data(1, 'more'));
    await settle();
    expect({ sent: peer.take(), told: takeEvents() }).to.deep.equal({
      sent: ['synStream 1', 'rstStream 1 1'],
      told: ['early end reset'],
    });
    connection.destroy();
  });

  it('ends each stream once, whatever follows its end', async () => {
    const { connection, peer, takeEvents, noting } = startConnection('client');
    for (const name of ['fin', 'reset', 'headers']) connection.createStream([], noting(name));
    peer.send(
      ...[1, 3, 5].map((id) => peer.encoder.synReply(id)),
      data(1, 'a', true),
      data(1, 'b', true),
      peer.encoder.rstStream(1, 5),
      peer.encoder.rstStream(3, 5),
      data(3, 'c', true),
      peer.encoder.rstStream(3, 5),
      peer.encoder.headers(5, [['x', 'y']]),
      data(5, 'd'),
      peer.encoder.headers(5, [], { fin: true }),
      peer.encoder.goaway(0),
    );
    await settle();
    expect(takeEvents()).to.deep.equal([
      'fin reply',
      'reset reply',
      'headers reply',
      'fin a',
      'fin end fin',
      'reset end reset',
      'headers d',
      'headers end fin',
      'END goaway',
    ]);
    connection.destroy();
  });

  it('takes FIN on SYN_REPLY, and ignores replies to the peer or a second time', async () => {
    const { connection, peer, takeEvents, noting } = startConnection('client');
    connection.createStream([], noting('one'));
    peer.send(peer.encoder.synReply(1, [], { fin: true }), peer.encoder.synReply(1, [['again', '']]));
    peer.send(peer.synStream(2, 'x'), peer.encoder.synReply(2), peer.encoder.synReply(99), data(99, 'nobody'));
    await settle();
    expect(takeEvents()).to.deep.equal(['one reply', 'one end fin', 'stream 2 streamtype=x']);
    connection.destroy();
  });

  it('tells nothing of a stream after our own reset', async () => {
    const { connection, peer, takeEvents, noting } = startConnection('client');
    const stream = connection.createStream([], noting('gone'));
    peer.send(peer.encoder.synReply(1));
    await settle();
    stream.reset();
    stream.reset();
    const isTaken = stream.write(Buffer.from('dropped'));
    stream.end();
    peer.send(data(1, 'late', true), peer.encoder.rstStream(1, 5));
    await settle();
    expect({ sent: peer.take(), told: takeEvents(), isTaken }).to.deep.equal({
      sent: ['synStream 1', 'rstStream 1 5'],
      told: ['gone reply'],
      isTaken: true,
    });
    connection.destroy();
  });

  it('tells no more of a stream that its own handler resets', async () => {
    const { connection, peer, streams, takeEvents, noting } = startConnection('server', {
      handlers: {
        onStream: (stream) => {
          streams.push(stream);
          stream.setHandlers({ ...noting('1'), onData: () => stream.reset() });
          stream.reply();
        },
      },
    });
    peer.send(peer.synStream(1, 'x'), data(1, 'a', true));
    await settle();
    expect({ told: takeEvents(), sent: peer.take() }).to.deep.equal({
      told: [],
      sent: ['synReply 1', 'rstStream 1 5'],
    });
    connection.destroy();
  });

  it('splits large writes into frames of 64 KiB, and copies them at once', async () => {
    const { connection, peer, streams } = startConnection('server', { options: { highWaterBytes: 1024 * 1024 } });
    peer.send(peer.synStream(1, 'stdout'));
    await settle();
    peer.take();
    const payload = Buffer.alloc(150_000, 'z');
    streams[0]!.write(payload);
    payload.fill('q');
    streams[0]!.write(Buffer.alloc(0));
    await settle();
    const bytes = Buffer.concat(peer.chunks);
    expect({ sent: peer.take(), copied: bytes.filter((byte) => byte === 0x7a).length }).to.deep.equal({
      sent: ['1: 65536 bytes', '1: 65536 bytes', '1: 18928 bytes'],
      copied: 150_000,
    });
    connection.destroy();
  });
});

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
