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
    const look = (): void => void seen.push(session.idleMs);
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

  it('is ending from the first wish for its end on', () => {
    const sessions = new SessionRegistry({
      clock: new FakeClock(),
      observer: { sessionStarted() {}, sessionEnded() {} },
    });
    const session = sessions.open(subject, () => {});
    const before = session.isEnding;
    session.end('enough');
    expect([before, session.isEnding]).to.deep.equal([false, true]);
  });
});
