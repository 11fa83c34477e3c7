// How much of something is in use at once, by whom, and in total: sessions of a user, requests of an address. Counts and compares; what a full
// count means (a refusal, a wait) is its owner's. Looking and taking are synchronous, so that nothing comes between them.

export interface SlotLimits {
  /** Of one key; 0: no limit. */
  readonly perKey: number;
  /** Of all keys together; 0: no limit. */
  readonly total: number;
}

/** Which of the two limits is reached. */
export type FullLimit = 'key' | 'total';

export class Slots {
  readonly #limits: SlotLimits;
  /** Only keys that hold a slot. */
  readonly #counts: Map<string, number>;
  #total: number;

  constructor(limits: SlotLimits) {
    this.#limits = limits;
    this.#counts = new Map();
    this.#total = 0;
  }

  get total(): number {
    return this.#total;
  }

  count(key: string): number {
    return this.#counts.get(key) ?? 0;
  }

  /** The limit that one more slot of this key would pass; undefined: there is room. */
  fullFor(key: string): FullLimit | undefined {
    const { perKey, total } = this.#limits;
    if (perKey > 0 && this.count(key) >= perKey) return 'key';
    return total > 0 && this.#total >= total ? 'total' : undefined;
  }

  /** Takes a slot whether there is room or not. */
  take(key: string): Slot {
    this.#total += 1;
    this.#add(key, 1);
    return new Slot(key, {
      move: (from, to) => {
        this.#add(from, -1);
        this.#add(to, 1);
      },
      release: (last) => {
        this.#total -= 1;
        this.#add(last, -1);
      },
    });
  }

  #add(key: string, difference: number): void {
    const count = this.count(key) + difference;
    if (count === 0) this.#counts.delete(key);
    else this.#counts.set(key, count);
  }
}

interface SlotOwner {
  move(from: string, to: string): void;
  release(key: string): void;
}

/** One of what is counted. */
export class Slot {
  readonly #owner: SlotOwner;
  #key: string;
  #isReleased: boolean;

  constructor(key: string, owner: SlotOwner) {
    this.#owner = owner;
    this.#key = key;
    this.#isReleased = false;
  }

  /** Whom it counts for. */
  get key(): string {
    return this.#key;
  }

  /** From now on it counts for another key; whether that one has room is the caller's to ask before. Does nothing once released. */
  moveTo(key: string): void {
    if (this.#isReleased || key === this.#key) return;
    this.#owner.move(this.#key, key);
    this.#key = key;
  }

  /** Idempotent. */
  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#owner.release(this.#key);
  }
}
