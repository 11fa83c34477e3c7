// Virtual time: `advance` runs due timers in order of their time, each at its own moment. Nothing else makes time pass.

import type { Clock, Timer } from '../../src/base/clock.ts';

interface Pending {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class FakeClock implements Clock {
  #nowMs: number;
  #order = 0;
  readonly #pending = new Set<Pending>();

  constructor(nowMs = Date.UTC(2026, 10, 20)) {
    this.#nowMs = nowMs;
  }

  now(): number {
    return this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void): Timer {
    const timer: Pending = { atMs: this.#nowMs + delayMs, order: (this.#order += 1), run };
    this.#pending.add(timer);
    return { cancel: () => void this.#pending.delete(timer) };
  }

  /** Timers that have not fired. */
  get pendingCount(): number {
    return this.#pending.size;
  }

  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const due = [...this.#pending]
        .filter(({ atMs }) => atMs <= endMs)
        .toSorted((a, b) => a.atMs - b.atMs || a.order - b.order)[0];
      if (due === undefined) break;
      this.#pending.delete(due);
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      due.run();
    }
    this.#nowMs = endMs;
  }
}
