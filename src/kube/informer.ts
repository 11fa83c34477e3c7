// A local copy of one object or one collection, kept by list and watch as client-go's reflector does: resume by resourceVersion, relist
// after 410, back off with jitter while the apiserver is away. What was seen stays readable during an outage: `hasSynced` says that a
// list succeeded once, `isCurrent` that the copy has not been failing to follow since.

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import type { KubeClient } from './client.ts';
import { isKubeObject, type KubeObject, keyOf, readList } from './objects.ts';
import { StatusError } from './status.ts';
import { runWatch } from './watch.ts';

export type { KubeObject } from './objects.ts';

export interface InformerChange<T> {
  readonly type: 'set' | 'delete';
  readonly key: string;
  readonly object: T;
}

export interface InformerOptions<T> {
  /** The collection's path: `/api/v1/nodes`, `/api/v1/namespaces/kube-system/configmaps`. */
  readonly path: string;
  /** One object of the collection only. */
  readonly name?: string;
  /** Only such objects; of an apiserver that does not know the selector others may come as well. */
  readonly fieldSelector?: string;
  /** What is kept of each object; throw, and the object counts as absent (fail closed) and the error is reported. */
  readonly project: (object: KubeObject) => T;
  /** Called with each failure of list, watch, `project` or a listener; for logs. */
  readonly onError?: (error: unknown) => void;
}

interface Entry<T> {
  readonly resourceVersion: string;
  readonly object: T;
}

const pageSize = 500;
/** client-go's reflector: 800 ms, doubled up to 30 s, each up to twice as long by chance. */
const firstDelayMs = 800;
const maxDelayMs = 30_000;
/** How often an API that is not served is looked for again. */
const notServedRecheckMs = 60_000;
/** A watch that ends sooner without an event counts as a failure, so that no tight loop hits the apiserver. */
const shortWatchMs = 1000;
/** The apiserver ends a watch after this long, plus up to as much again, so that restarts spread. */
const watchTimeoutSeconds = 300;
/** A copy that could not be followed for so long is no longer current; a restart of the apiserver or of its front takes less. */
const staleAfterMs = 30_000;

export class Informer<T> {
  readonly #client: Pick<KubeClient, 'json' | 'stream' | 'userAgent'>;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #options: InformerOptions<T>;
  readonly #entries: Map<string, Entry<T>>;
  readonly #listeners: Set<(change: InformerChange<T>) => void>;
  readonly #waiters: Set<() => void>;
  readonly #trialWaiters: Set<() => void>;
  readonly #stopping: AbortController;
  #running: Promise<void> | undefined;
  #hasSynced: boolean;
  #hasTried: boolean;
  #isNotServed: boolean;
  /** Since when every list and watch has failed; undefined: the last one did not. */
  #failingSinceMs: number | undefined;
  #delayMs: number;

  constructor(
    deps: { client: Pick<KubeClient, 'json' | 'stream' | 'userAgent'>; clock: Clock; random?: () => number },
    options: InformerOptions<T>,
  ) {
    this.#client = deps.client;
    this.#clock = deps.clock;
    this.#random = deps.random ?? Math.random;
    this.#options = options;
    this.#entries = new Map();
    this.#listeners = new Set();
    this.#waiters = new Set();
    this.#trialWaiters = new Set();
    this.#stopping = new AbortController();
    this.#running = undefined;
    this.#hasSynced = false;
    this.#hasTried = false;
    this.#isNotServed = false;
    this.#failingSinceMs = undefined;
    this.#delayMs = firstDelayMs;
  }

  /** Starts listing and watching; returns at once. */
  start(): void {
    this.#running ??= this.#run().catch((error: unknown) => this.#report(error));
  }

  /** Resolves when nothing runs any more. */
  async stop(): Promise<void> {
    this.#stopping.abort(new KexerError('draining', 'Cannot go on watching: the informer was stopped'));
    await this.#running;
  }

