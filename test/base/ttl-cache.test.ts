import { expect } from 'chai';

import { SingleFlight, TtlCache } from '../../src/base/ttl-cache.ts';
import { FakeClock } from '../support/fake-clock.ts';

describe('TtlCache', () => {
  it('forgets an entry when its time is over, not before', () => {
    const clock = new FakeClock();
    const cache = new TtlCache<number>({ clock }, { maxEntries: 8 });
    cache.set('a', 1, 10_000);
    clock.advance(9_999);
    const before = cache.get('a');
    clock.advance(1);
    expect([before, cache.get('a'), cache.size]).to.deep.equal([1, undefined, 0]);
  });

  it('drops the oldest-written entry when full, and a rewrite makes an entry young', () => {
    const cache = new TtlCache<number>({ clock: new FakeClock() }, { maxEntries: 2 });
    cache.set('a', 1, 1000);
    cache.set('b', 2, 1000);
    cache.set('a', 3, 1000);
    cache.set('c', 4, 1000);
    expect(['a', 'b', 'c'].map((key) => cache.get(key))).to.deep.equal([3, undefined, 4]);
  });
});

describe('SingleFlight', () => {
  it('joins concurrent calls with one key, and starts anew after a failure', async () => {
    const flights = new SingleFlight<string>();
    let calls = 0;
    const work = async () => {
      calls += 1;
      await Promise.resolve();
      if (calls === 1) throw new Error('down');
      return 'up';
    };
    const first = await Promise.allSettled([flights.run('k', work), flights.run('k', work)]);
    const second = await flights.run('k', work);
    expect([first.map(({ status }) => status), second, calls, flights.size]).to.deep.equal([
      ['rejected', 'rejected'],
      'up',
      2,
      0,
    ]);
  });
});
