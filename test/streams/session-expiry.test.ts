// Whether a session ends with the credential that began it.

import { expect } from 'chai';

import { makeUser, type UserInfo } from '../../src/kube/user.ts';
import { SessionRegistry } from '../../src/streams/registry.ts';
import type { Session } from '../../src/streams/session.ts';
import { SessionExpiry } from '../../src/streams/session-expiry.ts';
import type { SessionBasis } from '../../src/streams/session-rights.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { subject } from './support/rig.ts';

const dayMs = 24 * 3_600_000;

describe('SessionExpiry', () => {
  const expiresAtMs = Date.UTC(2026, 11, 30, 10);
  let clock: FakeClock;
  let ended: string[];
  let sessions: SessionRegistry;

  function start(isOn: boolean, basis: Omit<SessionBasis, 'rights'>, originalUser?: UserInfo): Session {
    clock = new FakeClock(expiresAtMs - 30 * dayMs);
    ended = [];
    sessions = new SessionRegistry({ clock, observer: new SessionExpiry({ clock }, { endOnExpiry: isOn }) });
    const whole = originalUser === undefined ? subject : { ...subject, originalUser };
    return sessions.open(whole, (message) => ended.push(message), undefined, { rights: [], ...basis });
  }

  it('ends it at that moment and not before, longer than a timer counts', () => {
    start(true, { credentialExpiresAtMs: expiresAtMs });
    clock.advance(30 * dayMs - 1);
    expect(ended).to.deep.equal([]);
    clock.advance(1);
    expect(ended).to.deep.equal(['the credential of alice expired at 2026-12-30T10:00:00Z']);
  });

  it('names the caller whose credential it is, not whom they impersonate', () => {
    start(true, { credentialExpiresAtMs: expiresAtMs }, makeUser({ name: 'portal' }));
    clock.advance(30 * dayMs);
    expect(ended[0]).to.contain('of portal expired');
  });

  it('ends nothing unless it is on, and nothing of which it is not known', () => {
    start(false, { credentialExpiresAtMs: expiresAtMs });
    clock.advance(60 * dayMs);
    expect(ended).to.deep.equal([]);
    start(true, {});
    expect(clock.pendingCount).to.equal(0);
  });

  it('forgets a session that is over', () => {
    const session = start(true, { credentialExpiresAtMs: expiresAtMs });
    sessions.finish(session, { cause: 'normal', message: '' });
    expect(clock.pendingCount).to.equal(0);
  });
});
