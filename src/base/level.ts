// How much may be used now of something that comes evenly: a token bucket that may go into debt, for what is counted after it happened. Holds a
// second's worth at most.

import type { Clock } from './clock.ts';

/** What is taken out of turn makes no greater debt: it may go on for hours, and nobody could pay for that afterwards. */
const maxDebtSeconds = 10;

export class Level {
  readonly #clock: Clock;
  readonly #perMs: number;
  readonly #capacity: number;
  #level: number;
  #atMs: number;

  constructor(deps: { clock: Clock }, options: { perSecond: number }) {
    this.#clock = deps.clock;
    this.#perMs = options.perSecond / 1000;
    this.#capacity = options.perSecond;
    this.#level = options.perSecond;
    this.#atMs = deps.clock.monotonic();
  }

  /** Negative: a debt. */
  get current(): number {
    const nowMs = this.#clock.monotonic();
    this.#level = Math.min(this.#level + (nowMs - this.#atMs) * this.#perMs, this.#capacity);
    this.#atMs = nowMs;
    return this.#level;
  }

  get isFull(): boolean {
    return this.current >= this.#capacity;
  }

  /** Until there is something; 0 if there is. */
  get waitMs(): number {
    const missing = 1 - this.current;
    return missing <= 0 ? 0 : missing / this.#perMs;
  }

  take(amount: number): void {
    this.#level = this.current - amount;
  }

  /** For what must pass whether there is enough or not. */
  takeOutOfTurn(amount: number): void {
    const { current } = this;
    this.#level = Math.min(current, Math.max(current - amount, -maxDebtSeconds * this.#capacity));
  }
}
