// The attack: to be shown what another user reads. All legs of all sessions read into one buffer, so whoever keeps a reference into it past
// the call hands the next reader's bytes to this one's client. Here that buffer is overwritten after each read, and every path by which
// bytes go is compared with what was sent.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

import { expect } from 'chai';

import { SocketWriter } from '../../src/net/socket-writer.ts';
import { SpdyConnection } from '../../src/net/spdy-connection.ts';
import { WebSocketConnection } from '../../src/net/websocket-connection.ts';
import { base64Message } from '../../src/protocol/channel.ts';
import { SpdyEncoder } from '../../src/protocol/spdy/encoder.ts';
import { encodeFrame, opcodes, WebSocketDecoder } from '../../src/protocol/websocket/frame.ts';
import { EarlyBytes } from '../../src/streams/early-bytes.ts';
import { ExecRelay } from '../../src/streams/exec-relay.ts';
import { ExecTranslate } from '../../src/streams/exec-translate.ts';
import type { Leg, RunningStream } from '../../src/streams/leg.ts';
import { PortChannels } from '../../src/streams/port-channels.ts';
import { PortRelay } from '../../src/streams/port-relay.ts';
import { TunnelDuplex } from '../../src/streams/tunnel.ts';
import { makeRig, quiet, type Rig, type SeenStream, SpdyPeer, until } from '../streams/support/rig.ts';
import { WsPeer } from '../streams/support/ws-peer.ts';
import { duplexPair } from '../support/duplex-pair.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { givePoisoned, PoisonedSocket, type Random, randomBytesOf, seededRandom } from './support/poisoned-socket.ts';

