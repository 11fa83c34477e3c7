// Frames that leave one a turn, each in a write of its own: for clients that read one frame for each time the socket is readable.

import { Duplex } from 'node:stream';
import { expect } from 'chai';
import { WebSocketConnection } from '../../src/net/websocket-connection.ts';
import { closePayload, encodeFrame, opcodes, WebSocketDecoder } from '../../src/protocol/websocket/frame.ts';
import { headRoomBytes, smallStageBytes } from '../../src/net/write-stage.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { mask, settle } from './websocket-peer.ts';

describe('WebSocketConnection with each frame apart', () => {
  /** A socket that takes one write at a time, when it is told to; `writes` are the texts in each. */
  function start(): {
    connection: WebSocketConnection;
    writes: string[][];
    take: () => Promise<void>;
    socket: Duplex;
  } {
    const writes: string[][] = [];
    let taken = (): void => {};
    const write = (bytes: Buffer, done: () => void): void => {
      const decoder = new WebSocketDecoder({ role: 'client' });
      writes.push(
        decoder
          .acceptChunk(Buffer.from(bytes))
          .map((event) => (event.type === 'data' ? String(event.bytes) : event.type)),
      );
      taken = done;
    };
    const socket = new Duplex({
      read() {},
      write: (chunk: Buffer, _encoding, done) => write(chunk, done),
      writev: (chunks, done) => write(Buffer.concat(chunks.map(({ chunk }) => chunk as Buffer)), done),
    });
    const connection = new WebSocketConnection(
      { socket, clock: new FakeClock() },
      { role: 'server', isFrameApart: true },
      { onData() {}, onEnd() {} },
    );
    const take = async (): Promise<void> => {
      taken();
      await settle();
    };
    return { connection, writes, take, socket };
  }

  it('writes one at a time, in order, pongs and the close too', async () => {
    const { connection, writes, take } = start();
    for (const text of ['one', 'two', 'three']) connection.sendBinary(Buffer.from(text));
    connection.pong();
    void connection.close(1000);
    await settle();
    expect(writes).to.deep.equal([['one']]);
    for (let count = 0; count < 4; count += 1) await take();
    expect(writes).to.deep.equal([['one'], ['two'], ['three'], ['pong'], ['close']]);
    connection.destroy();
  });

  it('writes the message of a stage from there, behind what is leaving, and takes the stage over', async () => {
    const { connection, writes, take } = start();
    const stageOf = (text: string): Buffer => {
      const stage = Buffer.alloc(smallStageBytes, 'x');
      stage.write(text, headRoomBytes);
      return stage;
    };
    const ran: string[] = [];
    connection.onIdle(() => ran.push('idle at once'));
    const idles = [connection.isIdle];
    for (const text of ['one', 'two', 'a'.repeat(1000)]) {
      connection.sendStage(stageOf(text), headRoomBytes, headRoomBytes + text.length);
      idles.push(connection.isIdle);
    }
    connection.onIdle(() => ran.push('first'));
    connection.onIdle(() => {
      ran.push('latest');
      connection.sendBinary(Buffer.from('more'));
    });
    for (let count = 0; count < 3; count += 1) {
      await settle();
      expect(ran).to.deep.equal(['idle at once']);
      await take();
    }
    expect([writes, idles, ran, connection.isIdle]).to.deep.equal([
      [['one'], ['two'], ['a'.repeat(1000)], ['more']],
      [true, false, false, false],
      ['idle at once', 'latest'],
      false,
    ]);
    connection.destroy();
    connection.sendStage(stageOf('late'), headRoomBytes, headRoomBytes + 4);
    await settle();
    expect(writes.length).to.equal(4);
  });

  it('counts what waits elsewhere as waiting', async () => {
    const { connection } = start();
    const told: string[] = [];
    connection.setHeldElsewhere(300_000);
    const wasWritable = connection.isWritable;
    connection.onDrain(() => told.push('drain'));
    connection.setHeldElsewhere(0);
    expect([wasWritable, told, connection.isWritable]).to.deep.equal([false, ['drain'], true]);
    connection.destroy();
  });

  it('counts what waits, and tells when there is room again', async () => {
    const { connection, writes, take } = start();
    const big = Buffer.alloc(100_000);
    const told: string[] = [];
    const hasRoom = [1, 2, 3, 4].map(() => connection.sendBinary(big));
    connection.onDrain(() => told.push('drain'));
    await settle();
    expect([hasRoom, told, writes.length]).to.deep.equal([[true, true, false, false], [], 1]);
    await take();
    expect([told, connection.isWritable]).to.deep.equal([[], false]);
    await take();
    expect([told, connection.isWritable]).to.deep.equal([['drain'], true]);
    connection.destroy();
  });

  it('sends all that waits when the peer has closed, and nothing on a socket that is gone', async () => {
    const closing = start();
    closing.connection.sendBinary(Buffer.from('one'));
    closing.connection.sendBinary(Buffer.from('two'));
    closing.socket.push(Buffer.concat(encodeFrame(opcodes.close, [closePayload(1000)], { key: mask })));
    await settle();
    await closing.take();
    expect(closing.writes).to.deep.equal([['one'], ['two', 'close']]);
    closing.connection.destroy();

    const gone = start();
    const told: string[] = [];
    for (let count = 0; count < 4; count += 1) gone.connection.sendBinary(Buffer.alloc(100_000));
    gone.connection.onDrain(() => told.push('drain'));
    await settle();
    gone.connection.destroy();
    await gone.take();
    expect([gone.writes.length, told]).to.deep.equal([1, []]);
  });
});
