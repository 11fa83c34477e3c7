// How late the one thread of this process is: perf_hooks' own timer, read every ten seconds. Kept for a minute, so that scrapes of any interval,
// and several scrapers, see a stall. The timer is native; at this resolution it takes 0.13 % of a core, at Node's default of 10 ms 0.65 %.

import { monitorEventLoopDelay } from 'node:perf_hooks';

import type { Clock, Timer } from '../../base/clock.ts';

/** A stall of 50 ms or more is always seen, a shorter one as often as it is long: percentiles are right, single short ones are not. */
const resolutionMs = 50;
const windowMs = 10_000;
const windows = 6;
/** From this age on the window under way says something. */
const minWindowMs = 5000;
const nsPerSecond = 1e9;

/** In seconds, beyond what the timer itself takes. */
export interface EventLoopDelays {
  readonly mean: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** What perf_hooks counts; a seam for tests. Nanoseconds between two ticks of its timer. */
export interface DelayMonitor {
  readonly count: number;
  readonly mean: number;
  readonly max: number;
  percentile(percentile: number): number;
  reset(): void;
  enable(): unknown;
  disable(): unknown;
}

const none: EventLoopDelays = Object.freeze({ mean: 0, p50: 0, p99: 0, max: 0 });

export class EventLoopDelay {
  readonly #clock: Clock;
  readonly #monitor: DelayMonitor;
  #windows: EventLoopDelays[];
  #timer: Timer | undefined;
  #windowStartedMs: number;

  constructor(deps: { clock: Clock; monitor?: DelayMonitor }) {
    this.#clock = deps.clock;
    this.#monitor = deps.monitor ?? monitorEventLoopDelay({ resolution: resolutionMs });
    this.#windows = [];
    this.#timer = undefined;
    this.#windowStartedMs = 0;
  }

  start(): void {
    this.#monitor.enable();
    this.#schedule();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#monitor.disable();
  }

  /** The worst window of the last minute, the one that has begun included, for each figure by itself. */
  read(): EventLoopDelays {
    const all = [...this.#windows, this.#window()];
    const worst = (of: (window: EventLoopDelays) => number): number => Math.max(...all.map(of));
    return {
      mean: worst(({ mean }) => mean),
      p50: worst(({ p50 }) => p50),
      p99: worst(({ p99 }) => p99),
      max: worst(({ max }) => max),
    };
  }

  /**
   * Of the last five to twenty seconds: whether the process is late now. Of a window that has just begun the 99th percentile is its worst sample, and
   * one stall is no overload.
   */
  get recentP99Seconds(): number {
    const last = this.#windows.at(-1)?.p99 ?? 0;
    const isYoung = this.#clock.monotonic() - this.#windowStartedMs < minWindowMs;
    if (isYoung || this.#monitor.count === 0) return last;
    // This figure alone: it is asked for at the start of each session, and a mean takes a walk through the whole histogram.
    return Math.max(last, seconds(this.#monitor.percentile(99)));
  }

  #schedule(): void {
    this.#windowStartedMs = this.#clock.monotonic();
    this.#timer = this.#clock.after(windowMs, () => {
      this.#windows = [...this.#windows, this.#window()].slice(-windows);
      this.#monitor.reset();
      this.#schedule();
    });
  }

  #window(): EventLoopDelays {
    const monitor = this.#monitor;
    if (monitor.count === 0) return none;
    return {
      mean: seconds(monitor.mean),
      p50: seconds(monitor.percentile(50)),
      p99: seconds(monitor.percentile(99)),
      max: seconds(monitor.max),
    };
  }
}

/** The monitor counts the whole time between two ticks. */
function seconds(ns: number): number {
  return Math.max(0, ns / nsPerSecond - resolutionMs / 1000);
}
