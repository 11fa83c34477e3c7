import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { Duplex } from 'node:stream';

import { expect } from 'chai';

import { Scope } from '../../src/base/scope.ts';
import { SocketWriter } from '../../src/net/socket-writer.ts';
import { largeStageBytes, smallStageBytes, StagePool } from '../../src/net/write-stage.ts';

/** Notes each write and finishes it when told. */
class SlowDuplex extends Duplex {
  readonly isWriteConsumer: boolean;
  readonly lengths: number[] = [];
  readonly chunks: Buffer[] = [];
  #done: (() => void) | undefined;

  constructor(isWriteConsumer = true) {
    super({ writableHighWaterMark: 1024 });
    this.isWriteConsumer = isWriteConsumer;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.lengths.push(chunk.length);
    this.chunks.push(chunk);
    this.#done = done;
  }

  finishOne(): void {
    const done = this.#done;
    this.#done = undefined;
    done?.();
  }
}

/** A pool that counts. */
class CountingPool extends StagePool {
  taken = 0;
  given = 0;

  override take(byteCount: number): Buffer {
    this.taken += 1;
    return super.take(byteCount);
  }

  override give(stage: Buffer): void {
    this.given += 1;
    super.give(stage);
  }
}

async function turns(count = 5): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

describe('SocketWriter', () => {
  it('writes what one turn brings as one, in order, whatever the sizes', async () => {
    for (const sizes of [
      [1],
      [3, smallStageBytes - 3],
      [3, smallStageBytes - 2],
      [smallStageBytes, 1, 70_000],
      [largeStageBytes - 1, 1],
    ]) {
      const socket = new SlowDuplex();
      const writer = new SocketWriter({ socket });
      const pieces = sizes.map((size, index) => Buffer.alloc(size, index + 1));
      for (const piece of pieces) writer.write(piece);
      await turns();
      expect(socket.lengths, sizes.join(' ')).to.deep.equal([sizes.reduce((sum, size) => sum + size, 0)]);
      expect(Buffer.concat(socket.chunks).equals(Buffer.concat(pieces)), sizes.join(' ')).to.equal(true);
      expect(writer.bytesOut).to.equal(socket.lengths[0]);
      socket.destroy();
    }
  });

  it('keeps what it was given, whatever becomes of the memory it was given in', async () => {
    const socket = new SlowDuplex();
    const writer = new SocketWriter({ socket }, { isHeld: true });
    const bytes = Buffer.from('one ');
    writer.write(bytes);
    bytes.fill('x');
    writer.release();
    bytes.write('two ');
    writer.write(bytes);
    bytes.fill('x');
    await turns();
    expect(Buffer.concat(socket.chunks).toString()).to.equal('one two ');
    socket.destroy();
  });

  it('goes on filling one stage behind a write under way, so that much waiting costs about its own size', async () => {
    const socket = new SlowDuplex();
    const stages = new CountingPool();
    const writer = new SocketWriter({ socket, stages });
    const byteCount = 1024 * 1024;
    for (let at = 0; at < byteCount; at += 1024) {
      writer.write(Buffer.alloc(1024, at / 1024));
      if (at % (64 * 1024) === 0) await turns(1);
    }
    expect({ queued: writer.queuedBytes, isWritable: writer.isWritable, writes: socket.lengths.length }).to.deep.equal({
      queued: byteCount,
      isWritable: false,
      writes: 1,
    });
    expect(stages.taken).to.be.at.most(byteCount / largeStageBytes + 3);
    const want = Buffer.concat(Array.from({ length: 1024 }, (_, index) => Buffer.alloc(1024, index)));
    const came: Buffer[] = [];
    for (let round = 0; round < 20; round += 1) {
      came.push(...socket.chunks.splice(0).map((chunk) => Buffer.from(chunk))); // as a consumer: before it says done
      socket.finishOne();
      await turns(2);
    }
    expect(Buffer.concat(came).equals(want)).to.equal(true);
    expect({ queued: writer.queuedBytes, isWritable: writer.isWritable }).to.deep.equal({
      queued: 0,
      isWritable: true,
    });
    expect(stages.given).to.equal(stages.taken);
    socket.destroy();
  });

  it('gives a Duplex that may hand on what it gets memory of its own', async () => {
    const socket = new SlowDuplex(false);
    const writer = new SocketWriter({ socket });
    for (const text of ['one', 'two']) {
      writer.write(Buffer.from(text));
      await turns();
      socket.finishOne();
      await turns();
    }
    expect(socket.chunks.map(String)).to.deep.equal(['one', 'two']);
    socket.destroy();
  });

  it('tells of room once the socket has taken enough, and writes the last bytes apart', async () => {
    const socket = new SlowDuplex();
    const writer = new SocketWriter({ socket }, { highWaterBytes: 4096 });
    const told: string[] = [];
    writer.write(Buffer.alloc(5000));
    writer.onDrain(() => told.push(`room at ${writer.queuedBytes}`));
    writer.writeApart(Buffer.from('last'));
    await turns();
    const before = [...socket.lengths];
    socket.finishOne();
    await turns();
    expect({ before, after: socket.lengths, told }).to.deep.equal({
      before: [5000],
      after: [5000, 4],
      told: ['room at 4'],
    });
    socket.destroy();
  });

  it('sends everything before its FIN, also what was written in the same turn', async () => {
    const socket = new SlowDuplex();
    const writer = new SocketWriter({ socket });
    writer.write(Buffer.alloc(10));
    await turns();
    writer.write(Buffer.alloc(20));
    writer.writeApart(Buffer.alloc(5));
    writer.end();
    writer.write(Buffer.alloc(99));
    let hasFinished = false;
    socket.once('finish', () => {
      hasFinished = true;
    });
    for (let round = 0; round < 4; round += 1) {
      socket.finishOne();
      await turns(2);
    }
    expect([socket.lengths.reduce((sum, length) => sum + length, 0), hasFinished]).to.deep.equal([35, true]);
    socket.destroy();
  });

  it('uses the memory of a write to a socket again, and not that of one that failed', async () => {
    const scope = new Scope();
    const server = createServer((socket) => socket.on('error', () => {}).resume());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    scope.add(() => void server.close());
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    scope.add(() => void socket.destroy());
    socket.on('error', () => {});
    await once(socket, 'connect');
    const stages = new CountingPool();
    const writer = new SocketWriter({ socket, stages });
    writer.write(Buffer.alloc(100));
    while (stages.given === 0) await turns();
    writer.write(Buffer.alloc(100));
    await turns(0);
    socket.destroy();
    await once(socket, 'close');
    await turns();
    expect([stages.taken, stages.given]).to.deep.equal([2, 1]);
    await scope.close();
  });
});
