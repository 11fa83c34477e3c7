import { expect } from 'chai';

import { SessionRegistry } from '../../src/streams/registry.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { subject } from './support/rig.ts';

describe('Session', () => {
  it('is idle since the last payload byte either way', () => {
    const clock = new FakeClock();
    const sessions = new SessionRegistry({ clock, observer: { sessionStarted() {}, sessionEnded() {} } });
    const session = sessions.open(subject, () => {});
    const seen: number[] = [];
    const look = (): void => void seen.push(clock.now() - session.lastActivityAtMs);
    clock.advance(5000);
    look();
    session.countIn(1);
    look();
    clock.advance(700);
    session.countOut(1);
    clock.advance(40);
    look();
    expect(seen).to.deep.equal([5000, 0, 40]);
  });

  it('knows who first wanted its end', () => {
    const clock = new FakeClock();
    const sessions = new SessionRegistry({ clock, observer: { sessionStarted() {}, sessionEnded() {} } });
    const session = sessions.open(subject, () => {});
    const before = session.endRequest;
    session.end('enough');
    clock.advance(1);
    session.end('more than enough');
    expect([before, session.endRequest]).to.deep.equal([
      undefined,
      { message: 'enough', atMs: clock.now() - 1, by: 'other' },
    ]);
  });
});
