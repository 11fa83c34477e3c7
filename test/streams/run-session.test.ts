import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect } from 'chai';

import type { Call } from '../../src/clusters/call.ts';
import type { Cluster } from '../../src/clusters/cluster.ts';
import { noRecord } from '../../src/observe/audit/call-audit.ts';
import { SessionRegistry } from '../../src/streams/registry.ts';
import { runSession } from '../../src/streams/run-session.ts';
import type { Session, SessionEnd } from '../../src/streams/session.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { makeCall } from './support/calls.ts';
import { subject } from './support/rig.ts';

const announced = { id: 'one', record: noRecord };
const normal: SessionEnd = { cause: 'normal', message: 'the command ended' };

describe('run session', () => {
  let sessions: SessionRegistry;
  let told: string[];
  let unfollowed: number;
  const pods = {
    follow: () => () => {
      unfollowed += 1;
    },
  };

  beforeEach(() => {
    told = [];
    unfollowed = 0;
    sessions = new SessionRegistry({
      clock: new FakeClock(),
      observer: { sessionStarted: () => told.push('started'), sessionEnded: (_session, end) => told.push(end.message) },
    });
  });

  const makeOne = (): Call => makeCall({ name: 'local' } as Cluster, 'POST', 'pods/demo/exec');

  it('lists the session from before its start to its end, and follows its pod meanwhile', async () => {
    const { promise: done, resolve } = Promise.withResolvers<SessionEnd>();
    let listed: readonly Session[] = [];
    const running = runSession({ sessions, pods }, makeOne(), { subject, announced }, () => {
      listed = sessions.list();
      return { done, end: () => {} };
    });
    expect(listed.map(({ id }) => id)).to.deep.equal(['one']);
    resolve(normal);
    await running;
    expect([sessions.size, unfollowed, told]).to.deep.equal([0, 1, ['started', 'the command ended']]);
  });

  it('ends the stream when the session is ended from outside', async () => {
    const { promise: done, resolve } = Promise.withResolvers<SessionEnd>();
    const end = (message: string): void => resolve({ cause: 'ended', message });
    const running = runSession({ sessions, pods }, makeOne(), { subject, announced }, () => ({ done, end }));
    sessions.get('one')?.end('its right was lost', 'rightLost');
    await running;
    expect(told).to.deep.equal(['started', 'its right was lost']);
  });

  it('finishes a session whose legs could not be joined, and says so to its caller', async () => {
    const running = runSession({ sessions, pods }, makeOne(), { subject, announced }, () => {
      throw new Error('a leg is broken');
    });
    const error = await running.then(() => undefined, String);
    expect([error, sessions.size, told]).to.deep.equal(['Error: a leg is broken', 0, ['started', 'a leg is broken']]);
  });

  it('lets the call go while the session runs', async () => {
    const { promise: done, resolve } = Promise.withResolvers<SessionEnd>();
    const start = (): { call: WeakRef<Call>; running: Promise<void> } => {
      const call = makeOne();
      return {
        call: new WeakRef(call),
        running: runSession({ sessions, pods }, call, { subject, announced }, () => ({ done, end: () => {} })),
      };
    };
    const { call, running } = start();
    await nextTurn(); // a WeakRef holds what it names until the turn is over
    collectGarbage();
    expect([call.deref(), sessions.size]).to.deep.equal([undefined, 1]);
    resolve(normal);
    await running;
  });
});

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  setFlagsFromString('--no-expose-gc');
  collect();
}
