import { Buffer } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

import { expect } from 'chai';

import { systemClock } from '../../src/base/clock.ts';
import { KexerError } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import type { PodObject } from '../../src/clusters/cluster.ts';
import { notFound, StatusError } from '../../src/kube/status.ts';
import { SpdyConnection, type SpdyStream } from '../../src/net/spdy-connection.ts';
import { type RawHeaders, withHeader } from '../../src/protocol/raw-headers.ts';
import { Detours } from '../../src/streams/detour.ts';
import { StreamHandler } from '../../src/streams/handler.ts';
import type { Leg } from '../../src/streams/leg.ts';
import { SessionRegistry } from '../../src/streams/registry.ts';
import type { Session, SessionEnd } from '../../src/streams/session.ts';
import { SpareKubelets } from '../../src/streams/spare-kubelets.ts';
import { VouchedStream } from '../../src/streams/vouched-stream.ts';
import { duplexPair } from '../support/duplex-pair.ts';
import { FakeClock } from '../support/fake-clock.ts';
import {
  type FakeCluster,
  fakeCluster,
  makeCall,
  makePod,
  noBytes,
  spdyHeaders,
  webSocketHeaders,
} from './support/calls.ts';
import {
  type Certificates,
  type KubeletScript,
  type KubeletServer,
  makeCertificates,
  startKubelet,
} from './support/kubelet-server.ts';
import { WsPeer } from './support/ws-peer.ts';

const exec = 'pods/demo/exec?command=sh&stdin=true&stdout=true';
const attach = 'pods/demo/attach?stdin=true&stdout=true';
const success = '{"metadata":{},"status":"Success"}';
const taken =
  'Operation cannot be fulfilled on pods "demo": another pod has taken its name while the stream was being opened';

type ClientKind = 'SPDY v4' | 'WebSocket v5' | 'WebSocket v4' | 'WebSocket v4, base64';

const clientKinds: readonly ClientKind[] = ['SPDY v4', 'WebSocket v5', 'WebSocket v4', 'WebSocket v4, base64'];

const webSocketProtocols: Readonly<Record<string, string>> = {
  'WebSocket v5': 'v5.channel.k8s.io',
  'WebSocket v4': 'v4.channel.k8s.io',
  'WebSocket v4, base64': 'v4.base64.channel.k8s.io',
};

/** A client with its 101, which has sent all that it would send: its streams, and `hello` to stdin. */
interface Client {
  readonly socket: Duplex;
  /** What it has been told on the error stream or channel, and on stdout. */
  error(): string;
  output(): string;
  /** Its connection is over. */
  readonly over: Promise<void>;
}