  /** A list succeeded (or the API is not served) at least once. */
  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  /** Synced, and not failing for longer than a moment since: what is not in the copy is not in the cluster. */
  get isCurrent(): boolean {
    if (!this.#hasSynced) return false;
    return this.#failingSinceMs === undefined || this.#clock.monotonic() - this.#failingSinceMs < staleAfterMs;
  }

  /** The first list has succeeded or failed. */
  get hasTried(): boolean {
    return this.#hasTried;
  }

  /** The last list was answered 404: there is no such API, and no objects. Looked for again every minute. */
  get isNotServed(): boolean {
    return this.#isNotServed;
  }

  /** Resolves when `hasSynced`; rejects when `signal` aborts. */
  whenSynced(signal?: AbortSignal): Promise<void> {
    return this.#hasSynced ? Promise.resolve() : this.#wait(this.#waiters, signal);
  }

  /** Resolves when `hasTried`; rejects when `signal` aborts. */
  whenTried(signal?: AbortSignal): Promise<void> {
    return this.#hasTried ? Promise.resolve() : this.#wait(this.#trialWaiters, signal);
  }

  #wait(waiters: Set<() => void>, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        waiters.delete(done);
        reject(new KexerError('timeout', `Cannot wait longer for the first list of ${this.#options.path}`));
      };
      const done = (): void => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      if (signal?.aborted === true) {
        onAbort();
        return;
      }
      waiters.add(done);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** By `name`, or `namespace/name` for namespaced objects. */
  get(key: string): T | undefined {
    return this.#entries.get(key)?.object;
  }