/** Of all that is random here; a failure is repeated by setting it. */
const seed = Number(process.env['KEXER_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const backend = 'the kubelet of node node1';
const status =
  '{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: error executing command [x], exit code 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}';
const transferBytes = 700 * 1024;

function below(random: Random, limit: number): number {
  return Math.floor(random() * limit);
}

describe(`bytes kept past the read that brought them (KEXER_TEST_SEED=${seed})`, function () {
  this.timeout(30_000);
  let random: Random;

  beforeEach(() => {
    random = seededRandom(seed);
  });

  describe('connections', () => {
    it('SpdyConnection: what is echoed into a stream that waits for its reply, and behind a slow reader', async () => {
      const clock = new FakeClock();
      const [outer, inner] = duplexPair({ highWaterMark: 1024 });
      const peer = new SpdyPeer(outer, clock, 'client');
      peer.socket.on('error', () => {});
      const headers: string[] = [];
      const connection = new SpdyConnection(
        { socket: new PoisonedSocket(inner, random), clock },
        { role: 'server', hasTransientReads: true, isSilentUntilPeerSpeaks: true },
        {
          onStream: (stream) => {
            headers.push(stream.headers.map((pair) => pair.join('=')).join());
            // Opened by us and never replied to at first: it has to hold what it is given.
            const back = connection.createStream([['streamtype', 'back']], {});
            stream.setHandlers({ onData: (bytes) => void back.write(bytes), onEnd: () => back.end() });
            stream.reply();
          },
          onEnd() {},
        },
      );
      peer.isReplying = false;
      const wanted = randomBytesOf(random, transferBytes);
      const value = randomBytesOf(random, 2000).toString('base64');
      const { stream } = peer.open('there', [['x-long', value]]);
      await until(() => peer.log.includes('reply there'));
      for (let at = 0; at < wanted.length; at += 9000) stream.write(wanted.subarray(at, at + 9000));
      stream.end();
      await until(() => connection.queuedBytes === wanted.length);
      peer.connection.pause();
      peer.of('back').stream.reply();
      await quiet();
      peer.connection.resume();
      await until(() => peer.of('back').end === 'fin');
      expect(Buffer.concat(peer.of('back').data).equals(wanted)).to.equal(true);
      expect(headers).to.deep.equal([`streamtype=there,x-long=${value}`]);
      connection.destroy();
      outer.destroy();
      await quiet();
    });

    it('EarlyBytes and the head: what came before the tap was taken, and what comes while that still waits', async () => {
      for (let round = 0; round < 10; round += 1) {
        const clock = new FakeClock();
        const [outer, inner] = duplexPair();
        outer.on('error', () => {});
        const socket = new PoisonedSocket(inner, random);
        const early = new EarlyBytes(socket, Buffer.alloc(0));
        const encoder = new SpdyEncoder();
        const wanted = randomBytesOf(random, 60_000);
        const frames = [encoder.synStream(1, [['streamtype', 'stdin']], {})];
        for (let at = 0; at < wanted.length; at += 10_000) {
          frames.push(encoder.dataHeader(1, 10_000, false), wanted.subarray(at, at + 10_000));
        }
        const bytes = Buffer.concat(frames);
        const cut = below(random, bytes.length);
        outer.write(bytes.subarray(0, cut));
        await quiet();
        const got: Buffer[] = [];
        const head = early.release();
        outer.write(bytes.subarray(cut));
        const connection = new SpdyConnection(
          { socket, clock },
          { role: 'server', hasTransientReads: true, head },
          {
            onStream: (stream) => stream.setHandlers({ onData: (piece) => void got.push(Buffer.from(piece)) }),
            onEnd() {},
          },
        );
        await until(() => Buffer.concat(got).length === wanted.length);
        expect(Buffer.concat(got).equals(wanted)).to.equal(true);
        connection.destroy();
        outer.destroy();
        await quiet();
      }
    });

    it('SocketWriter: what is held until the peer has spoken, and what waits apart', async () => {
      for (const isApart of [false, true]) {
        const [outer, inner] = duplexPair();
        const got: Buffer[] = [];
        outer.on('data', (chunk: Buffer) => got.push(Buffer.from(chunk)));
        const writer = new SocketWriter({ socket: inner }, { isHeld: true });
        const wanted = randomBytesOf(random, 100_000);
        givePoisoned(random, wanted, (piece) => {
          if (isApart) writer.writeApart(piece);
          else writer.write(piece);
        });
        writer.release();
        await until(() => Buffer.concat(got).length === wanted.length);
        expect(Buffer.concat(got).equals(wanted)).to.equal(true);
        inner.destroy();
        outer.destroy();
        await quiet();
      }
    });

    it('WebSocketConnection: pings split over reads, and the pong that is owed while the peer does not read', async () => {
      for (let round = 0; round < 20; round += 1) {
        const clock = new FakeClock();
        const [outer, inner] = duplexPair({ highWaterMark: 1024 });
        const connection = new WebSocketConnection(
          { socket: new PoisonedSocket(inner, random), clock },
          { role: 'server', hasTransientReads: true },
          { onData() {}, onEnd() {} },
        );
        const pongs: string[] = [];
        const decoder = new WebSocketDecoder({ role: 'client' });
        outer.on('error', () => {});
        const ping = (payload: Buffer): void => {
          const key = new Uint8Array(randomBytesOf(random, 4));
          outer.write(Buffer.concat(encodeFrame(opcodes.ping, [payload], { key })));
        };
        const [prompt, owed] = [randomBytesOf(random, 125), randomBytesOf(random, 1 + below(random, 125))];
        ping(prompt);
        await quiet();
        while (connection.sendBinary(Buffer.alloc(30_000)));
        ping(randomBytesOf(random, 100));
        ping(owed);
        await quiet();
        outer.on('data', (chunk: Buffer) => {
          for (const event of decoder.acceptChunk(chunk)) {
            if (event.type === 'pong') pongs.push(event.payload.toString('hex'));
          }
        });
        await until(() => pongs.length === 2, 'both pongs');
        expect(pongs).to.deep.equal([prompt.toString('hex'), owed.toString('hex')]);
        connection.destroy();
        outer.destroy();
        await quiet();
      }
    });
  });

  describe('sessions', () => {
    let rig: Rig<RunningStream>;
    let tunnelEnd: Duplex | undefined;

    /** The piece between two legs that are read as tapped sockets are. */
    function start(
      make: (deps: Parameters<Parameters<typeof makeRig>[0]>[0], legs: { client: Leg; kubelet: Leg }) => RunningStream,
    ): void {
      rig = makeRig<RunningStream>(
        (deps, legs) =>
          make(deps, {
            client: { ...legs.client, socket: new PoisonedSocket(legs.client.socket, random) },
            kubelet: { ...legs.kubelet, socket: new PoisonedSocket(legs.kubelet.socket, random) },
          }),
        { highWaterMark: 2048 },
      );
    }

    afterEach(async () => {
      tunnelEnd?.destroy();
      tunnelEnd = undefined;
      await rig.close();
    });

    const all = (seen: SeenStream): Buffer => Buffer.concat(seen.data);

    /** Writes in pieces of any size, some of them in turns of their own. */
    async function send(bytes: Buffer, write: (piece: Buffer) => unknown): Promise<void> {
      for (let at = 0; at < bytes.length;) {
        const count = 1 + below(random, 40_000);
        write(bytes.subarray(at, at + count));
        at += count;
        if (random() < 0.2) await quiet();
      }
    }

    /** Both receivers stand still for a while, so that everything between them fills, and then read on. */
    async function withSlowEnds(
      ends: readonly { pause(): void; resume(): void }[],
      transfers: readonly Promise<void>[],
    ): Promise<void> {
      for (const end of ends) end.pause();
      await quiet();
      await quiet();
      for (const end of ends) end.resume();
      await quiet();
      for (const end of ends) end.pause();
      await Promise.all(transfers);
      for (const end of ends) end.resume();
    }

    it('ExecRelay: stdin held for a reply, both outputs, the status that is kept to the end', async () => {
      start((deps, legs) => new ExecRelay(deps, legs, { version: 4, hasTty: false, backend }));
      const client = new SpdyPeer(rig.clientSocket, rig.clock, 'client');
      rig.kubelet.isReplying = false;
      for (const type of ['error', 'stdin', 'stdout', 'stderr']) client.open(type);
      await until(() => rig.kubelet.streams.length === 4 && client.log.includes('reply stderr'));
      const [stdin, stdout, stderr] = [0, 1, 2].map(() => randomBytesOf(random, transferBytes)) as [
        Buffer,
        Buffer,
        Buffer,
      ];
      client.of('stdin').stream.write(stdin.subarray(0, 50_000));
      await quiet();
      for (const { stream } of rig.kubelet.streams) stream.reply();
      const error = rig.kubelet.of('error').stream;
      for (const letter of status) error.write(Buffer.from(letter));
      await withSlowEnds(
        [client.connection, rig.kubelet.connection],
        [
          send(stdin.subarray(50_000), (piece) => client.of('stdin').stream.write(piece)),
          send(stdout, (piece) => rig.kubelet.of('stdout').stream.write(piece)),
          send(stderr, (piece) => rig.kubelet.of('stderr').stream.write(piece)),
        ],
      );
      await until(() => all(rig.kubelet.of('stdin')).length === stdin.length);
      rig.kubelet.connection.goaway();
      await until(() => client.end !== undefined);
      expect([
        all(rig.kubelet.of('stdin')).equals(stdin),
        all(client.of('stdout')).equals(stdout),
        all(client.of('stderr')).equals(stderr),
        client.text('error'),
      ]).to.deep.equal([true, true, true, ` ${status}`]);
    });

    for (const { version, isBase64 } of [
      { version: 5, isBase64: false },
      { version: 4, isBase64: false },
      { version: 4, isBase64: true },
      { version: 1, isBase64: true },
    ] as const) {
      it(`ExecTranslate v${version}${isBase64 ? ' in base64' : ''}: both ways, slow ends, the status`, async () => {
        start(
          (deps, legs) =>
            new ExecTranslate(deps, legs, {
              version,
              isBase64,
              hasStdin: true,
              hasStdout: true,
              hasStderr: true,
              hasTty: false,
              backend,
            }),
        );
        rig.kubelet.isReplying = false;
        const client = new WsPeer(rig.clientSocket, rig.clock);
        await until(() => rig.kubelet.streams.length === 4 && client.messages.length > 0);
        const [stdin, stdout, stderr] = [0, 1, 2].map(() => randomBytesOf(random, transferBytes)) as [
          Buffer,
          Buffer,
          Buffer,
        ];
        const type = (piece: Buffer): unknown =>
          isBase64 ? client.connection.sendText(base64Message(0, piece)) : client.send(0, piece);
        type(stdin.subarray(0, 50_000));
        await quiet();
        for (const { stream } of rig.kubelet.streams) stream.reply();
        for (const letter of status) rig.kubelet.of('error').stream.write(Buffer.from(letter));
        await withSlowEnds(
          [client.connection, rig.kubelet.connection],
          [
            send(stdin.subarray(50_000), type),
            send(stdout, (piece) => rig.kubelet.of('stdout').stream.write(piece)),
            send(stderr, (piece) => rig.kubelet.of('stderr').stream.write(piece)),
          ],
        );
        await until(() => all(rig.kubelet.of('stdin')).length === stdin.length);
        rig.kubelet.connection.goaway();
        await until(() => client.end !== undefined);
        const got = (channel: number): Buffer => Buffer.concat(client.bytes.get(channel) ?? []);
        expect([
          all(rig.kubelet.of('stdin')).equals(stdin),
          got(1).equals(stdout),
          got(2).equals(stderr),
          version === 4 ? client.text(3) : '',
        ]).to.deep.equal([true, true, true, version === 4 ? status : '']);
        expect(client.end).to.deep.equal({ how: 'close', code: 1000, reason: '' });
      });
    }

    for (const isTunnel of [false, true]) {
      it(`PortRelay${isTunnel ? ' in a TunnelDuplex' : ''}: several connections both ways, headers, error text`, async () => {
        start((deps, legs) => {
          if (!isTunnel) return new PortRelay(deps, legs, { backend });
          const socket = new TunnelDuplex(deps, legs.client);
          return new PortRelay(deps, { ...legs, client: { socket, head: Buffer.alloc(0) } }, { backend });
        });
        let socket: Duplex = rig.clientSocket;
        if (isTunnel) {
          // As a client has it: SPDY in messages, cut anywhere.
          const [near, far] = duplexPair();
          const webSocket = new WebSocketConnection(
            { socket: rig.clientSocket, clock: rig.clock },
            { role: 'client' },
            {
              onData: (event) => {
                if (event.bytes.length === 0 || far.write(Buffer.from(event.bytes))) return;
                webSocket.pause();
                far.once('drain', () => webSocket.resume());
              },
              onEnd: () => void far.end(),
            },
          );
          far.on('error', () => {});
          far.on('data', (chunk: Buffer) => {
            const cut = below(random, chunk.length);
            webSocket.sendBinary(chunk.subarray(0, cut));
            webSocket.sendBinary(chunk.subarray(cut));
          });
          socket = near;
          tunnelEnd = near;
        }
        const client = new SpdyPeer(socket, rig.clock, 'client');
        const ids = ['0', '1', '2'];
        const open = ids.map((id) => {
          const headers = [
            ['port', `80${id}`],
            ['requestid', id],
          ] as const;
          return { error: client.open('error', headers), data: client.open('data', headers) };
        });
        await until(() => rig.kubelet.streams.length === 6);
        const far = ids.map((_, index) => ({
          error: rig.kubelet.streams[2 * index] as SeenStream,
          data: rig.kubelet.streams[2 * index + 1] as SeenStream,
        }));
        expect(far.map(({ data }) => data.stream.headers.map(([, value]) => value).join())).to.deep.equal(
          ids.map((id) => `data,80${id},${id}`),
        );
        const up = ids.map(() => randomBytesOf(random, transferBytes / 3));
        const down = ids.map(() => randomBytesOf(random, transferBytes / 3));
        await withSlowEnds(
          [client.connection, rig.kubelet.connection],
          ids.flatMap((_, index) => [
            send(up[index] ?? Buffer.alloc(0), (piece) => open[index]?.data.stream.write(piece)),
            send(down[index] ?? Buffer.alloc(0), (piece) => far[index]?.data.stream.write(piece)),
          ]),
        );
        const text = randomBytesOf(random, 3000).toString('base64');
        for (const letter of text) far[1]?.error.stream.write(Buffer.from(letter));
        for (const { data } of open) data.stream.end();
        for (const { data, error } of far) for (const { stream } of [data, error]) stream.end();
        await until(() => [...open, ...far].every(({ data }) => data.end === 'fin') && open[1]?.error.end === 'fin');
        for (const index of ids.keys()) {
          expect(Buffer.concat(far[index]?.data.data ?? []).equals(up[index] ?? Buffer.alloc(0))).to.equal(true);
          expect(Buffer.concat(open[index]?.data.data ?? []).equals(down[index] ?? Buffer.alloc(0))).to.equal(true);
        }
        expect(Buffer.concat(open[1]?.error.data ?? []).toString() === text).to.equal(true);
      });
    }

    for (const isBase64 of [false, true]) {
      it(`PortChannels${isBase64 ? ' in base64' : ''}: two ports both ways`, async () => {
        start((deps, legs) => new PortChannels(deps, legs, { ports: [80, 5432], isBase64, backend }));
        rig.kubelet.isReplying = false;
        const client = new WsPeer(rig.clientSocket, rig.clock);
        await until(() => rig.kubelet.streams.length === 4 && client.messages.length === 4);
        const far = [rig.kubelet.streams[1], rig.kubelet.streams[3]] as [SeenStream, SeenStream];
        const write = (channel: number, piece: Buffer): unknown =>
          isBase64 ? client.connection.sendText(base64Message(channel, piece)) : client.send(channel, piece);
        const up = far.map(() => randomBytesOf(random, transferBytes));
        const down = far.map(() => randomBytesOf(random, transferBytes));
        write(0, (up[0] ?? Buffer.alloc(0)).subarray(0, 30_000));
        await quiet();
        for (const { stream } of rig.kubelet.streams) stream.reply();
        await withSlowEnds(
          [client.connection, rig.kubelet.connection],
          far.flatMap((seen, index) => [
            send((up[index] ?? Buffer.alloc(0)).subarray(index === 0 ? 30_000 : 0), (piece) => write(2 * index, piece)),
            send(down[index] ?? Buffer.alloc(0), (piece) => seen.stream.write(piece)),
          ]),
        );
        const got = (channel: number): Buffer => Buffer.concat(client.bytes.get(channel) ?? []).subarray(2);
        await until(
          () =>
            far.every((seen) => all(seen).length === transferBytes) &&
            got(0).length + got(2).length === 2 * transferBytes,
        );
        for (const [index, seen] of far.entries()) {
          expect([
            all(seen).equals(up[index] ?? Buffer.alloc(0)),
            got(2 * index).equals(down[index] ?? Buffer.alloc(0)),
          ]).to.deep.equal([true, true]);
        }
      });
    }
  });
});