describe('VouchedStream', () => {
  let certificates: Certificates;
  let scope: Scope;
  let script: KubeletScript;
  let kubelet: KubeletServer;
  let fake: FakeCluster;
  let sessions: SessionRegistry;
  let handler: StreamHandler;
  let ends: { session: Session; end: SessionEnd }[];
  /** Types of the streams that were opened at the kubelet, and what came on its stdin. */
  let opened: string[];
  let stdin: string;
  /** kexer's second look at the pod: that it has begun, and its answer. */
  let looked: PromiseWithResolvers<AbortSignal>;
  let vouched: PromiseWithResolvers<PodObject>;

  before(async () => {
    certificates = await makeCertificates();
  });

  beforeEach(async () => {
    scope = new Scope();
    opened = [];
    stdin = '';
    ends = [];
    looked = Promise.withResolvers();
    vouched = Promise.withResolvers();
    vouched.promise.catch(() => {});
    const streams: SpdyStream[] = [];
    script = {
      // A command that says `output`, reads `hello` and is done.
      onStream: (stream) => {
        const type = stream.headers.find(([name]) => name === 'streamtype')?.[1] ?? '';
        opened.push(type);
        streams.push(stream);
        if (type === 'stdout') stream.write(Buffer.from('output'));
        if (type === 'error') stream.write(Buffer.from(success));
        if (type !== 'stdin') return;
        stream.setHandlers({
          onData: (bytes) => {
            stdin += bytes.toString();
            if (stdin === 'hello') for (const each of streams) each.end();
          },
        });
      },
    };
    kubelet = await startKubelet(scope, certificates, script);
    fake = fakeCluster(kubelet);
    let reads = 0;
    fake.cluster.pod = async (_namespace, name, signal) => {
      reads += 1;
      const pod = fake.pods.get(name);
      if (reads === 1 && pod !== undefined) return pod;
      looked.resolve(signal);
      signal.addEventListener('abort', () => vouched.reject(new KexerError('clientGone', 'cancelled')), { once: true });
      return vouched.promise;
    };
    sessions = new SessionRegistry({
      clock: systemClock,
      observer: { sessionStarted() {}, sessionEnded: (session, end) => void ends.push({ session, end }) },
    });
    handler = new StreamHandler(
      {
        clock: systemClock,
        sessions,
        pods: { follow: () => () => {} },
        detours: new Detours({ onDetour() {} }),
        kubelets: new SpareKubelets({ clock: systemClock }, { lifetimeMs: 0 }),
        authorizer: { authorize: async () => {} },
      },
      { version: '1.2.3' },
    );
  });

  afterEach(async () => {
    await scope.close();
    expect(sessions.size).to.equal(0);
  });

  function begin(method: string, target: string, headers: RawHeaders): { socket: Duplex; done: Promise<void> } {
    const [socket, inner] = duplexPair();
    socket.on('error', () => {});
    scope.add(() => {
      socket.destroy();
      inner.destroy();
    });
    const call = makeCall(fake.cluster, method, target, { headers });
    return { socket, done: handler.handleUpgrade(call, {} as IncomingMessage, inner, noBytes) };
  }

  async function headOf(socket: Duplex): Promise<string> {
    const chunk = await new Promise<Buffer>((resolve) => {
      socket.once('data', resolve);
    });
    socket.pause();
    expect(chunk.indexOf('\r\n\r\n') + 4).to.equal(chunk.length); // nothing follows it yet
    return chunk.toString('latin1');
  }

  async function open(kind: ClientKind, target = exec): Promise<{ client: Client; done: Promise<void> }> {
    const protocol = webSocketProtocols[kind];
    const { socket, done } =
      protocol === undefined
        ? begin('POST', target, spdyHeaders)
        : begin('GET', target, withHeader(webSocketHeaders, 'Sec-WebSocket-Protocol', protocol));
    expect(await headOf(socket)).to.match(/^HTTP\/1\.1 101 /);
    return { client: protocol === undefined ? spdyClient(socket) : webSocketClient(socket, protocol), done };
  }

  function spdyClient(socket: Duplex): Client {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const texts = { error: '', stdout: '' };
    const connection: SpdyConnection = new SpdyConnection(
      { socket, clock: systemClock },
      { role: 'client' },
      {
        onEnd: () => {
          connection.destroy();
          resolve();
        },
      },
    );
    for (const type of ['error', 'stdout'] as const) {
      connection.createStream([['streamtype', type]], {
        onData: (bytes) => {
          texts[type] += bytes.toString();
        },
      });
    }
    connection.createStream([['streamtype', 'stdin']], {}).write(Buffer.from('hello'));
    return { socket, over, error: () => texts.error, output: () => texts.stdout };
  }

  function webSocketClient(socket: Duplex, protocol: string): Client {
    const isBase64 = protocol.includes('base64');
    const peer = new WsPeer(socket, new FakeClock());
    if (isBase64) peer.connection.sendText(`0${Buffer.from('hello').toString('base64')}`);
    else peer.send(0, 'hello');
    const over = new Promise<void>((resolve) => {
      socket.once('close', resolve);
    });
    return { socket, over, error: () => peer.text(3), output: () => peer.text(1) };
  }

  /** As many turns as anything of what was sent would need to arrive. */
  async function turns(): Promise<void> {
    for (let count = 0; count < 50; count += 1) {
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
  }

  async function untilKubeletLeft(): Promise<void> {
    while (kubelet.sockets.size > 0) await turns();
  }

  for (const kind of clientKinds) {
    for (const [what, target] of [
      ['exec', exec],
      ['attach to a mirror pod', attach],
    ] as const) {
      it(`gives a client its 101 and nothing else until the pod is known to be the same, then all (${what}, ${kind})`, async () => {
        fake.pods.set('demo', makePod('demo', { isMirror: what !== 'exec' }));
        const { client, done } = await open(kind, target);
        await looked.promise;
        await turns();
        expect([opened, stdin, client.error(), client.output()]).to.deep.equal([[], '', '', '']);
        vouched.resolve(makePod('demo'));
        await client.over;
        await done;
        expect(opened.toSorted()).to.deep.equal(['error', 'stdin', 'stdout']);
        expect([stdin, client.output()]).to.deep.equal(['hello', 'output']);
        expect(JSON.parse(client.error())).to.include({ status: 'Success' });
        expect(ends.map(({ end }) => end.cause)).to.deep.equal(['normal']);
      });
    }

    for (const [what, answer, text, by] of [
      ['another pod has its name', makePod('demo', { uid: '33-44' }), taken, 'podDeleted'],
      [
        'there is none of its name',
        new StatusError(notFound({ group: '', resource: 'pods' }, 'demo')),
        'pods "demo" not found',
        'podDeleted',
      ],
      [
        'nobody can say',
        new KexerError('unreachable', 'Cannot reach the apiserver'),
        'Cannot reach the apiserver',
        'other',
      ],
    ] as const) {
      it(`fails without having opened a stream when ${what} (${kind})`, async () => {
        const { client, done } = await open(kind);
        await looked.promise;
        if (answer instanceof Error) vouched.reject(answer);
        else vouched.resolve(answer);
        await client.over;
        await done;
        await untilKubeletLeft();
        expect(JSON.parse(client.error())).to.include({
          status: 'Failure',
          message: `Internal error occurred: ${text}`,
          code: 500,
        });
        expect([opened, stdin, client.output()]).to.deep.equal([[], '', '']);
        expect(ends.map(({ end, session }) => [end, session.endRequest?.by])).to.deep.equal([
          [{ cause: 'ended', message: text }, by],
        ]);
      });
    }

    it(`opens nothing for a client that has left meanwhile (${kind})`, async () => {
      const { client, done } = await open(kind);
      await looked.promise;
      client.socket.destroy();
      await turns();
      vouched.resolve(makePod('demo'));
      await done;
      await untilKubeletLeft();
      expect(opened).to.deep.equal([]);
      expect(ends.map(({ end }) => end.cause)).to.deep.equal(['clientGone']);
    });

    it(`tells a client that its session was ended meanwhile, and asks no longer (${kind})`, async () => {
      const { client, done } = await open(kind);
      const asking = await looked.promise;
      await sessions.endAll('kexer is shutting down');
      await client.over;
      await done;
      await untilKubeletLeft();
      expect(asking.aborted).to.equal(true);
      expect(JSON.parse(client.error())).to.include({ message: 'Internal error occurred: kexer is shutting down' });
      expect([opened, ends.map(({ end }) => end.cause)]).to.deep.equal([[], ['ended']]);
    });

    it(`tells a client that the kubelet was lost meanwhile (${kind})`, async () => {
      const { client, done } = await open(kind);
      await looked.promise;
      for (const socket of kubelet.sockets) socket.destroy();
      await untilKubeletLeft();
      await turns();
      vouched.resolve(makePod('demo'));
      await client.over;
      await done;
      expect(JSON.parse(client.error()).message).to.match(
        /^Internal error occurred: (the kubelet of node node1 closed the connection|the connection to the kubelet of node node1 )/,
      );
      expect([opened, ends.map(({ end }) => end.cause)]).to.deep.equal([[], ['kubeletGone']]);
    });
  }

  describe('by itself', () => {
    function makeSession(): Session {
      const stub: Partial<Session> = { end: () => stream.end('refused') };
      return stub as Session;
    }
    let stream: VouchedStream;
    let legs: { client: Leg; kubelet: Leg };
    let joins: { isKubelet: boolean; isRefusal: boolean; isKubeletDestroyed: boolean; told: string[] }[];

    function start(vouch: () => Promise<void>): void {
      joins = [];
      const [client, ...others] = duplexPair();
      const [kubelet, ...more] = duplexPair();
      for (const other of [...others, ...more]) other.on('error', () => {}); // its end was cut
      legs = { client: { socket: client, head: noBytes }, kubelet: { socket: kubelet, head: noBytes } };
      scope.add(() => {
        client.destroy();
        kubelet.destroy();
      });
      stream = new VouchedStream({
        session: makeSession(),
        ...legs,
        vouch,
        join: (leg, isRefusal) => {
          const isKubeletDestroyed = kubelet.destroyed;
          const told: string[] = [];
          joins.push({ isKubelet: leg.socket === kubelet, isRefusal, isKubeletDestroyed, told });
          return { done: Promise.resolve({ cause: 'ended', message: '' }), end: (message) => void told.push(message) };
        },
      });
    }

    it('never joins the kubelet that was not vouched for, and destroys it before it joins anything', async () => {
      start(() => Promise.reject(new Error('no')));
      await stream.done;
      expect(joins).to.deep.equal([{ isKubelet: false, isRefusal: true, isKubeletDestroyed: true, told: ['refused'] }]);
    });

    it('joins it only when it was, and hands on an end from then on', async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      start(() => promise);
      await turns();
      expect(joins).to.deep.equal([]);
      resolve();
      await stream.done;
      stream.end('drained');
      expect(joins).to.deep.equal([
        { isKubelet: true, isRefusal: false, isKubeletDestroyed: false, told: ['drained'] },
      ]);
    });

    it('joins nothing when it was ended before, though the answer was yes', async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      start(() => promise);
      stream.end('drained');
      resolve();
      await stream.done;
      expect(joins).to.deep.equal([{ isKubelet: false, isRefusal: true, isKubeletDestroyed: true, told: ['drained'] }]);
    });

    it('joins nothing for a client that has left', async () => {
      start(async () => void legs.client.socket.destroy());
      expect(await stream.done).to.include({ cause: 'clientGone' });
      expect([joins, legs.kubelet.socket.destroyed]).to.deep.equal([[], true]);
    });
  });

  describe('of a client that cannot be told', () => {
    const refused = { status: '409', text: taken };
    const spdy = (...protocols: string[]): RawHeaders => [
      ...spdyHeaders.filter(([name]) => name !== 'X-Stream-Protocol-Version'),
      ...protocols.map((protocol): [string, string] => ['X-Stream-Protocol-Version', protocol]),
    ];
    for (const [what, method, target, headers] of [
      ['SPDY v3', 'POST', exec, spdy('v3.channel.k8s.io')],
      ['SPDY v2', 'POST', exec, spdy('v2.channel.k8s.io')],
      ['SPDY v1', 'POST', exec, spdy('channel.k8s.io')],
      ['WebSocket v1', 'GET', exec, withHeader(webSocketHeaders, 'Sec-WebSocket-Protocol', 'channel.k8s.io')],
      ['port-forward by SPDY', 'POST', 'pods/demo/portforward', spdy('portforward.k8s.io')],
      [
        'port-forward by a tunnel',
        'GET',
        'pods/demo/portforward',
        withHeader(webSocketHeaders, 'Sec-WebSocket-Protocol', 'SPDY/3.1+portforward.k8s.io'),
      ],
      [
        'port-forward by channels',
        'GET',
        'pods/demo/portforward?ports=80',
        withHeader(webSocketHeaders, 'Sec-WebSocket-Protocol', 'v4.channel.k8s.io'),
      ],
    ] as const) {
      it(`asks before the 101 (${what})`, async () => {
        fake.pods.set('demo', makePod('demo', { isMirror: true })); // a port-forward's kubelet compares no UID then
        const { socket, done } = begin(method, target, headers);
        await looked.promise;
        await turns();
        expect(socket.readableLength).to.equal(0);
        vouched.resolve(makePod('demo', { uid: '33-44' }));
        const parts: Buffer[] = [];
        for await (const chunk of socket) parts.push(chunk as Buffer);
        socket.end();
        await done;
        await untilKubeletLeft();
        const [head = '', body = ''] = Buffer.concat(parts).toString().split('\r\n\r\n');
        expect({ status: head.split(' ')[1], text: (JSON.parse(body) as { message: string }).message }).to.deep.equal(
          refused,
        );
        expect([opened, ends]).to.deep.equal([[], []]);
      });
    }
  });
});
