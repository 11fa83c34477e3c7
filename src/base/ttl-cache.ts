// A bounded cache whose entries expire. Oldest-written entries leave first when it is full: for reviews with one short TTL this is
// as good as least-recently-used and needs no bookkeeping on reads.

import type { Clock } from './clock.ts';

interface Entry<V> {
  readonly value: V;
  readonly expiresAtMs: number;
}

export class TtlCache<V> {
  readonly #entries = new Map<string, Entry<V>>();
  readonly #clock: Clock;
  readonly #maxEntries: number;

  constructor(deps: { clock: Clock }, options: { maxEntries: number }) {
    this.#clock = deps.clock;
    this.#maxEntries = options.maxEntries;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): V | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (entry.expiresAtMs > this.#clock.monotonic()) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  set(key: string, value: V, ttlMs: number): void {
    this.#entries.delete(key); // so that a rewritten key moves to the young end
    this.#entries.set(key, { value, expiresAtMs: this.#clock.monotonic() + ttlMs });
    if (this.#entries.size <= this.#maxEntries) return;
    const oldest = this.#entries.keys().next();
    if (oldest.done !== true) this.#entries.delete(oldest.value);
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }
}

/** Joins concurrent calls with one key into one; results are not kept after the call settles. */
export class SingleFlight<V> {
  readonly #flights = new Map<string, Promise<V>>();

  /** Calls in flight now. */
  get size(): number {
    return this.#flights.size;
  }

  /** Whether {@link run} would join a call in flight. */
  has(key: string): boolean {
    return this.#flights.has(key);
  }

  run(key: string, work: () => Promise<V>): Promise<V> {
    const running = this.#flights.get(key);
    if (running !== undefined) return running;
    const flight = work().finally(() => this.#flights.delete(key));
    this.#flights.set(key, flight);
    return flight;
  }
}
