// Bandwidth in virtual time: how much passes, who takes turns with whom, and that a user at a limit costs nobody else anything.

import { expect } from 'chai';

import { Bandwidth, type BandwidthOptions, type Flow, sipBytes, sipIntervalMs } from '../../src/streams/bandwidth.ts';
import { FakeClock } from '../support/fake-clock.ts';

const mib = 1024 * 1024;
const chunkBytes = 16 * 1024;

/** A sender that always has more, and is read in chunks while nobody holds it. */
class Sender {
  readonly #flow: Flow;
  passed = 0;
  holds = 0;
  isHeld = false;
  heldSinceMs = 0;
  longestHoldMs = 0;

  constructor(clock: FakeClock, flow: Flow, options: { hasFloor?: boolean } = {}) {
    this.#flow = flow;
    flow.attach(
      {
        pause: () => {
          expect(this.isHeld).to.equal(false);
          this.isHeld = true;
          this.holds += 1;
          this.heldSinceMs = clock.monotonic();
        },
        resume: () => {
          expect(this.isHeld).to.equal(true);
          this.isHeld = false;
          this.longestHoldMs = Math.max(this.longestHoldMs, clock.monotonic() - this.heldSinceMs);
        },
      },
      options,
    );
  }

  /** Up to `chunks` of what is there, as long as it may. */
  send(chunks: number): void {
    for (let index = 0; index < chunks && !this.isHeld; index += 1) {
      this.passed += chunkBytes;
      this.#flow.spent(chunkBytes);
    }
  }
}

class Stand {
  readonly clock = new FakeClock();
  readonly bandwidth: Bandwidth;

  constructor(options: Partial<BandwidthOptions>) {
    this.bandwidth = new Bandwidth({ clock: this.clock }, { perUser: 0, total: 0, ...options });
  }

  sender(user: string, options: { hasFloor?: boolean } = {}): Sender {
    return new Sender(this.clock, this.bandwidth.open(user).out, options);
  }

  /** Every sender sends whatever it may, for so long. */
  run(seconds: number, senders: readonly Sender[], chunksPerTurn = 4): void {
    for (let ms = 0; ms < seconds * 1000; ms += 5) {
      for (const sender of senders) sender.send(chunksPerTurn);
      this.clock.advance(5);
    }
  }
}

/** Mebibytes a second, rounded to tenths. */
function rate(sender: Sender, seconds: number): number {
  return Math.round((sender.passed / seconds / mib) * 10) / 10;
}

