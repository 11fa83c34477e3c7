// The streams of an SpdyConnection: ids, replies, ends and frames, on both sides of it.

import { expect } from 'chai';

import { data, settle, startConnection } from './spdy-peer.ts';

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
