import { expect } from 'chai';

import { type DelayMonitor, EventLoopDelay } from '../../../src/observe/metrics/event-loop-delay.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** perf_hooks' histogram as the test says; its figures include the 50 ms between two ticks. */
class FakeMonitor implements DelayMonitor {
  count = 0;
  lateMs = 0;
  isEnabled = false;

  get mean(): number {
    return (50 + this.lateMs / 2) * 1e6;
  }

  get max(): number {
    return (50 + this.lateMs) * 1e6;
  }

  percentile(percentile: number): number {
    return (50 + (this.lateMs * percentile) / 100) * 1e6;
  }

  reset(): void {
    this.count = 0;
    this.lateMs = 0;
  }

  enable(): void {
    this.isEnabled = true;
  }

  disable(): void {
    this.isEnabled = false;
  }

  late(ms: number): void {
    this.count += 1;
    this.lateMs = Math.max(this.lateMs, ms);
  }
}

describe('EventLoopDelay', () => {
  function stand(): { clock: FakeClock; monitor: FakeMonitor; delay: EventLoopDelay } {
    const clock = new FakeClock();
    const monitor = new FakeMonitor();
    const delay = new EventLoopDelay({ clock, monitor });
    delay.start();
    return { clock, monitor, delay };
  }

  const rounded = (delay: EventLoopDelay): Record<string, number> =>
    Object.fromEntries(Object.entries(delay.read()).map(([name, seconds]) => [name, Number(seconds.toFixed(6))]));

  it('tells how late it was, beyond the resolution', () => {
    const { monitor, delay } = stand();
    expect(rounded(delay)).to.deep.equal({ mean: 0, p50: 0, p99: 0, max: 0 });
    monitor.late(100);
    expect(rounded(delay)).to.deep.equal({ mean: 0.05, p50: 0.05, p99: 0.099, max: 0.1 });
  });

  it('remembers a stall for a minute, whoever scrapes', () => {
    const { clock, monitor, delay } = stand();
    monitor.late(100);
    clock.advance(10_000);
    const seen: number[] = [];
    for (let seconds = 10; seconds <= 80; seconds += 10) {
      seen.push(rounded(delay)['max'] ?? -1);
      expect(rounded(delay)['max']).to.equal(seen.at(-1)); // a second scraper
      clock.advance(10_000);
    }
    expect(seen).to.deep.equal([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0, 0]);
  });

  it('forgets what is no longer so within twenty seconds where it decides, and takes no single stall for an overload', () => {
    const { clock, monitor, delay } = stand();
    const recent = (): number => Number(delay.recentP99Seconds.toFixed(6));
    monitor.late(100);
    expect(recent()).to.equal(0);
    clock.advance(5000);
    expect(recent()).to.equal(0.099);
    clock.advance(5000);
    expect(recent()).to.equal(0.099);
    clock.advance(10_000);
    expect(recent()).to.equal(0);
  });

  it('stops', () => {
    const { clock, monitor, delay } = stand();
    delay.stop();
    expect([monitor.isEnabled, clock.pendingCount]).to.deep.equal([false, 0]);
  });
});
