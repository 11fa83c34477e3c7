import type { TLSSocket } from 'node:tls';

import { expect } from 'chai';

import { systemClock } from '../../src/base/clock.ts';
import { codeOf } from '../../src/base/errors.ts';
import { Scope } from '../../src/base/scope.ts';
import type { KubeletAccess } from '../../src/clusters/cluster.ts';
import { noStages } from '../../src/observe/stages.ts';
import { openKubeletLeg } from '../../src/streams/kubelet-leg.ts';
import { type DialledKubelet, SpareKubelets } from '../../src/streams/spare-kubelets.ts';
import type { Target } from '../../src/streams/target.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { fakeCluster } from './support/calls.ts';
import { type Certificates, type KubeletServer, makeCertificates, startKubelet } from './support/kubelet-server.ts';

const lifetimeMs = 10_000;

describe('SpareKubelets', () => {
  let certificates: Certificates;
  let scope: Scope;
  let clock: FakeClock;
  let kubelet: KubeletServer;
  let access: KubeletAccess;
  let target: Target;
  let spares: SpareKubelets;

  before(async () => {
    certificates = await makeCertificates();
  });

  beforeEach(async () => {
    scope = new Scope();
    clock = new FakeClock();
    kubelet = await startKubelet(scope, certificates, {});
    access = fakeCluster(kubelet).kubelet;
    target = {
      namespace: 'default',
      pod: 'demo',
      podUid: 'a27f0a4b-4d4a-4cf5-93d3-8b0d2b6c5f64',
      isMirror: false,
      container: 'shell',
      node: 'node1',
      host: '127.0.0.1',
      port: kubelet.port,
    };
    spares = new SpareKubelets({ clock }, { lifetimeMs });
    scope.add(() => spares.close());
  });

  afterEach(() => scope.close());

  async function dial(signal = new AbortController().signal): Promise<DialledKubelet> {
    const dialled = await spares.dial({ stages: noStages }, access, target, signal);
    scope.add(() => void dialled.socket.destroy());
    return dialled;
  }

  /** One stream, as far as connections go. */
  async function stream(): Promise<DialledKubelet> {
    const dialled = await dial();
    spares.prepare(access, target);
    clock.advance(0);
    return dialled;
  }

  /** Resolves when the kubelet has so many open connections, all finished with their handshakes on both sides. */
  async function untilOpen(count: number): Promise<void> {
    while (kubelet.sockets.size !== count) await turn();
    for (let turns = 0; turns < 20; turns += 1) await turn();
  }

  function turn(): Promise<void> {
    return new Promise((resolve) => {
      setImmediate(resolve);
    });
  }

  it('makes none for a node that is asked once, or seldom', async () => {
    await stream();
    clock.advance(lifetimeMs + 1);
    await stream();
    await untilOpen(2);
    expect(kubelet.connections).to.equal(2);
  });

  it('has one waiting for a node whose streams follow one another, and hands it to one stream', async () => {
    await stream();
    await stream();
    await untilOpen(3);
    const third = await dial();
    const fourth = await dial();
    await untilOpen(4);
    expect([third.isSpare, fourth.isSpare, kubelet.connections]).to.deep.equal([true, false, 4]);
    expect(third.socket.authorized).to.equal(true);
  });

  it('closes one that nobody took in time', async () => {
    await stream();
    await stream();
    await untilOpen(3);
    clock.advance(lifetimeMs);
    await untilOpen(2);
    expect((await dial()).isSpare).to.equal(false);
    expect(clock.pendingCount).to.equal(0);
  });

  it('hands over one that is still being made, which then ends with its stream', async () => {
    await stream();
    await stream(); // its spare has been dialled in this very turn
    const controller = new AbortController();
    const third = dial(controller.signal);
    controller.abort();
    let code: string | undefined;
    await third.catch((error: unknown) => {
      code = codeOf(error);
    });
    expect(code).to.equal('clientGone');
    await untilOpen(2);
  });

  it('gives none that the kubelet has closed, or has begun to speak on', async () => {
    await stream();
    await stream();
    await untilOpen(3);
    [...kubelet.sockets].at(-1)?.end();
    await untilOpen(2);
    expect((await stream()).isSpare).to.equal(false);
    await untilOpen(4);
    [...kubelet.sockets].at(-1)?.write('HTTP/1.1 408 Request Timeout\r\n\r\n');
    for (let turns = 0; turns < 50; turns += 1) await turn();
    expect((await dial()).isSpare).to.equal(false);
  });

  it('gives none that was made under another CA or certificate', async () => {
    await stream();
    await stream();
    await untilOpen(3);
    const { cert, key } = certificates.serving;
    access = Object.assign(access, { certificate: () => ({ cert, key }) });
    expect((await dial()).isSpare).to.equal(false);
    await untilOpen(3);
  });

  it('keeps those of one access apart from those of another', async () => {
    await stream();
    await stream();
    await untilOpen(3);
    access = { ...access };
    expect((await dial()).isSpare).to.equal(false);
  });

  it('makes none when it is switched off', async () => {
    spares = new SpareKubelets({ clock }, { lifetimeMs: 0 });
    await dial();
    await dial();
    spares.prepare(access, target);
    expect(clock.pendingCount).to.equal(0); // nothing is even intended
  });

  it('makes none after it was closed', async () => {
    await dial();
    await dial();
    spares.prepare(access, target);
    spares.close();
    clock.advance(0);
    await untilOpen(2);
    expect([clock.pendingCount, kubelet.connections]).to.deep.equal([0, 2]);
    await stream();
    expect(clock.pendingCount).to.equal(0);
  });

  it('closes what waits when it is closed', async () => {
    await stream();
    await stream();
    await untilOpen(3);
    spares.close();
    await untilOpen(2);
  });

  describe('a leg on one', () => {
    const request = {
      kind: 'exec',
      query: 'command=true',
      userAgent: 'kexer/test',
      signal: new AbortController().signal,
    } as const;

    /** A socket that is closed by the other side as soon as a request comes, without a byte of an answer. */
    async function closing(isSpare: boolean): Promise<DialledKubelet> {
      kubelet.script.refusal = () => {
        kubelet.script.refusal = () => undefined;
        return '';
      };
      const { socket } = await dial();
      return { socket, isSpare };
    }

    function open(dialled: DialledKubelet): Promise<{ isOpen: boolean; socket?: TLSSocket }> {
      return openKubeletLeg({ clock: systemClock }, access, target, dialled, request).then((outcome) => {
        if (!outcome.isOpen) return { isOpen: false };
        const { socket } = outcome.leg;
        scope.add(() => void socket.destroy());
        return { isOpen: true, socket };
      });
    }

    it('dials anew when the kubelet closed it without a word: no command begins before its streams', async () => {
      const outcome = await open(await closing(true));
      expect([outcome.isOpen, kubelet.requests.length, kubelet.connections]).to.deep.equal([true, 2, 2]);
    });

    it('reports the same of a connection that was dialled for it', async () => {
      const dialled = await closing(false);
      let code: string | undefined;
      await open(dialled).catch((error: unknown) => {
        code = codeOf(error);
      });
      expect([code, kubelet.requests.length]).to.deep.equal(['unreachable', 1]);
    });
  });
});
