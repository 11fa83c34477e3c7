// A client that leaves while nothing of it is read, on real sockets: Node sees neither the FIN nor the reset of a socket that is paused, so that
// a session whose kubelet takes nothing would go on without anybody.

import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Duplex } from 'node:stream';

import { expect } from 'chai';

import { resetSocket } from '../../src/net/reset.ts';
import { WebSocketConnection } from '../../src/net/websocket-connection.ts';
import { ExecRelay } from '../../src/streams/exec-relay.ts';
import { ExecTranslate } from '../../src/streams/exec-translate.ts';
import type { Leg, RunningStream } from '../../src/streams/leg.ts';
import { PortChannels } from '../../src/streams/port-channels.ts';
import { PortRelay } from '../../src/streams/port-relay.ts';
import type { Session } from '../../src/streams/session.ts';
import { TunnelDuplex } from '../../src/streams/tunnel.ts';
import type { FakeClock } from '../support/fake-clock.ts';
import { makeRig, quiet, type Rig, SpdyPeer, until } from './support/rig.ts';
import { WsPeer } from './support/ws-peer.ts';

type Make = (deps: { clock: FakeClock; session: Session }, legs: { client: Leg; kubelet: Leg }) => RunningStream;

/** Of a client: what it writes to, and how. */
type Start = (socket: Duplex, clock: FakeClock) => (bytes: Buffer) => void;

const backend = 'the kubelet of node node1';
const execOptions = {
  version: 5,
  isBase64: false,
  hasStdin: true,
  hasStdout: true,
  hasStderr: false,
  hasTty: false,
} as const;
const noHead = Buffer.alloc(0);
/** Of an SPDY frame. */
const pingBytes = 12;

function spdyStart(...types: string[]): Start {
  return (socket, clock) => {
    const peer = new SpdyPeer(socket, clock, 'client');
    for (const type of types) {
      peer.open(type, [
        ['port', '80'],
        ['requestid', '0'],
      ]);
    }
    return (bytes) => peer.of(types.at(-1) ?? '').stream.write(bytes);
  };
}

const webSocketStart: Start = (socket, clock) => {
  const peer = new WsPeer(socket, clock);
  return (bytes) => peer.send(0, bytes);
};

const kinds: readonly (readonly [string, Make, Start])[] = [
  [
    'exec over SPDY',
    (deps, legs) => new ExecRelay(deps, legs, { version: 4, hasTty: false, backend }),
    spdyStart('error', 'stdin'),
  ],
  ['exec over WebSocket', (deps, legs) => new ExecTranslate(deps, legs, { ...execOptions, backend }), webSocketStart],
  ['port-forward over SPDY', (deps, legs) => new PortRelay(deps, legs, { backend }), spdyStart('error', 'data')],
  [
    'port-forward over channels',
    (deps, legs) => new PortChannels(deps, legs, { ports: [80], isBase64: false, backend }),
    webSocketStart,
  ],
  [
    'port-forward in a tunnel',
    (deps, { client, kubelet }) => {
      const socket = new TunnelDuplex(deps, client);
      return new PortRelay(deps, { client: { socket, head: noHead }, kubelet }, { backend });
    },
    (socket, clock) => spdyStart('error', 'data')(tunnelTo(socket, clock), clock),
  ],
];

/** What a client writes into goes out as messages, and what comes in messages comes out. */
function tunnelTo(socket: Duplex, clock: FakeClock): Duplex {
  const tunnel = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      webSocket.sendBinary(chunk);
      done();
    },
  });
  const webSocket = new WebSocketConnection(
    { socket, clock },
    { role: 'client' },
    { onData: ({ bytes }) => tunnel.push(Buffer.from(bytes)), onEnd: () => tunnel.destroy() },
  );
  return tunnel;
}

async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const ours = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [theirs] = (await accepted) as [Socket];
  if (ours.connecting) await once(ours, 'connect');
  server.close();
  return [ours, theirs];
}

describe('a client of which nothing is read', () => {
  let rig: Rig<RunningStream>;

  afterEach(async () => {
    await rig.close();
    expect(rig.clock.pendingCount).to.equal(0);
  });

  for (const [name, make, start] of kinds) {
    for (const [how, leave] of [
      ['a reset', resetSocket],
      ['a FIN', (socket: Socket) => socket.destroy()],
    ] as const) {
      it(`of ${name} is missed within 4 s of ${how}`, async () => {
        const pair = await socketPair();
        const [client, inner] = pair;
        rig = makeRig(make, { clientPair: pair, highWaterMark: 16 * 1024 });
        const write = start(client, rig.clock);
        await until(() => rig.kubelet.streams.length >= 2, 'the streams at the kubelet');
        rig.kubelet.connection.pause();
        const chunk = Buffer.alloc(32 * 1024);
        await until(() => {
          if (inner.writableLength === 0 && !inner.isPaused()) write(chunk);
          return inner.isPaused();
        }, 'the pause');
        leave(client);
        const leftMs = rig.clock.now();
        while (rig.ended === undefined && rig.clock.now() - leftMs < 4000) {
          rig.clock.advance(1000);
          await quiet();
        }
        await until(() => inner.closed && rig.innerKubeletSocket.closed, 'the end of both legs');
        await rig.piece.done;
        expect(rig.ended).to.have.property('cause', 'clientGone');
      });
    }
  }

  it('hears no more of us when it is read again', async () => {
    rig = makeRig((deps, legs) => new ExecRelay(deps, legs, { version: 4, hasTty: false, backend }), {
      highWaterMark: 16 * 1024,
    });
    const client = new SpdyPeer(rig.clientSocket, rig.clock, 'client');
    client.open('error');
    const { stream } = client.open('stdin');
    await until(() => rig.kubelet.streams.length === 2);
    rig.kubelet.connection.pause();
    await until(() => {
      if (client.connection.isWritable) stream.write(Buffer.alloc(32 * 1024));
      return rig.innerSocket.isPaused();
    }, 'the pause');
    await quiet();
    const pass = async (): Promise<number> => {
      const before = client.connection.bytesIn;
      rig.clock.advance(6000);
      await quiet();
      return client.connection.bytesIn - before;
    };
    expect(await pass()).to.equal(3 * pingBytes);
    rig.kubelet.connection.resume();
    await until(() => !rig.innerSocket.isPaused());
    await quiet();
    expect(await pass()).to.equal(0);
  });
});