  list(): T[] {
    return Array.from(this.#entries.values(), ({ object }) => object);
  }

  /** Called for each change, after the copy has it; returns a function that ends it. */
  onChange(listener: (change: InformerChange<T>) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    let resourceVersion: string | undefined;
    while (!signal.aborted) {
      try {
        resourceVersion ??= await this.#list(signal);
        resourceVersion = await this.#watch(resourceVersion, signal);
      } catch (error) {
        if (signal.aborted) return;
        if (isNotFound(error)) {
          resourceVersion = undefined;
          this.#replace([]);
          this.#isNotServed = true;
          this.#synced();
          await this.#sleep(notServedRecheckMs, signal);
          continue;
        }
        // A version that is too old is no failure: list again, but not in a tight loop.
        if (isExpired(error)) resourceVersion = undefined;
        else this.#failed(error);
        await this.#backOff(signal);
      }
    }
  }

  async #list(signal: AbortSignal): Promise<string> {
    const objects: KubeObject[] = [];
    let next = '';
    for (;;) {
      const query = next === '' ? '' : `&continue=${encodeURIComponent(next)}`;
      const target = `${this.#options.path}?limit=${pageSize}${this.#fieldSelector()}${query}`;
      const page = readList(await this.#client.json({ target, signal }));
      objects.push(...page.items);
      next = page.next;
      if (next !== '') continue;
      this.#isNotServed = false;
      this.#replace(objects);
      this.#synced();
      this.#delayMs = firstDelayMs;
      return page.resourceVersion;
    }
  }

  /** Watches until the apiserver ends it; the version from which the next watch goes on. */
  async #watch(from: string, signal: AbortSignal): Promise<string> {
    let resourceVersion = from;
    let isFruitful = false;
    const startedMs = this.#clock.monotonic();
    const timeoutSeconds = Math.round(watchTimeoutSeconds * (1 + this.#random()));
    const target =
      `${this.#options.path}?watch=true&allowWatchBookmarks=true&resourceVersion=${encodeURIComponent(from)}` +
      `&timeoutSeconds=${timeoutSeconds}${this.#fieldSelector()}`;
    let openedMs: number | undefined;
    const onOpen = (): void => {
      openedMs = this.#clock.monotonic();
      this.#failingSinceMs = undefined;
    };
    // Without this the pauses of objects that seldom change would grow with every restart of the apiserver, for as long as kexer lives.
    const restart = (): void => {
      if (openedMs === undefined) return;
      const openMs = this.#clock.monotonic() - openedMs;
      if (openMs >= Math.max(shortWatchMs, this.#delayMs)) this.#delayMs = firstDelayMs;
    };
    try {
      await runWatch(
        { client: this.#client, clock: this.#clock },
        { target, timeoutSeconds, signal, onOpen },
        (event) => {
          isFruitful = true;
          this.#delayMs = firstDelayMs;
          resourceVersion = event.resourceVersion;
          if (event.type === 'bookmark') return;
          if (event.type === 'delete') this.#remove(keyOf(event.object));
          else this.#set(event.object);
        },
      );
    } catch (error) {
      restart();
      if (signal.aborted || isExpired(error) || !isFruitful) throw error;
      // It broke after it had worked: go on from what was seen, after a pause.
      this.#failed(error);
      await this.#backOff(signal);
      return resourceVersion;
    }
    restart();
    if (!isFruitful && this.#clock.monotonic() - startedMs < shortWatchMs) await this.#backOff(signal);
    return resourceVersion;
  }

  #fieldSelector(): string {
    const { name, fieldSelector } = this.#options;
    const terms = [
      ...(name === undefined ? [] : [`metadata.name=${name}`]),
      ...(fieldSelector === undefined ? [] : [fieldSelector]),
    ];
    return terms.length === 0 ? '' : `&fieldSelector=${encodeURIComponent(terms.join(','))}`;
  }

  #replace(objects: readonly KubeObject[]): void {
    const gone = new Set(this.#entries.keys());
    for (const object of objects) {
      if (!isKubeObject(object)) continue;
      gone.delete(keyOf(object));
      this.#set(object);
    }
    for (const key of gone) this.#remove(key);
  }

  #set(object: KubeObject): void {
    const { name } = this.#options;
    // A field selector that an apiserver does not honour must not mix objects.
    if (name !== undefined && object.metadata.name !== name) return;
    const key = keyOf(object);
    const resourceVersion = object.metadata.resourceVersion ?? '';
    if (resourceVersion !== '' && this.#entries.get(key)?.resourceVersion === resourceVersion) return;
    let kept: T;
    try {
      kept = this.#options.project(object);
    } catch (error) {
      this.#report(error);
      this.#remove(key);
      return;
    }
    this.#entries.set(key, { resourceVersion, object: kept });
    this.#tell({ type: 'set', key, object: kept });
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#tell({ type: 'delete', key, object: entry.object });
  }

  #tell(change: InformerChange<T>): void {
    for (const listener of this.#listeners) {
      try {
        listener(change);
      } catch (error) {
        this.#report(error);
      }
    }
  }

  #synced(): void {
    this.#hasSynced = true;
    this.#failingSinceMs = undefined;
    for (const done of this.#waiters) done();
    this.#waiters.clear();
    this.#tried();
  }

  #failed(error: unknown): void {
    this.#failingSinceMs ??= this.#clock.monotonic();
    this.#report(error);
    this.#tried();
  }

  #tried(): void {
    this.#hasTried = true;
    for (const done of this.#trialWaiters) done();
    this.#trialWaiters.clear();
  }

  #report(error: unknown): void {
    this.#options.onError?.(error);
  }

  async #backOff(signal: AbortSignal): Promise<void> {
    const delayMs = this.#delayMs * (1 + this.#random());
    this.#delayMs = Math.min(this.#delayMs * 2, maxDelayMs);
    await this.#sleep(delayMs, signal);
  }

  #sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', wake);
        resolve();
      };
      const timer = this.#clock.after(ms, wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}

function isExpired(error: unknown): boolean {
  return error instanceof StatusError && (error.status.code === 410 || error.status.reason === 'Expired');
}

function isNotFound(error: unknown): boolean {
  return error instanceof StatusError && error.status.code === 404;
}
