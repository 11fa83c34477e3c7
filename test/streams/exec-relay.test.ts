// exec over SPDY from the client's streams to the kubelet's and back: order, ends, framing and backpressure.

import { Buffer } from 'node:buffer';

import { expect } from 'chai';

import { SpdyDecoder } from '../../src/protocol/spdy/decoder.ts';
import { SpdyEncoder } from '../../src/protocol/spdy/encoder.ts';
import type { SpdyFrame } from '../../src/protocol/spdy/frame.ts';
import { ExecRelay, type ExecRelayOptions } from '../../src/streams/exec-relay.ts';
import { makeRig, quiet, type Rig, SpdyPeer, until } from './support/rig.ts';

const success = '{"metadata":{},"status":"Success"}';
const exitThree =
  '{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: error executing command [x], exit code 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}';

function failureText(text: string): string {
  return ` {"status":"Failure","message":"Internal error occurred: ${text}","reason":"InternalError","code":500}`;
}

describe('ExecRelay', () => {
  let rig: Rig<ExecRelay>;
  let client: SpdyPeer;

  function start(
    options: Partial<ExecRelayOptions> = {},
    rigOptions: { head?: Buffer; highWaterMark?: number } = {},
  ): void {
    rig = makeRig(
      (deps, legs) =>
        new ExecRelay(deps, legs, { version: 4, hasTty: false, backend: 'the kubelet of node node1', ...options }),
      rigOptions,
    );
    client = new SpdyPeer(rig.clientSocket, rig.clock, 'client');
  }

  async function open(...types: string[]): Promise<void> {
    for (const type of types) client.open(type);
    await until(() => rig.kubelet.streams.length >= types.length, 'the streams at the kubelet');
  }

  afterEach(async () => {
    await rig.close();
    expect(rig.clock.pendingCount).to.equal(0);
  });

  it('opens at the kubelet exactly the streams of the client, in its order', async () => {
    start();
    await open('error', 'stdout', 'stdin');
    await quiet();
    expect(rig.kubelet.log).to.deep.equal(['open error', 'open stdout', 'open stdin']);
  });

  it('replies to each stream at once, whether the kubelet has replied or not', async () => {
    start();
    rig.kubelet.isReplying = false;
    await open('error', 'stdin');
    await until(() => client.log.includes('reply stdin'));
    expect(client.log).to.deep.equal(['reply error', 'error  ', 'reply stdin']);
  });

  it('holds stdin that comes before the reply of the kubelet, which would drop it', async () => {
    start();
    rig.kubelet.isReplying = false;
    await open('error', 'stdin');
    client.of('stdin').stream.write(Buffer.from('early'));
    await quiet();
    expect(rig.kubelet.text('stdin')).to.equal('');
    rig.kubelet.of('stdin').stream.reply();
    await until(() => rig.kubelet.text('stdin') === 'early');
  });

  it('sends nothing before the first frame of the client', async () => {
    start();
    rig.clock.advance(120_000);
    await quiet();
    expect(rig.clientSocket.readableLength).to.equal(0);
    expect(client.connection.bytesIn).to.equal(0);
  });

  it('loses no frame that came with the upgrade head', async () => {
    const encoder = new SpdyEncoder();
    start({}, { head: encoder.synStream(1, [['streamtype', 'error']]) });
    await until(() => rig.kubelet.log.includes('open error'));
  });

  it('writes one space to the error stream of v4 right after its reply', async () => {
    start();
    await open('error');
    await until(() => client.text('error') === ' ');
  });

  for (const version of [1, 2, 3] as const) {
    it(`writes no space and the message as text in v${version}`, async () => {
      start({ version });
      await open('error', 'stdout');
      const { kubelet } = rig;
      kubelet.of('stdout').stream.end();
      kubelet.of('error').stream.write(Buffer.from(exitThree));
      kubelet.connection.goaway();
      await until(() => client.end !== undefined);
      expect(client.text('error')).to.equal(
        'command terminated with non-zero exit code: error executing command [x], exit code 3',
      );
    });
  }

  it('leaves the error stream of v3 empty on success, and says so in text when the kubelet dies', async () => {
    start({ version: 3 });
    await open('error', 'stdout');
    rig.kubelet.of('stdout').stream.end();
    rig.kubelet.of('error').stream.write(Buffer.from(success));
    rig.kubelet.connection.goaway();
    await until(() => client.end !== undefined);
    expect(client.text('error')).to.equal('');
    await rig.close();

    start({ version: 3 });
    await open('error', 'stdout');
    rig.kubelet.socket.destroy();
    await until(() => client.end !== undefined);
    expect(client.text('error')).to.equal(
      'the connection to the kubelet of node node1 broke (ECONNRESET) before the command had ended',
    );
  });

  it('passes output and then the status of the kubelet in its own bytes', async () => {
    start();
    await open('error', 'stdout', 'stderr');
    const { kubelet } = rig;
    kubelet.of('stdout').stream.write(Buffer.from('out\n'));
    kubelet.of('stderr').stream.write(Buffer.from('err\n'));
    kubelet.of('error').stream.write(Buffer.from(exitThree));
    for (const type of ['error', 'stdout', 'stderr']) kubelet.of(type).stream.reset();
    kubelet.connection.goaway();
    await until(() => client.end !== undefined);
    expect(client.log.filter((line) => !line.startsWith('reply'))).to.deep.equal([
      'error  ',
      'stdout out\n',
      'stderr err\n',
      'end stdout fin',
      'end stderr fin',
      `error ${exitThree.length}`,
      'end error fin',
      'ended goaway',
    ]);
    expect(client.text('error')).to.equal(` ${exitThree}`);
  });

  it('passes on success, and tells the session', async () => {
    start();
    await open('error', 'stdout');
    rig.kubelet.of('error').stream.write(Buffer.from(success));
    rig.kubelet.of('stdout').stream.write(Buffer.from('12345'));
    rig.kubelet.connection.goaway();
    await until(() => client.end !== undefined);
    expect(client.text('error')).to.equal(` ${success}`);
    client.socket.destroy();
    await until(() => rig.ended !== undefined);
    expect(rig.ended).to.deep.equal({ cause: 'normal', message: 'the command succeeded', exitCode: 0 });
    expect(rig.session.bytesOut).to.equal(5);
  });

  it('waits with the status until all output has come', async () => {
    start();
    await open('error', 'stdout');
    rig.kubelet.of('error').stream.write(Buffer.from(success));
    rig.kubelet.of('error').stream.end();
    await quiet();
    expect(client.text('error')).to.equal(' ');
    rig.kubelet.of('stdout').stream.write(Buffer.from('late'));
    rig.kubelet.of('stdout').stream.end();
    await until(() => client.end !== undefined);
    expect(client.log.indexOf('stdout late')).to.be.lessThan(client.log.indexOf(`error ${success}`));
  });

  it('keeps to frame boundaries, so that a Failure can follow half a frame of the kubelet', async () => {
    start();
    await open('error', 'stdout');
    const id = rig.kubelet.of('stdout').stream.id;
    await quiet(); // what goes out beside the connection must not overtake its own frames
    // A DATA frame that announces 1000 bytes and has 10.
    rig.kubelet.socket.write(Buffer.concat([new SpdyEncoder().dataHeader(id, 1000, false), Buffer.from('0123456789')]));
    await until(() => client.text('stdout') === '0123456789');
    rig.kubelet.socket.destroy();
    await until(() => client.end !== undefined);
    expect(client.text('error')).to.match(/"status":"Failure"/);
    expect(client.end).to.deep.equal({ how: 'goaway' });
  });

  it('frames output anew, in frames of at most 64 KiB', async () => {
    start();
    const decoder = new SpdyDecoder();
    const frames: SpdyFrame[] = [];
    rig.clientSocket.on('data', (chunk: Buffer) => frames.push(...decoder.acceptChunk(Buffer.from(chunk))));
    await open('error', 'stdout');
    const id = rig.kubelet.of('stdout').stream.id;
    await quiet();
    rig.kubelet.socket.write(new SpdyEncoder().dataHeader(id, 300_000, true));
    rig.kubelet.socket.write(Buffer.alloc(300_000, 7));
    await until(() => client.of('stdout').end === 'fin');
    const lengths = frames.flatMap((frame) =>
      frame.type === 'data' && frame.streamId === 3 ? [frame.bytes.length] : [],
    );
    expect(Math.max(...lengths)).to.be.at.most(64 * 1024);
    expect(lengths.reduce((sum, length) => sum + length, 0)).to.equal(300_000);
  });

  it('carries the half-close of stdin, and output after it', async () => {
    start();
    await open('error', 'stdin', 'stdout');
    client.of('stdin').stream.write(Buffer.from('in'));
    client.of('stdin').stream.end();
    await until(() => rig.kubelet.of('stdin').end === 'fin');
    expect(rig.kubelet.text('stdin')).to.equal('in');
    rig.kubelet.of('stdout').stream.write(Buffer.from('after'));
    await until(() => client.text('stdout') === 'after');
    expect(rig.session.bytesIn).to.equal(2);
  });

  it('does not take the end of the connection of the client for the end of its stdin', async () => {
    start();
    await open('error', 'stdin', 'stdout');
    rig.clientSocket.end();
    await until(() => rig.kubelet.end !== undefined);
    expect(rig.kubelet.of('stdin').end).to.equal('cut');
  });

  for (const [what, leave] of [
    ['closes its socket', (): void => void rig.clientSocket.destroy()],
    ['says GOAWAY', (): void => client.connection.goaway()],
  ] as const) {
    it(`closes the leg of the kubelet when the client ${what}`, async () => {
      start();
      await open('error', 'stdout');
      leave();
      await until(() => rig.innerKubeletSocket.destroyed);
      rig.clientSocket.destroy();
      await until(() => rig.ended !== undefined);
      expect(rig.ended?.cause).to.equal('clientGone');
    });
  }

  it('tells the client when the kubelet stops reading stdin', async () => {
    start();
    await open('error', 'stdin');
    rig.kubelet.of('stdin').stream.reset();
    await until(() => client.of('stdin').end === 'reset');
  });

  it('stops reading the kubelet while the client does not read, and holds a bounded amount', async () => {
    start({}, { highWaterMark: 16 * 1024 });
    await open('error', 'stdout');
    await quiet();
    client.connection.pause();
    let sent = 0;
    const chunk = Buffer.alloc(16 * 1024);
    for (let round = 0; round < 400; round += 1) {
      if (rig.kubelet.of('stdout').stream.write(chunk)) sent += chunk.length;
      await quiet();
      if (rig.innerSocket.writableLength > 0 && !rig.kubelet.connection.isWritable) break;
    }
    expect(rig.kubelet.connection.isWritable).to.equal(false);
    expect(rig.innerSocket.writableLength).to.be.lessThan(512 * 1024);
    expect(sent).to.be.lessThan(2 * 1024 * 1024);
    client.connection.resume();
    await until(() => rig.kubelet.connection.isWritable);
  });

  it('stops reading the client while the kubelet does not read', async () => {
    start({}, { highWaterMark: 16 * 1024 });
    await open('error', 'stdin');
    await quiet();
    rig.kubelet.connection.pause();
    const chunk = Buffer.alloc(16 * 1024);
    for (let round = 0; round < 400 && client.connection.isWritable; round += 1) {
      client.of('stdin').stream.write(chunk);
      await quiet();
    }
    expect(client.connection.isWritable).to.equal(false);
    expect(rig.innerKubeletSocket.writableLength).to.be.lessThan(512 * 1024);
    rig.kubelet.connection.resume();
    await until(() => client.connection.isWritable);
  });

  describe('after the end', () => {
    /** A client that opens two streams, reads what it is told to, and never closes by itself. */
    async function endWithRawClient(): Promise<void> {
      rig = makeRig(
        (deps, legs) => new ExecRelay(deps, legs, { version: 4, hasTty: false, backend: 'the kubelet of node node1' }),
      );
      const encoder = new SpdyEncoder();
      for (const [id, type] of [
        [1, 'error'],
        [3, 'stdin'],
      ] as const) {
        rig.clientSocket.write(encoder.synStream(id, [['streamtype', type]]));
      }
      await until(() => rig.kubelet.streams.length === 2);
      rig.kubelet.of('error').stream.write(Buffer.from(success));
      rig.kubelet.connection.goaway();
      await until(() => rig.innerKubeletSocket.destroyed);
    }

    it('gives a client that does not close at GOAWAY its FIN after five seconds', async () => {
      await endWithRawClient();
      rig.clientSocket.resume();
      await quiet();
      const atOnce = rig.innerSocket.writableEnded;
      rig.clock.advance(5000);
      await until(() => rig.innerSocket.writableEnded);
      expect(atOnce).to.equal(false);
    });

    it('lingers until the client has closed, and reads what it still sends', async () => {
      await endWithRawClient();
      rig.clientSocket.resume();
      rig.clientSocket.write(new SpdyEncoder().ping(1));
      rig.clock.advance(300_000);
      await quiet();
      expect([rig.innerSocket.destroyed, rig.innerSocket.readableLength]).to.deep.equal([false, 0]);
      rig.clientSocket.end();
      await until(() => rig.ended !== undefined);
      expect(rig.ended?.cause).to.equal('normal');
    });

    it('gives a client that neither reads nor closes ten minutes', async () => {
      await endWithRawClient();
      rig.clock.advance(5000);
      await until(() => rig.innerSocket.writableEnded);
      rig.clock.advance(599_000);
      await quiet();
      expect(rig.innerSocket.destroyed).to.equal(false);
      rig.clock.advance(601_000);
      await until(() => rig.innerSocket.destroyed);
    });
  });

  for (const version of [1, 2] as const) {
    it(`opens the resize stream that a terminal needs and v${version} does not have`, async () => {
      start({ version, hasTty: true });
      await open('error');
      await until(() => rig.kubelet.log.includes('open resize'));
      expect(rig.kubelet.log).to.deep.equal(['open error', 'open resize']);
    });
  }

  it('opens no resize stream for v3, which does so itself', async () => {
    start({ version: 3, hasTty: true });
    await open('error', 'resize');
    await quiet();
    expect(rig.kubelet.log).to.deep.equal(['open error', 'open resize']);
  });

  it('refuses a second error stream, which would carry a status past the watch', async () => {
    start();
    await open('error');
    client.connection.createStream([['streamtype', 'error']], { onEnd: (how) => client.log.push(`second ${how}`) });
    await until(() => client.log.includes('second reset'));
    expect(rig.kubelet.log).to.deep.equal(['open error']);
  });

  it('ends with a Failure that says why when it is told to end', async () => {
    start();
    await open('error', 'stdout');
    rig.piece.end('kexer is shutting down');
    await until(() => client.end !== undefined);
    expect(client.text('error')).to.equal(failureText('kexer is shutting down'));
    client.socket.destroy();
    await until(() => rig.ended !== undefined);
    expect(rig.ended).to.deep.equal({ cause: 'ended', message: 'kexer is shutting down' });
  });

  it('ends a client that breaks the protocol, and nothing but it', async () => {
    start();
    await open('error');
    rig.clientSocket.write(Buffer.from([0x80, 0x02, 0x00, 0x01, 0, 0, 0, 0])); // SPDY/2
    await until(() => rig.innerKubeletSocket.destroyed);
    rig.clientSocket.destroy();
    await until(() => rig.ended !== undefined);
    expect(rig.ended?.cause).to.equal('protocol');
  });
});
