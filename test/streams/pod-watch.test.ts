// A scripted cluster: what its watch and its reads say is the test's.

import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import type { PodObject, PodWatchHandlers } from '../../src/clusters/cluster.ts';
import { failure, forbidden, notFound, StatusError } from '../../src/kube/status.ts';
import { type PodSource, PodWatches } from '../../src/streams/pod-watch.ts';
import { SessionRegistry } from '../../src/streams/registry.ts';
import type { Session, SessionKind } from '../../src/streams/session.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { makePod } from './support/calls.ts';
import { quiet, subject } from './support/rig.ts';

/** One watch request, still open. */
interface OpenWatch {
  readonly handlers: PodWatchHandlers;
  readonly end: () => void;
  readonly fail: (error: Error) => void;
  isOver: boolean;
}

class Source implements PodSource {
  readonly watches: OpenWatch[] = [];
  reads = 0;
  /** What a read gives: a pod's UID, or an error. */
  answer: string | Error = 'u1';
  /** The next watches fail with this. */
  refusal: Error | undefined;

  get current(): OpenWatch {
    const watch = this.watches.at(-1);
    if (watch === undefined) throw new Error('nothing is watched');
    return watch;
  }

  get openCount(): number {
    return this.watches.filter(({ isOver }) => !isOver).length;
  }

  async pod(_namespace: string, name: string): Promise<PodObject> {
    this.reads += 1;
    if (this.answer instanceof Error) throw this.answer;
    const pod = makePod(name);
    return { ...pod, metadata: { ...pod.metadata, uid: this.answer } };
  }

  watchPod(
    _namespace: string,
    _name: string,
    handlers: PodWatchHandlers,
    { signal }: { signal: AbortSignal },
  ): Promise<void> {
    if (this.refusal !== undefined) return Promise.reject(this.refusal);
    return new Promise((resolve, reject) => {
      const watch: OpenWatch = {
        handlers,
        isOver: false,
        end: () => {
          watch.isOver = true;
          resolve();
        },
        fail: (error) => {
          watch.isOver = true;
          reject(error);
        },
      };
      signal.addEventListener('abort', () => watch.fail(signal.reason as Error), { once: true });
      this.watches.push(watch);
      process.nextTick(() => handlers.onOpen());
    });
  }
}

const noPod = new StatusError(notFound({ group: '', resource: 'pods' }, 'demo'));
const away = new KexerError('unreachable', 'Cannot reach the apiserver');

