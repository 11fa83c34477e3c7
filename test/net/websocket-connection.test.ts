// One WebSocket connection over any Duplex: messages, pings, closes, limits and backpressure.

import { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import { WebSocketConnection, type WebSocketEnd } from '../../src/net/websocket-connection.ts';
import { closePayload, encodeFrame, opcodes, WebSocketDecoder } from '../../src/protocol/websocket/frame.ts';
import { duplexPair } from '../support/duplex-pair.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type Harness, mask, serve, settle, SlowSocket } from './websocket-peer.ts';

describe('WebSocketConnection', () => {
  it('gives messages, answers pings and reports pongs', async () => {
    const { connection, log, send, received } = serve();
    send(opcodes.binary, 'one');
    send(opcodes.ping, 'p');
    send(opcodes.pong, 'q');
    send(opcodes.text, '');
    await settle();
    expect([log, received()]).to.deep.equal([
      ['data [one]', 'ping p', 'pong q', 'data []'],
      [{ type: 'pong', payload: Buffer.from('p') }],
    ]);
    expect([connection.bytesIn, connection.bytesOut]).to.deep.equal([9 + 7 + 7 + 6, 3]);
    connection.destroy();
  });

  it('takes bytes that came with the upgrade before all others', async () => {
    const [first, second] = encodeFrame(opcodes.binary, [Buffer.from('early')], { key: mask });
    const { connection, log, send } = serve({
      head: Buffer.concat([first ?? '', second ?? Buffer.alloc(0)] as Buffer[]),
    });
    send(opcodes.binary, 'late');
    expect(log).to.deep.equal([]);
    await settle();
    expect(log).to.deep.equal(['data [early]', 'data [late]']);
    connection.destroy();
  });

  it('sends parts as one message, text, pings and pongs, in order', async () => {
    const { connection, received } = serve();
    connection.sendBinary(Buffer.of(1), Buffer.from('abc'));
    connection.sendText('é');
    connection.ping(Buffer.from('x'));
    connection.pong();
    connection.sendBinary();
    await settle();
    const events = received();
    const bytes = (text: string): Buffer => Buffer.from(text);
    expect(events.map((event) => (event.type === 'data' ? [event.opcode, event.bytes] : event))).to.deep.equal([
      ['binary', bytes('\x01abc')],
      ['text', bytes('é')],
      { type: 'ping', payload: bytes('x') },
      { type: 'pong', payload: bytes('') },
      ['binary', bytes('')],
    ]);
    expect(connection.bytesOut).to.equal(6 + 4 + 3 + 2 + 2);
    connection.destroy();
  });

  it('sends its close in a write of its own: some clients read one frame for each time the socket is readable', async () => {
    const writes: number[][] = [];
    const socket = new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        this._writev?.([{ chunk, encoding: 'buffer' as BufferEncoding }], done);
      },
      writev(chunks, done) {
        const bytes = Buffer.concat(chunks.map(({ chunk }) => chunk as Buffer));
        if (bytes.length > 0) writes.push([...bytes.subarray(0, 1), bytes.length]);
        setImmediate(done);
      },
    });
    const connection = new WebSocketConnection(
      { socket, clock: new FakeClock() },
      { role: 'server' },
      { onData() {}, onEnd() {} },
    );
    connection.sendText('out');
    connection.sendText('status');
    const closed = connection.close(1000);
    while (writes.length < 2) await turn();
    connection.destroy();
    await closed;
    expect(writes).to.deep.equal([
      [0x81, 13],
      [0x88, 4],
    ]);
  });

  it('answers a close with its code, ends once and closes the socket', async () => {
    const { connection, ends, send, peer, received } = serve();
    send(opcodes.close, closePayload(4001, 'bye'));
    send(opcodes.binary, 'never seen');
    await settle();
    expect([ends, received(), connection.isOpen, connection.sendBinary(Buffer.from('x'))]).to.deep.equal([
      [{ how: 'close', code: 4001, reason: 'bye' }],
      [{ type: 'close', code: 4001, reason: '' }],
      false,
      true,
    ]);
    peer.resume().end();
    await connection.close(1000);
    expect(ends).to.have.length(1);
  });

  it('answers a close without a code with one without a code', async () => {
    const { connection, ends, send, received } = serve();
    send(opcodes.close);
    await settle();
    expect([ends, received()]).to.deep.equal([
      [{ how: 'close', code: 1005, reason: '' }],
      [{ type: 'close', code: 1005, reason: '' }],
    ]);
    connection.destroy();
  });

  it('closes after all queued bytes, reads on without giving, and ends with the close of the peer', async () => {
    const { connection, log, ends, send, received, peer } = serve();
    connection.sendBinary(Buffer.from('tail'));
    const closed = connection.close(1000, 'done');
    connection.sendBinary(Buffer.from('too late'));
    send(opcodes.binary, 'dropped');
    send(opcodes.ping, 'dropped');
    await settle();
    expect(received().map((event) => (event.type === 'data' ? event.bytes.toString() : event))).to.deep.equal([
      'tail',
      { type: 'close', code: 1000, reason: 'done' },
    ]);
    expect([log, peer.readableEnded]).to.deep.equal([[], false]);
    send(opcodes.close, closePayload(1000));
    await settle();
    expect(ends).to.deep.equal([{ how: 'close', code: 1000, reason: '' }]);
    peer.resume().end();
    await closed;
  });

  for (const [what, run, want] of [
    ['FIN of the peer', ({ peer }: Harness) => peer.end(), 'closed'],
    ['reset', ({ peer }: Harness) => peer.destroy(), 'error'],
  ] as const) {
    it(`a close settles at a ${what}`, async () => {
      const harness = serve();
      const closed = harness.connection.close(1000);
      await settle();
      run(harness);
      await settle();
      harness.peer.resume();
      await closed;
      expect(harness.ends.map(({ how }) => how)).to.deep.equal([want]);
    });
  }

  it('a close gives up on a peer that says nothing, but not while bytes leave', async () => {
    const socket = new SlowSocket();
    const clock = new FakeClock();
    const ends: string[] = [];
    const connection = new WebSocketConnection(
      { socket, clock },
      { role: 'server', closeTimeoutMs: 1000 },
      { onData: () => {}, onEnd: ({ how }) => ends.push(how) },
    );
    // More than what leaves together.
    for (let count = 0; count < 10; count += 1) connection.sendBinary(Buffer.alloc(400_000));
    const closed = connection.close(1000);
    await settle();
    for (let round = 0; round < 3; round += 1) {
      socket.takeOne();
      await settle();
      clock.advance(1000);
      expect([ends, socket.destroyed]).to.deep.equal([[], false]);
    }
    clock.advance(1000);
    await closed;
    expect([ends, clock.pendingCount]).to.deep.equal([['closed'], 0]);
  });

  it('a close goes on while its owner holds a pause', async () => {
    const { connection, log, send, ends, peer } = serve();
    await settle();
    connection.pause();
    send(opcodes.binary, 'unread');
    await settle();
    expect(log).to.deep.equal([]);
    const closed = connection.close(1000);
    send(opcodes.close, closePayload(1000));
    await settle();
    expect([log, ends.map(({ how }) => how)]).to.deep.equal([['end close'], ['close']]);
    peer.resume().end();
    await closed;
  });

  it('after both closes waits for the FIN of the peer, but not forever', async () => {
    const { connection, clock, send, peer } = serve({ closeTimeoutMs: 600_000 });
    const closed = connection.close(1000);
    send(opcodes.close, closePayload(1000));
    peer.resume();
    await settle();
    expect([peer.readableEnded, peer.destroyed]).to.deep.equal([true, false]);
    clock.advance(5000); // the close frame left in this time, which counts as progress
    clock.advance(5000);
    await closed;
  });

  it('reports a FIN without a close', async () => {
    const { connection, ends, peer } = serve();
    peer.end();
    await settle();
    expect([ends, connection.isWritable]).to.deep.equal([[{ how: 'fin' }], false]);
    peer.resume();
    await connection.close(1000);
  });

  it('reports a reset once, and a socket that was already gone', async () => {
    const { connection, ends, peer } = serve();
    await settle();
    peer.destroy();
    await settle();
    expect(ends.map(({ how }) => how)).to.deep.equal(['error']);
    await connection.close(1000);
    const [gone, farEnd] = duplexPair();
    farEnd.on('error', () => {});
    gone.destroy();
    await settle();
    const how = await new Promise((resolve) => {
      const handlers = { onData: () => {}, onEnd: (end: WebSocketEnd) => resolve(end.how) };
      const late = new WebSocketConnection({ socket: gone, clock: new FakeClock() }, { role: 'server' }, handlers);
      expect(late.isOpen, 'told a tick later').to.equal(true);
    });
    expect(how).to.equal('error');
  });

  it('destroys at once, reporting closed', async () => {
    const { connection, ends, peer } = serve({ pingIntervalMs: 10 });
    connection.destroy();
    expect(ends).to.deep.equal([{ how: 'closed' }]);
    await settle();
    expect(peer.destroyed).to.equal(true);
    connection.destroy();
  });

  it('says what a broken peer did wrong, then lingers so that it can read it', async () => {
    const { connection, log, ends, peer, received, clock } = serve();
    peer.write(Buffer.concat(encodeFrame(opcodes.binary, [Buffer.from('ok')], { key: mask })));
    peer.write(Buffer.from('8200', 'hex'));
    peer.write(Buffer.alloc(100));
    await settle();
    expect([log, ends[0]?.how, received()]).to.deep.equal([
      ['data [ok]', 'end error'],
      'error',
      [{ type: 'close', code: 1002, reason: '' }],
    ]);
    expect(peer.destroyed).to.equal(false);
    clock.advance(10_000);
    await connection.close(1000);
  });

  it('limits messages', async () => {
    const { connection, send, received, log } = serve({ maxMessageBytes: 10 });
    send(opcodes.binary, '0123456789');
    send(opcodes.binary, '0123456789a');
    await settle();
    expect([log, received()]).to.deep.equal([
      ['data [0123456789]', 'end error'],
      [{ type: 'close', code: 1009, reason: '' }],
    ]);
    connection.destroy();
  });

  it('counts pauses, also before its first byte', async () => {
    const { connection, log, send } = serve({
      head: Buffer.concat(encodeFrame(opcodes.binary, [Buffer.from('head')], { key: mask })),
    });
    connection.resume(); // without a pause: nothing
    connection.pause();
    connection.pause();
    send(opcodes.binary, 'more');
    await settle();
    connection.resume();
    await settle();
    expect(log).to.deep.equal([]);
    connection.resume();
    await settle();
    expect(log).to.deep.equal(['data [head]', 'data [more]']);
    connection.pause();
    send(opcodes.binary, 'again');
    await settle();
    expect(log).to.have.length(2);
    connection.resume();
    await settle();
    expect(log).to.have.length(3);
    connection.destroy();
  });

  it('does not report a FIN before the bytes that a pause holds back', async () => {
    const { connection, log, peer, send } = serve({
      head: Buffer.concat(encodeFrame(opcodes.binary, [Buffer.from('head')], { key: mask })),
    });
    connection.pause();
    send(opcodes.binary, 'more');
    peer.end();
    await settle();
    expect(log).to.deep.equal([]);
    connection.resume();
    await settle();
    expect(log).to.deep.equal(['data [head]', 'data [more]', 'end fin']);
    peer.resume();
    await connection.close(1000);
  });

  it('tells its owner to wait while the peer does not read, and when to go on', async () => {
    const { connection, peer } = serve({}, 1000);
    let sent = 0;
    while (connection.sendBinary(Buffer.alloc(10_000)) && sent < 100) sent += 1;
    expect([sent < 100, connection.isWritable]).to.deep.equal([true, false]);
    let drains = 0;
    connection.onDrain(() => {
      drains += 1;
    });
    await settle();
    expect(drains).to.equal(0);
    peer.resume();
    await settle();
    expect([drains, connection.isWritable]).to.deep.equal([1, true]);
    connection.onDrain(() => {
      drains += 1;
    });
    expect(drains).to.equal(2);
    connection.destroy();
    connection.onDrain(() => {
      drains += 1;
    });
    expect(drains).to.equal(2);
  });

  it('owes one pong, for the latest ping, to a peer that pings without reading', async () => {
    const { connection, peer, send, log } = serve({}, 1000);
    while (connection.sendBinary(Buffer.alloc(10_000)));
    const before = connection.bytesOut;
    for (let count = 0; count < 50; count += 1) send(opcodes.ping, String(count));
    await settle();
    expect([log.length, connection.bytesOut]).to.deep.equal([50, before]);
    const decoder = new WebSocketDecoder({ role: 'client' });
    const pongs: string[] = [];
    peer.on('data', (chunk: Buffer) => {
      for (const event of decoder.acceptChunk(Buffer.from(chunk)))
        if (event.type === 'pong') pongs.push(event.payload.toString());
    });
    await settle();
    expect(pongs).to.deep.equal(['49']);
    connection.destroy();
  });

  it('pings at its interval while the peer reads', async () => {
    const { connection, clock, received } = serve({ pingIntervalMs: 1000 });
    clock.advance(2500);
    await settle();
    expect(received().map(({ type }) => type)).to.deep.equal(['ping', 'ping']);
    void connection.close(1000);
    expect(clock.pendingCount, 'only the close is waited for').to.equal(1);
    connection.destroy();
    await settle();
    expect(clock.pendingCount).to.equal(0);
  });

  it('lets its owner close or destroy it inside onData', async () => {
    for (const how of ['close', 'destroy'] as const) {
      const [ours, peer] = duplexPair();
      peer.on('error', () => {});
      const seen: string[] = [];
      const connection = new WebSocketConnection(
        { socket: ours, clock: new FakeClock() },
        { role: 'server' },
        {
          onData: ({ bytes }) => {
            seen.push(bytes.toString());
            if (how === 'close') void connection.close(1000);
            else connection.destroy();
          },
          onEnd: (end) => seen.push(end.how),
        },
      );
      const frames = ['a', 'b'].flatMap((text) => encodeFrame(opcodes.binary, [Buffer.from(text)], { key: mask }));
      peer.write(Buffer.concat([...frames, ...encodeFrame(opcodes.close, [], { key: mask })]));
      await settle();
      expect(seen).to.deep.equal(how === 'close' ? ['a', 'close'] : ['a', 'closed']);
      connection.destroy();
    }
  });

  it('masks as a client, with keys that differ, and leaves the bytes of its owner alone', async () => {
    const [ours, peer] = duplexPair();
    peer.on('error', () => {});
    const connection = new WebSocketConnection(
      { socket: ours, clock: new FakeClock() },
      { role: 'client' },
      { onData: () => {}, onEnd: () => {} },
    );
    const bytes = Buffer.from('same bytes');
    for (let count = 0; count < 20; count += 1) connection.sendBinary(bytes);
    await settle();
    const wire = peer.read() as Buffer;
    const size = 2 + 4 + bytes.length;
    const keys = Array.from({ length: 20 }, (_, at) => wire.subarray(at * size + 2, at * size + 6).toString('hex'));
    expect([bytes.toString(), new Set(keys).size]).to.deep.equal(['same bytes', 20]);
    connection.destroy();
  });
});
