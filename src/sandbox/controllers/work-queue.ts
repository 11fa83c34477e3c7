// The loop of a controller: keys that something has changed for, each once, worked on one after the other. What fails is tried again
// a second later; nothing is worked on after stop().

import type { Clock, Timer } from '../../base/clock.ts';

const retryMs = 1000;

export class WorkQueue {
  readonly #clock: Clock;
  readonly #work: (key: string) => Promise<void> | void;
  readonly #keys = new Set<string>();
  readonly #retries = new Set<Timer>();
  #running: Promise<void> | undefined;
  #isStopped = false;

  constructor(deps: { clock: Clock }, work: (key: string) => Promise<void> | void) {
    this.#clock = deps.clock;
    this.#work = work;
  }

  add(key: string): void {
    if (this.#isStopped) return;
    this.#keys.add(key);
    this.#running ??= this.#run();
  }

  addAfter(delayMs: number, key: string): void {
    if (this.#isStopped) return;
    const timer = this.#clock.after(delayMs, () => {
      this.#retries.delete(timer);
      this.add(key);
    });
    this.#retries.add(timer);
  }

  /** Settles when the key in hand is done. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#keys.clear();
    for (const timer of this.#retries) timer.cancel();
    await this.#running;
  }

  async #run(): Promise<void> {
    // A turn later, so that one write's several events make one round.
    await Promise.resolve();
    for (const key of this.#keys) {
      this.#keys.delete(key);
      try {
        await this.#work(key);
      } catch {
        // Somebody else changed what was looked at, or it is half made: the next look finds out.
        this.addAfter(retryMs, key);
      }
    }
    this.#running = undefined;
  }
}

/** Joins and splits the keys of namespaced objects. */
export function joinKey(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

export function splitKey(key: string): { namespace: string; name: string } {
  const slash = key.indexOf('/');
  return { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}
