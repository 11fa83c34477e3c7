// A node that dies without a FIN: what is on its way to it, and every new connection, gets no answer at all. A relay in front of the kubelet
// plays it, since nothing on one machine is ever that silent.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import type { KubeletAccess } from '../../src/clusters/cluster.ts';
import { dialKubelet } from '../../src/streams/kubelet-dial.ts';
import { openKubeletLeg } from '../../src/streams/kubelet-leg.ts';
import type { Target } from '../../src/streams/target.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { fakeCluster } from './support/calls.ts';
import { type Certificates, type KubeletServer, makeCertificates, startKubelet } from './support/kubelet-server.ts';

/** What stands between kexer and the kubelet. */
class Road {
  /** Connections that were made through it, the oldest first. */
  readonly connections: Socket[] = [];
  /** New connections get no answer. */
  isClosed = false;
  readonly #scope: Scope;
  readonly #to: number;

  constructor(scope: Scope, to: number) {
    this.#scope = scope;
    this.#to = to;
  }

  async open(): Promise<number> {
    const server = createServer((near) => this.#carry(near));
    this.#scope.add(
      () =>
        new Promise<void>((resolve) => {
          server.close(() => resolve());
        }),
    );
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  /** What is sent on those that there are goes nowhere from now on. */
  lose(): void {
    for (const near of this.connections) near.removeAllListeners('data').resume();
  }

  #carry(near: Socket): void {
    this.connections.push(near);
    this.#scope.add(() => void near.destroy());
    near.on('error', () => {});
    if (this.isClosed) return;
    const far = connect(this.#to, '127.0.0.1');
    this.#scope.add(() => void far.destroy());
    far.on('error', () => {});
    near.on('data', (chunk: Buffer) => far.write(chunk));
    far.on('data', (chunk: Buffer) => near.write(chunk));
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
  }
}

describe('upgradeDoubted', () => {
  let certificates: Certificates;
  let scope: Scope;
  let clock: FakeClock;
  let kubelet: KubeletServer;
  let access: KubeletAccess;
  let target: Target;
  let road: Road;
  let leaving: AbortController;

  before(async () => {
    certificates = await makeCertificates();
  });

  beforeEach(async () => {
    scope = new Scope();
    clock = new FakeClock();
    leaving = new AbortController();
    kubelet = await startKubelet(scope, certificates, {});
    access = fakeCluster(kubelet).kubelet;
    road = new Road(scope, kubelet.port);
    target = {
      namespace: 'default',
      pod: 'demo',
      podUid: '11-22',
      isMirror: false,
      container: 'shell',
      node: 'node1',
      host: '127.0.0.1',
      port: await road.open(),
    };
  });

  afterEach(() => scope.close());

  async function spare(): Promise<TLSSocket> {
    const socket = await dialKubelet({ clock }, access, target, new AbortController().signal);
    scope.add(() => void socket.destroy());
    await until(() => kubelet.connections === 1); // its own side of the handshake comes later
    return socket;
  }

  /** `open`, the refusal, or the error. */
  function ask(socket: TLSSocket, isSpare = true): Promise<string> {
    const request = { kind: 'exec', query: 'command=true', userAgent: 'kexer/test', signal: leaving.signal } as const;
    return openKubeletLeg({ clock }, access, target, { socket, isSpare }, request).then(
      (outcome) => {
        if (!outcome.isOpen) return `refused: ${outcome.refusal.status}`;
        const { leg } = outcome;
        scope.add(() => void leg.socket.destroy());
        return leg.socket === socket ? 'open on the spare' : 'open on another';
      },
      (error: unknown) => (error instanceof KexerError ? `${error.code}: ${error.message}` : String(error)),
    );
  }

  function turn(): Promise<void> {
    return new Promise((resolve) => {
      setImmediate(resolve);
    });
  }

  async function until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await turn();
  }

  it('says what a dial says when the node has died while the connection waited, ten seconds after the doubt', async () => {
    const socket = await spare();
    road.isClosed = true;
    road.lose();
    const answer = ask(socket);
    clock.advance(999);
    for (let turns = 0; turns < 50; turns += 1) await turn();
    expect(road.connections).to.have.length(1);
    clock.advance(1);
    await until(() => road.connections.length === 2);
    clock.advance(10_000);
    expect(await answer).to.equal(
      `timeout: Cannot reach the kubelet of node node1 at 127.0.0.1:${target.port}: no answer within 10 s`,
    );
    await until(() => clock.pendingCount === 0);
    expect([socket.destroyed, kubelet.requests]).to.deep.equal([true, []]);
  });

  it('opens the stream by another connection when only the one that waited is lost', async () => {
    const socket = await spare();
    road.lose();
    const answer = ask(socket);
    clock.advance(1000);
    expect(await answer).to.equal('open on another');
    expect([socket.destroyed, kubelet.requests.length, kubelet.connections]).to.deep.equal([true, 1, 2]);
  });

  it('takes the answer of a slow kubelet, and closes the connection that was dialled beside it', async () => {
    const held = Promise.withResolvers<void>();
    let waiting = 0;
    kubelet.script.answerAfter = () => {
      waiting += 1;
      return waiting === 1 ? held.promise : new Promise(() => {});
    };
    const socket = await spare();
    const answer = ask(socket);
    await until(() => waiting === 1);
    clock.advance(1000);
    await until(() => waiting === 2);
    held.resolve();
    expect(await answer).to.equal('open on the spare');
    await until(() => kubelet.sockets.size === 1);
    expect([socket.destroyed, clock.pendingCount]).to.deep.equal([false, 0]);
  });

  it('closes the one that waited when the other answers first, whatever it answers', async () => {
    let asked = 0;
    kubelet.script.refusal = () => 'HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n';
    kubelet.script.answerAfter = () => {
      asked += 1;
      return asked === 1 ? new Promise(() => {}) : Promise.resolve();
    };
    const socket = await spare();
    const answer = ask(socket);
    await until(() => asked === 1);
    clock.advance(1000);
    expect(await answer).to.equal('refused: 500');
    await until(() => kubelet.sockets.size === 0);
    expect(clock.pendingCount).to.equal(0);
  });

  it('dials at once when the one that waited is closed without a word, and once only', async () => {
    let asked = 0;
    kubelet.script.refusal = () => {
      asked += 1;
      return asked === 1 ? '' : undefined;
    };
    expect(await ask(await spare())).to.equal('open on another');
    expect([asked, kubelet.connections, clock.pendingCount]).to.deep.equal([2, 2, 0]);
  });

  it('ends both when the client leaves', async () => {
    kubelet.script.answerAfter = () => new Promise(() => {});
    const answer = ask(await spare());
    clock.advance(1000);
    await until(() => kubelet.requests.length === 2);
    leaving.abort();
    expect(await answer).to.match(/^clientGone: /);
    await until(() => kubelet.sockets.size === 0);
    expect(clock.pendingCount).to.equal(0);
  });

  it('doubts no connection that was dialled for the stream', async () => {
    const held = Promise.withResolvers<void>();
    kubelet.script.answerAfter = () => held.promise;
    const answer = ask(await spare(), false);
    clock.advance(100_000);
    for (let turns = 0; turns < 50; turns += 1) await turn();
    expect(kubelet.connections).to.equal(1);
    held.resolve();
    expect(await answer).to.equal('open on the spare');
  });
});
