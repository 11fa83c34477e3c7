// What happened to one resource, newest last, bounded: a watch that starts at a version this history no longer covers is told so
// (410), as kube-apiserver's watch cache does. Versions are the Store's global counter, so gaps between events are normal.

import type { KubeObject } from './object.ts';

/** One change. `previous` is the object before it: a filtering watcher needs both to tell ADDED from MODIFIED from DELETED. */
export interface StoreEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: KubeObject;
  readonly previous: KubeObject | undefined;
  readonly revision: number;
}

export class EventHistory {
  readonly #events: StoreEvent[] = [];
  readonly #maxEvents: number;
  #floor: number;

  /** @param floor the revision up to which nothing is known. */
  constructor(options: { maxEvents: number; floor: number }) {
    this.#maxEvents = options.maxEvents;
    this.#floor = options.floor;
  }

  /** The oldest revision a watch may start after. */
  get floor(): number {
    return this.#floor;
  }

  push(event: StoreEvent): void {
    this.#events.push(event);
    // Trimmed in blocks: shifting an array of thousands for each event would cost more than keeping some too many.
    if (this.#events.length < this.#maxEvents * 2) return;
    const dropped = this.#events.splice(0, this.#events.length - this.#maxEvents);
    this.#floor = dropped.at(-1)?.revision ?? this.#floor;
  }

  /** Forgets everything up to `revision`, as etcd's compaction does. */
  compact(revision: number): void {
    const firstKept = this.#events.findIndex((event) => event.revision > revision);
    this.#events.splice(0, firstKept === -1 ? this.#events.length : firstKept);
    this.#floor = Math.max(this.#floor, revision);
  }

  /** Events after `revision`, oldest first; undefined if the history does not reach back that far. */
  after(revision: number): StoreEvent[] | undefined {
    if (revision < this.#floor) return undefined;
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#events[middle]?.revision ?? 0) > revision) high = middle;
      else low = middle + 1;
    }
    return this.#events.slice(low);
  }
}