describe('Bandwidth', () => {
  for (const limit of ['perUser', 'total'] as const) {
    it(`passes as much as ${limit} says, and a second's worth at once`, () => {
      const stand = new Stand({ [limit]: mib });
      const sender = stand.sender('alice');
      stand.run(1, [sender], 1000);
      expect(rate(sender, 1)).to.be.within(1.9, 2.1);
      const before = sender.passed;
      stand.run(60, [sender]);
      expect((sender.passed - before) / 60 / mib).to.be.within(0.98, 1.02);
    });
  }

  it('keeps to rates from 64 KiB to a gigabyte a second', () => {
    for (const perUser of [65_536, 10 * mib, 100 * mib, 1024 * mib]) {
      const stand = new Stand({ perUser });
      const sender = stand.sender('alice');
      stand.run(3, [sender], 1000);
      const before = sender.passed;
      stand.run(20, [sender], 1000);
      expect((sender.passed - before) / 20 / perUser, String(perUser)).to.be.within(0.95, 1.05);
    }
  });

  it('never holds who stays below the limit', () => {
    const stand = new Stand({ perUser: 10 * mib, total: 10 * mib });
    const sender = stand.sender('alice');
    for (let ms = 0; ms < 10_000; ms += 10) {
      sender.send(6); // 9.4 MiB a second
      stand.clock.advance(10);
    }
    expect([sender.holds, stand.clock.pendingCount]).to.deep.equal([0, 0]);
  });

  it('costs nobody anything that another user is at the limit', () => {
    const stand = new Stand({ perUser: mib });
    const greedy = Array.from({ length: 10 }, () => stand.sender('alice'));
    const modest = stand.sender('bob');
    for (let ms = 0; ms < 20_000; ms += 20) {
      for (const sender of greedy) sender.send(4);
      modest.send(1); // 0.8 MiB a second
      stand.clock.advance(20);
    }
    expect([modest.holds, rate(modest, 20)]).to.deep.equal([0, 0.8]);
    expect(greedy.reduce((sum, { passed }) => sum + passed, 0) / mib).to.be.within(19, 22.5);
  });

  it('costs nobody anything either while the total has room, however many wait for their own share', () => {
    const stand = new Stand({ perUser: mib, total: 100 * mib });
    const greedy = Array.from({ length: 10 }, (_, index) => stand.sender(`user-${index}`));
    const modest = stand.sender('bob');
    for (let ms = 0; ms < 5000; ms += 20) {
      for (const sender of greedy) sender.send(4);
      modest.send(1);
      stand.clock.advance(20);
    }
    expect(modest.holds).to.equal(0);
  });

  it('shares a short total by users, not by their sessions', () => {
    const stand = new Stand({ total: 8 * mib });
    const many = Array.from({ length: 20 }, () => stand.sender('alice'));
    const one = stand.sender('bob');
    stand.run(30, [...many, one]);
    const alice = many.reduce((sum, { passed }) => sum + passed, 0) / 30 / mib;
    expect(alice).to.be.within(3.8, 4.6);
    expect(rate(one, 30)).to.be.within(3.8, 4.6);
  });

  it('lets the sessions of a user take turns', () => {
    const stand = new Stand({ perUser: 4 * mib });
    const senders = [stand.sender('alice'), stand.sender('alice'), stand.sender('alice'), stand.sender('alice')];
    stand.run(30, senders);
    for (const sender of senders) expect(rate(sender, 30)).to.be.within(0.9, 1.2);
  });

  it('gives what one does not use to the others', () => {
    const stand = new Stand({ total: 8 * mib });
    const greedy = stand.sender('alice');
    const modest = stand.sender('bob');
    for (let ms = 0; ms < 30_000; ms += 5) {
      greedy.send(100);
      if (ms % 100 === 0) modest.send(1);
      stand.clock.advance(5);
    }
    expect(rate(modest, 30)).to.be.within(0.1, 0.2);
    expect(rate(greedy, 30)).to.be.within(7.7, 8.3);
  });

  it('counts the directions apart', () => {
    const stand = new Stand({ perUser: mib });
    const flows = stand.bandwidth.open('alice');
    const senders = [new Sender(stand.clock, flows.in), new Sender(stand.clock, flows.out)];
    stand.run(30, senders);
    expect(senders.map((sender) => Math.round(rate(sender, 30)))).to.deep.equal([1, 1]);
  });

  it('pays later for what a socket had read before it could be held', () => {
    const stand = new Stand({ perUser: mib });
    const flow = stand.bandwidth.open('alice').out;
    const sender = new Sender(stand.clock, flow);
    sender.send(1000); // until it is held
    flow.spent(8 * mib);
    stand.run(20, [sender]);
    expect(sender.passed / mib).to.be.within(12.5, 13.5);
  });

  it('is no way out of a debt to begin a new session', () => {
    const stand = new Stand({ perUser: mib });
    for (let index = 0; index < 100; index += 1) {
      const flows = stand.bandwidth.open('alice');
      flows.out.spent(mib / 10);
      flows.close();
    }
    const sender = stand.sender('alice');
    sender.send(1);
    expect(sender.isHeld).to.equal(true);
  });

  it('lets go of a session that ends while it is held, and keeps no timer for it', () => {
    const stand = new Stand({ perUser: 65_536, total: 65_536 });
    const flows = stand.bandwidth.open('alice');
    const sender = new Sender(stand.clock, flows.in, { hasFloor: true });
    sender.send(100);
    expect(sender.isHeld).to.equal(true);
    flows.close();
    flows.close();
    flows.in.spent(1000);
    expect([sender.isHeld, stand.clock.pendingCount]).to.deep.equal([false, 0]);
  });

  describe('with a floor', () => {
    it('never holds for longer than a sip takes to come, and passes half a mebibyte then', () => {
      const stand = new Stand({ perUser: 65_536 });
      const crowd = Array.from({ length: 100 }, () => stand.sender('alice', { hasFloor: true }));
      stand.run(120, crowd);
      for (const sender of crowd) {
        expect(sender.longestHoldMs).to.be.at.most(sipIntervalMs);
        expect(sender.passed).to.be.at.least(5 * sipBytes);
      }
    });

    it('makes nobody else pay for that', () => {
      const stand = new Stand({ total: mib });
      const crowd = Array.from({ length: 100 }, () => stand.sender('alice', { hasFloor: true }));
      const other = stand.sender('bob');
      stand.run(120, [...crowd, other]);
      expect(rate(other, 120)).to.be.at.least(0.5);
    });

    it('owes no more than ten seconds for it afterwards', () => {
      const stand = new Stand({ perUser: 65_536 });
      const crowd = Array.from({ length: 100 }, () => {
        const flows = stand.bandwidth.open('alice');
        return { flows, sender: new Sender(stand.clock, flows.in, { hasFloor: true }) };
      });
      stand.run(
        120,
        crowd.map(({ sender }) => sender),
      );
      for (const { flows } of crowd) flows.close();
      const next = new Sender(stand.clock, stand.bandwidth.open('alice').in);
      next.send(2);
      stand.clock.advance(11_000);
      expect(next.isHeld).to.equal(false);
    });
  });
});
