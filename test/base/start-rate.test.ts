// Starts a minute, by key and in total.

import { expect } from 'chai';

import { StartRate } from '../../src/base/start-rate.ts';
import { FakeClock } from '../support/fake-clock.ts';

describe('StartRate', () => {
  it('lets a minute of starts through at once, then one for each share of a minute', () => {
    const clock = new FakeClock();
    const rate = new StartRate({ clock }, { perKeyPerMinute: 6, totalPerMinute: 0 });
    for (let index = 0; index < 6; index += 1) {
      expect(rate.fullFor('a')).to.equal(undefined);
      rate.take('a');
    }
    expect(rate.fullFor('a')).to.deep.equal({ limit: 'key', waitMs: 10_000 });
    clock.advance(9999);
    expect(rate.fullFor('a')?.limit).to.equal('key');
    clock.advance(1);
    expect(rate.fullFor('a')).to.equal(undefined);
    rate.take('a');
    expect(rate.fullFor('a')?.limit).to.equal('key');
  });

  it('keeps one key apart from another, and both within the total', () => {
    const clock = new FakeClock();
    const rate = new StartRate({ clock }, { perKeyPerMinute: 2, totalPerMinute: 3 });
    rate.take('a');
    rate.take('a');
    expect([rate.fullFor('a')?.limit, rate.fullFor('b')]).to.deep.equal(['key', undefined]);
    rate.take('b');
    expect(rate.fullFor('b')).to.deep.equal({ limit: 'total', waitMs: 20_000 });
  });

  it('never holds more than a minute of starts, however long a key was quiet', () => {
    const clock = new FakeClock();
    const rate = new StartRate({ clock }, { perKeyPerMinute: 2, totalPerMinute: 0 });
    rate.take('a');
    clock.advance(3_600_000);
    rate.take('a');
    rate.take('a');
    expect(rate.fullFor('a')?.limit).to.equal('key');
  });

  it('gives a start back to whom it was not', () => {
    const rate = new StartRate({ clock: new FakeClock() }, { perKeyPerMinute: 1, totalPerMinute: 1 });
    rate.take('proxy');
    rate.move('proxy', 'alice');
    expect([rate.fullFor('alice')?.limit, rate.fullFor('proxy')?.limit]).to.deep.equal(['key', 'total']);
  });

  it('has no limit where it is 0, and remembers nobody then', () => {
    const rate = new StartRate({ clock: new FakeClock() }, { perKeyPerMinute: 0, totalPerMinute: 0 });
    for (let index = 0; index < 100; index += 1) rate.take(`user-${index}`);
    expect([rate.fullFor('user-1'), rate.size]).to.deep.equal([undefined, 0]);
  });

  it('forgets keys whose bucket is full again', () => {
    const clock = new FakeClock();
    const rate = new StartRate({ clock }, { perKeyPerMinute: 60, totalPerMinute: 0 });
    for (let index = 0; index < 1000; index += 1) rate.take(`user-${index}`);
    clock.advance(1000);
    rate.take('another');
    expect(rate.size).to.equal(1);
  });
});
