import { expect } from 'chai';

import { joinObservers, SessionRegistry } from '../../src/streams/registry.ts';
import { SessionLimits, type SessionLimitOptions } from '../../src/streams/session-limits.ts';
import type { Session } from '../../src/streams/session.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { subject } from './support/rig.ts';

const hourMs = 3_600_000;

describe('SessionLimits', () => {
  let clock: FakeClock;
  let sessions: SessionRegistry;
  let ends: string[];

  function start(options: Partial<SessionLimitOptions>): Session {
    clock = new FakeClock();
    ends = [];
    const limits = new SessionLimits({ clock }, { idleTimeoutMs: 0, maxDurationMs: 0, ...options });
    const silent = { sessionStarted() {}, sessionEnded() {} };
    sessions = new SessionRegistry({ clock, observer: joinObservers(silent, limits) });
    return sessions.open(subject, (message) => ends.push(message));
  }

  it('limits nothing by default', () => {
    start({});
    expect(clock.pendingCount).to.equal(0);
  });

  it('ends a session that was idle for the limit, and says so', () => {
    start({ idleTimeoutMs: 4 * hourMs });
    clock.advance(4 * hourMs - 1);
    expect(ends).to.deep.equal([]);
    clock.advance(1);
    expect(ends).to.deep.equal(['session was idle for 4h0m0s, the limit']);
    expect(clock.pendingCount).to.equal(0);
  });

  it('takes a byte in either direction for use', () => {
    for (const count of ['bytesIn', 'bytesOut'] as const) {
      const session = start({ idleTimeoutMs: hourMs });
      for (let minutes = 0; minutes < 600; minutes += 50) {
        clock.advance(50 * 60_000);
        session[count] += 1;
      }
      expect(ends).to.deep.equal([]);
      clock.advance(hourMs - 1);
      expect(ends).to.deep.equal([]);
      clock.advance(60_001); // activity is noticed within a minute
      expect(ends).to.deep.equal(['session was idle for 1h0m0s, the limit']);
    }
  });

  it('keeps short limits precisely', () => {
    const session = start({ idleTimeoutMs: 1000 });
    clock.advance(990);
    session.bytesOut += 1;
    clock.advance(1000);
    expect(ends).to.deep.equal([]);
    clock.advance(60);
    expect(ends).to.deep.equal(['session was idle for 1s, the limit']);
  });

  it('ends a session at its greatest age, however busy', () => {
    const session = start({ idleTimeoutMs: hourMs, maxDurationMs: 90_000 });
    for (let second = 0; second < 89; second += 1) {
      clock.advance(1000);
      session.bytesOut += 1;
    }
    expect(ends).to.deep.equal([]);
    clock.advance(1000);
    expect(ends).to.deep.equal(['session lasted 1m30s, the limit']);
  });

  it('forgets a session that ended', () => {
    const session = start({ idleTimeoutMs: hourMs, maxDurationMs: hourMs });
    sessions.finish(session, { cause: 'normal', message: 'the command succeeded' });
    expect(clock.pendingCount).to.equal(0);
    clock.advance(2 * hourMs);
    expect(ends).to.deep.equal([]);
  });

  it('asks a session to end once', () => {
    start({ idleTimeoutMs: 60_000, maxDurationMs: 60_001 });
    clock.advance(hourMs);
    expect(ends).to.deep.equal(['session was idle for 1m0s, the limit']);
  });
});
