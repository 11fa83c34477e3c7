// What there is of a resource of kexer's own, and what lately changed: what lists and watches read. resourceVersions are microseconds of the
// wall clock, made unique and growing, so that those of several kexers, or of one before its restart, can be compared. The last events are
// kept, so that a watch goes on where a list ended; one that asks for older ones is told to list again.

import { isDeepStrictEqual } from 'node:util';

import type { Clock } from '../base/clock.ts';
import type { ResourceObject } from './resource-kind.ts';

export interface FeedEvent<T> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  /** With its resourceVersion, which is the event's. */
  readonly object: T;
  /** What was there before; undefined for ADDED. */
  readonly previous: T | undefined;
  readonly version: number;
}

/** Some minutes of a busy kexer; an object is a few hundred bytes. */
const defaultMaxEvents = 2000;
const versionsPerMs = 1000;

export class ResourceFeed<T extends ResourceObject> {
  readonly #clock: Clock;
  readonly #maxEvents: number;
  readonly #objects: Map<string, T>;
  readonly #events: FeedEvent<T>[];
  readonly #listeners: Set<(event: FeedEvent<T>) => void>;
  #version: number;
  /** All events since then are known. */
  #knownSince: number;

  constructor(deps: { clock: Clock }, options: { maxEvents?: number } = {}) {
    this.#clock = deps.clock;
    this.#maxEvents = options.maxEvents ?? defaultMaxEvents;
    this.#objects = new Map();
    this.#events = [];
    this.#listeners = new Set();
    this.#version = deps.clock.now() * versionsPerMs;
    this.#knownSince = this.#version;
  }

  /** Adds or replaces an object; an unchanged one is no event. Its resourceVersion is set here. */
  set(object: T): void {
    const key = keyOf(object.metadata.namespace, object.metadata.name);
    const previous = this.#objects.get(key);
    if (previous !== undefined && isSame(previous, object)) return;
    const version = this.#next();
    const stamped = withVersion(object, version);
    this.#objects.set(key, stamped);
    this.#tell({ type: previous === undefined ? 'ADDED' : 'MODIFIED', object: stamped, previous, version });
  }

  delete(namespace: string, name: string): void {
    const key = keyOf(namespace, name);
    const previous = this.#objects.get(key);
    if (previous === undefined) return;
    const version = this.#next();
    this.#objects.delete(key);
    // Shown as it last was, at the version at which it left, as kube-apiserver does.
    this.#tell({ type: 'DELETED', object: withVersion(previous, version), previous, version });
  }

  get(namespace: string, name: string): T | undefined {
    return this.#objects.get(keyOf(namespace, name));
  }

  /** By namespace and name; '' lists all namespaces. */
  list(namespace = ''): T[] {
    const all = [...this.#objects.values()];
    const found = namespace === '' ? all : all.filter(({ metadata }) => metadata.namespace === namespace);
    return found.sort(
      (a, b) => compare(a.metadata.namespace, b.metadata.namespace) || compare(a.metadata.name, b.metadata.name),
    );
  }

  /** Of a list that is made now: whatever happens later has a higher one. */
  get version(): number {
    this.#version = Math.max(this.#version, this.#clock.now() * versionsPerMs);
    return this.#version;
  }

  /** The events after `version`, oldest first; undefined: not all of them are known any more, or were ever. */
  since(version: number): readonly FeedEvent<T>[] | undefined {
    if (version < this.#knownSince) return undefined;
    return this.#events.filter((event) => event.version > version);
  }

  /** @returns what ends it. */
  onEvent(listener: (event: FeedEvent<T>) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #next(): number {
    this.#version = Math.max(this.#version + 1, this.#clock.now() * versionsPerMs);
    return this.#version;
  }

  #tell(event: FeedEvent<T>): void {
    this.#events.push(event);
    if (this.#events.length > this.#maxEvents) {
      const [oldest] = this.#events.splice(0, 1);
      if (oldest !== undefined) this.#knownSince = oldest.version;
    }
    for (const listener of this.#listeners) listener(event);
  }
}

function keyOf(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

function withVersion<T extends ResourceObject>(object: T, version: number): T {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
}

function isSame<T extends ResourceObject>(previous: T, object: T): boolean {
  const { resourceVersion = '' } = previous.metadata;
  return isDeepStrictEqual(previous, withVersion(object, Number(resourceVersion)));
}

/** By bytes, as etcd's keys are. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
