// A piece that joins two legs, between a scripted client and a scripted kubelet in memory: no sockets, virtual time, frames as they are.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

import type { RunningStream } from '../../../src/streams/leg.ts';
import type { Leg } from '../../../src/streams/leg.ts';
import { SpdyConnection, type SpdyEnd, type SpdyStream } from '../../../src/net/spdy-connection.ts';
import { Bandwidth, type BandwidthOptions } from '../../../src/streams/bandwidth.ts';
import { SessionRegistry } from '../../../src/streams/registry.ts';
import type { Session, SessionEnd, SessionSubject } from '../../../src/streams/session.ts';
import { makeUser } from '../../../src/kube/user.ts';
import { duplexPair } from '../../support/duplex-pair.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** At least, and for at least this time: what is under way in the kernel or in another thread takes a busy machine time and no turns. */
const maxTurns = 5000;
const patienceMs = 10_000;

/** Turns of the event loop until `isSo`; what waits for bytes in memory needs a few. */
export async function until(isSo: () => boolean, what = 'the condition'): Promise<void> {
  const startMs = performance.now();
  for (let turn = 0; turn < maxTurns || performance.now() - startMs < patienceMs; turn += 1) {
    if (isSo()) return;
    await turnOver();
  }
  throw new Error(`Cannot go on: ${what} did not come true`);
}

export function turnOver(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Enough turns for everything in flight in memory to arrive. */
export async function quiet(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await turnOver();
}

export const subject: SessionSubject = {
  kind: 'exec',
  user: makeUser({ name: 'alice' }),
  clusterNamespace: 'default',
  cluster: 'local',
  namespace: 'default',
  pod: 'demo',
  podUid: 'u1',
  container: 'demo',
  node: 'node1',
  command: ['sh'],
  clientProtocol: 'SPDY/3.1 v4.channel.k8s.io',
  kubeletProtocol: 'SPDY/3.1 v4.channel.k8s.io',
  remoteAddress: '192.0.2.1',
  auditId: 'a1',
};

/** One stream as a peer saw it. */
export interface SeenStream {
  readonly stream: SpdyStream;
  readonly type: string;
  data: Buffer[];
  end: string | undefined;
}

/** A SPDY peer that writes down what it gets. */
export class SpdyPeer {
  readonly connection: SpdyConnection;
  readonly socket: Duplex;
  readonly streams: SeenStream[] = [];
  /** Everything in the order it came: `open stdout`, `stdout abc`, `end stdout fin`, `ended goaway`. */
  readonly log: string[] = [];
  end: SpdyEnd | undefined;
  isClosed = false;
  isReplying = true;

  constructor(socket: Duplex, clock: FakeClock, role: 'client' | 'server', head?: Buffer) {
    this.socket = socket;
    this.connection = new SpdyConnection(
      { socket, clock },
      { role, ...(head === undefined ? {} : { head }) },
      {
        onStream: (stream) => this.#accept(stream),
        onEnd: (end) => {
          this.end = end;
          this.log.push(`ended ${end.how}`);
        },
        onClosed: () => {
          this.isClosed = true;
        },
      },
    );
  }

  /** Opens a stream as client-go does. */
  open(type: string, headers: readonly (readonly [string, string])[] = []): SeenStream {
    const seen = this.#seen(type);
    const stream = this.connection.createStream([['streamtype', type], ...headers], {
      onReply: () => this.log.push(`reply ${type}`),
      ...this.#recorder(seen),
    });
    return this.#keep(seen, stream);
  }

  of(type: string): SeenStream {
    const found = this.streams.find((stream) => stream.type === type);
    if (found === undefined) throw new Error(`No stream ${type} was opened: ${this.log.join(', ')}`);
    return found;
  }

  text(type: string): string {
    return Buffer.concat(this.of(type).data).toString('utf8');
  }

  #accept(stream: SpdyStream): void {
    const type = stream.headers.find(([name]) => name === 'streamtype')?.[1] ?? '';
    const seen = this.#seen(type);
    this.log.push(`open ${type}`);
    stream.setHandlers(this.#recorder(seen));
    this.#keep(seen, stream);
    if (this.isReplying) stream.reply();
  }

  #seen(type: string): Omit<SeenStream, 'stream'> {
    return { type, data: [], end: undefined };
  }

  #keep(seen: Omit<SeenStream, 'stream'>, stream: SpdyStream): SeenStream {
    const whole = Object.assign(seen, { stream });
    this.streams.push(whole);
    return whole;
  }

  #recorder(seen: Omit<SeenStream, 'stream'>): { onData(bytes: Buffer): void; onEnd(how: string): void } {
    return {
      onData: (bytes) => {
        seen.data.push(Buffer.from(bytes));
        this.log.push(`${seen.type} ${bytes.length > 40 ? bytes.length : bytes.toString()}`);
      },
      onEnd: (how) => {
        seen.end = how;
        this.log.push(`end ${seen.type} ${how}`);
      },
    };
  }
}

export interface Rig<T extends RunningStream> {
  readonly clock: FakeClock;
  readonly piece: T;
  readonly session: Session;
  readonly kubelet: SpdyPeer;
  /** The client's end of its connection; the test puts a peer on it. */
  readonly clientSocket: Duplex;
  /** Kexer's end of it. */
  readonly innerSocket: Duplex;
  readonly innerKubeletSocket: Duplex;
  ended: SessionEnd | undefined;
  close(): Promise<void>;
}

/** @param make builds the piece under test on kexer's ends of two connections. */
export function makeRig<T extends RunningStream>(
  make: (deps: { clock: FakeClock; session: Session }, legs: { client: Leg; kubelet: Leg }) => T,
  options: {
    head?: Buffer;
    highWaterMark?: number;
    bandwidth?: BandwidthOptions;
    /** Real sockets for the client's connection: its own end and kexer's. */
    clientPair?: readonly [Duplex, Duplex];
  } = {},
): Rig<T> {
  const clock = new FakeClock();
  const pairOptions = options.highWaterMark === undefined ? {} : { highWaterMark: options.highWaterMark };
  const [clientSocket, innerSocket] = options.clientPair ?? duplexPair(pairOptions);
  const [kubeletSocket, innerKubeletSocket] = duplexPair(pairOptions);
  const sessions = new SessionRegistry({
    clock,
    observer: { sessionStarted() {}, sessionEnded() {} },
    bandwidth: options.bandwidth === undefined ? undefined : new Bandwidth({ clock }, options.bandwidth),
  });
  const session = sessions.open(subject, () => {});
  // A reset of either test end must not fail the test by an unhandled event.
  clientSocket.on('error', () => {});
  kubeletSocket.on('error', () => {});
  const kubelet = new SpdyPeer(kubeletSocket, clock, 'server');
  const piece = make(
    { clock, session },
    {
      client: { socket: innerSocket, head: options.head ?? Buffer.alloc(0) },
      kubelet: { socket: innerKubeletSocket, head: Buffer.alloc(0) },
    },
  );
  const rig: Rig<T> = {
    clock,
    piece,
    session,
    kubelet,
    clientSocket,
    innerSocket,
    innerKubeletSocket,
    ended: undefined,
    async close() {
      clientSocket.destroy();
      kubeletSocket.destroy();
      innerSocket.destroy();
      innerKubeletSocket.destroy();
      await piece.done;
    },
  };
  void piece.done.then((end) => {
    rig.ended = end;
    sessions.finish(session, end);
  });
  return rig;
}
