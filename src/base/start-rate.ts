// How often something may begin: token buckets, one for each key and one for all. A bucket holds a minute's worth, so that who was quiet may
// begin as much at once; it fills evenly. Full buckets are forgotten: a key that is not used costs nothing.

import type { Clock } from './clock.ts';
import type { FullLimit } from './slots.ts';

export interface StartRateOptions {
  /** Of one key; 0: no limit. */
  readonly perKeyPerMinute: number;
  /** Of all keys together; 0: no limit. */
  readonly totalPerMinute: number;
}

const minuteMs = 60_000;
/** Full buckets are looked for when there are so many more than after the last look. */
const sweepStep = 1000;

export class StartRate {
  readonly #clock: Clock;
  readonly #options: StartRateOptions;
  readonly #total: Bucket | undefined;
  readonly #buckets: Map<string, Bucket>;
  #sweepAt: number;

  constructor(deps: { clock: Clock }, options: StartRateOptions) {
    this.#clock = deps.clock;
    this.#options = options;
    this.#total = options.totalPerMinute === 0 ? undefined : new Bucket(options.totalPerMinute);
    this.#buckets = new Map();
    this.#sweepAt = sweepStep;
  }

  /** Keys that began something lately. */
  get size(): number {
    return this.#buckets.size;
  }

  /** The limit that stands against a start of this key, and when it will not; undefined: none does. */
  fullFor(key: string): { readonly limit: FullLimit; readonly waitMs: number } | undefined {
    const nowMs = this.#clock.monotonic();
    const keyWaitMs = this.#buckets.get(key)?.waitMs(nowMs) ?? 0;
    if (keyWaitMs > 0) return { limit: 'key', waitMs: keyWaitMs };
    const waitMs = this.#total?.waitMs(nowMs) ?? 0;
    return waitMs > 0 ? { limit: 'total', waitMs } : undefined;
  }

  /** Counts a start, whether there was room or not. */
  take(key: string): void {
    const nowMs = this.#clock.monotonic();
    this.#total?.add(-1, nowMs);
    this.#bucketOf(key)?.add(-1, nowMs);
  }

  /** A start counted for one key was another's. */
  move(from: string, to: string): void {
    const nowMs = this.#clock.monotonic();
    this.#buckets.get(from)?.add(1, nowMs);
    this.#bucketOf(to)?.add(-1, nowMs);
  }

  #bucketOf(key: string): Bucket | undefined {
    if (this.#options.perKeyPerMinute === 0) return undefined;
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= this.#sweepAt) this.#sweep();
      bucket = new Bucket(this.#options.perKeyPerMinute);
      this.#buckets.set(key, bucket);
    }
    return bucket;
  }

  #sweep(): void {
    const nowMs = this.#clock.monotonic();
    for (const [key, bucket] of this.#buckets) if (bucket.isFull(nowMs)) this.#buckets.delete(key);
    this.#sweepAt = this.#buckets.size + sweepStep;
  }
}

class Bucket {
  readonly #perMinute: number;
  #tokens: number;
  #atMs: number | undefined;

  constructor(perMinute: number) {
    this.#perMinute = perMinute;
    this.#tokens = perMinute;
    this.#atMs = undefined;
  }

  add(tokens: number, nowMs: number): void {
    this.#tokens = Math.min(this.#at(nowMs) + tokens, this.#perMinute);
    this.#atMs = nowMs;
  }

  /** Until there is a whole token; 0 if there is one. */
  waitMs(nowMs: number): number {
    const missing = 1 - this.#at(nowMs);
    return missing <= 0 ? 0 : (missing / this.#perMinute) * minuteMs;
  }

  isFull(nowMs: number): boolean {
    return this.#at(nowMs) >= this.#perMinute;
  }

  #at(nowMs: number): number {
    const passedMs = this.#atMs === undefined ? 0 : nowMs - this.#atMs;
    return Math.min(this.#tokens + (passedMs / minuteMs) * this.#perMinute, this.#perMinute);
  }
}