describe('PodWatches', () => {
  let clock: FakeClock;
  let source: Source;
  let pods: PodWatches;
  let sessions: SessionRegistry;
  let ends: string[];
  let told: string[];

  beforeEach(() => {
    clock = new FakeClock();
    source = new Source();
    ends = [];
    told = [];
    pods = new PodWatches({
      clock,
      random: () => 0,
      onForbidden: () => told.push('forbidden'),
      onOutage: () => told.push('outage'),
    });
    sessions = new SessionRegistry({ clock, observer: { sessionStarted() {}, sessionEnded() {} } });
  });

  afterEach(async () => {
    pods.stop();
    await quiet();
    expect(source.openCount).to.equal(0);
    expect(clock.pendingCount).to.equal(0);
  });

  function open(podUid = 'u1', kind: SessionKind = 'exec'): { session: Session; leave: () => void } {
    const session = sessions.open({ ...subject, kind, podUid }, (message) => ends.push(message));
    return { session, leave: pods.follow(source, session) };
  }

  async function pass(ms: number): Promise<void> {
    clock.advance(ms);
    await quiet();
  }

  const gone = 'the pod default/demo was deleted (UID u1)';

  it('asks nothing for a session shorter than a second', async () => {
    const { leave } = open();
    await pass(999);
    leave();
    await pass(10_000);
    expect([source.watches.length, source.reads]).to.deep.equal([0, 0]);
  });

  it('has one watch for all sessions of a pod, until the last is over', async () => {
    const first = open();
    const second = open();
    await pass(1000);
    expect([source.watches.length, pods.size]).to.deep.equal([1, 1]);
    first.leave();
    expect(source.openCount).to.equal(1);
    second.leave();
    await quiet();
    expect([source.openCount, pods.size, ends.length]).to.deep.equal([0, 0, 0]);
  });

  it('ends the sessions of a deleted pod, after half a second for its kubelet', async () => {
    open();
    await pass(1000);
    source.current.handlers.onEvent({ type: 'delete', uid: 'u1' });
    await pass(499);
    expect(ends).to.deep.equal([]);
    await pass(1);
    expect(ends).to.deep.equal([gone]);
  });

  it('says nothing when the kubelet ended the session in that time', async () => {
    const { leave } = open();
    await pass(1000);
    source.current.handlers.onEvent({ type: 'delete', uid: 'u1' });
    leave();
    await pass(10_000);
    expect(ends).to.deep.equal([]);
  });

  it('notices a pod that went before the watch began, within 2 s of the start', async () => {
    open();
    source.answer = noPod;
    await pass(1000);
    await pass(500);
    expect(ends).to.deep.equal([gone]);
  });

  it('notices a pod of the same name and another UID', async () => {
    open();
    source.answer = 'u2';
    await pass(1000);
    await pass(500);
    expect(ends).to.deep.equal([gone]);
  });

  it('leaves a pod alone that is changed or terminating', async () => {
    open();
    await pass(1000);
    source.current.handlers.onEvent({ type: 'set', uid: 'u1' });
    await pass(60_000);
    expect([ends, source.reads]).to.deep.equal([[], 1]);
  });

  it('believes a read, not a watch that lags behind and shows the pod before this one', async () => {
    open();
    await pass(1000);
    source.current.handlers.onEvent({ type: 'set', uid: 'u0' });
    source.current.handlers.onEvent({ type: 'delete', uid: 'u0' });
    await pass(60_000);
    expect(ends).to.deep.equal([]);
    expect(source.reads).to.equal(3);
  });

  it('looks again for a session that joins later', async () => {
    open();
    await pass(1000);
    source.current.handlers.onEvent({ type: 'delete', uid: 'u1' });
    source.answer = 'u2';
    await pass(500);
    expect(ends).to.deep.equal([gone]);
    open(); // was on its way to the old pod
    open('u2');
    await pass(1000);
    await pass(500);
    expect(ends).to.deep.equal([gone, gone]);
  });

  it('survives an outage, tells of it once, and decides by the UID after it', async () => {
    open();
    open('u2');
    await pass(1000);
    source.answer = away;
    source.refusal = away;
    source.current.fail(away);
    await quiet();
    for (let minute = 0; minute < 60; minute += 1) await pass(60_000);
    // u2 was another pod from the start.
    expect([ends, told]).to.deep.equal([['the pod default/demo was deleted (UID u2)'], ['outage']]);
    source.refusal = undefined;
    source.answer = noPod;
    await pass(30_000);
    await pass(500);
    expect(ends.slice(1)).to.deep.equal([gone]);
  });

  it('begins anew when a read fails beside a watch that works', async () => {
    source.answer = away;
    open();
    await pass(1000);
    expect([ends.length, told.length, source.openCount]).to.deep.equal([0, 1, 0]);
    source.answer = 'u1';
    await pass(500);
    expect([source.openCount, source.watches.length, source.reads]).to.deep.equal([1, 2, 2]);
  });

  const noProof: readonly Error[] = [
    away,
    new StatusError(failure(404, '', '404 page not found')),
    new StatusError(failure(404, 'NotFound', 'the server could not find the requested resource')),
    new StatusError(notFound({ group: '', resource: 'namespaces' }, 'demo')),
    new StatusError(failure(503, 'ServiceUnavailable', 'apiserver is shutting down')),
  ];
  for (const error of noProof) {
    it(`takes ${error.message} for no deletion`, async () => {
      open();
      source.answer = error;
      await pass(1000);
      await pass(60_000);
      expect(ends).to.deep.equal([]);
    });
  }

  it('goes on at once when the apiserver ends the watch, after a pause when it does so at once', async () => {
    open();
    await pass(1000);
    await pass(300_000);
    source.current.end();
    await quiet();
    expect(source.watches.length).to.equal(2);
    source.current.end();
    await quiet();
    expect(source.watches.length).to.equal(2);
    await pass(500);
    expect(source.watches.length).to.equal(3);
    expect(source.reads).to.equal(3);
  });

  it('without the right to watch says so once, and is off for a while', async () => {
    source.refusal = new StatusError(forbidden({ group: '', resource: 'pods' }, 'demo', 'kexer cannot watch'));
    open();
    open();
    await pass(1000);
    open();
    await pass(100_000);
    expect([ends, told]).to.deep.equal([[], ['forbidden']]);
    source.refusal = undefined;
    await pass(200_000);
    open();
    await pass(1000);
    expect(source.openCount).to.equal(1);
  });

  it('without that right in one cluster watches in another all the same', async () => {
    const other = new Source();
    source.refusal = new StatusError(forbidden({ group: '', resource: 'pods' }, 'demo', 'kexer cannot watch'));
    open();
    await pass(1000);
    const there = sessions.open({ ...subject, podUid: 'u1' }, (message) => ends.push(message));
    const leave = pods.follow(other, there);
    await pass(1000);
    expect([source.openCount, other.openCount]).to.deep.equal([0, 1]);
    leave();
    await quiet();
  });

  it('does not follow the object of a static pod, nor what is no pod', async () => {
    const mirror = sessions.open({ ...subject, isMirrorPod: true }, (message) => ends.push(message));
    pods.follow(source, mirror);
    open('', 'upgrade');
    await pass(10_000);
    expect(source.watches.length).to.equal(0);
  });

  it('lets the rest of a log come, and ends it when nothing does', async () => {
    const { session } = open('u1', 'log');
    await pass(1000);
    source.current.handlers.onEvent({ type: 'delete', uid: 'u1' });
    for (let step = 0; step < 10; step += 1) {
      session.bytesOut += 100;
      await pass(500);
    }
    session.isBackedUp = true;
    await pass(60_000);
    expect(ends).to.deep.equal([]);
    session.isBackedUp = false;
    await pass(500);
    expect(ends).to.deep.equal([gone]);
  });
});
