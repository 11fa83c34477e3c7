// One watch of one client: initial objects, changes as they come, bookmarks, the end. Changes are taken from the Store synchronously
// and written as the client reads; a client that falls too far behind is cut off, as kube-apiserver's cacher does, and lists again.

import type { Clock, Timer } from '../../../base/clock.ts';
import type { ObjectPredicate } from '../../../kube/list-options.ts';
import { goJson, type Status, statusOf, StatusError } from '../../../kube/status.ts';
import type { ResponseStream } from '../exchange.ts';
import type { KubeObject } from '../objects/object.ts';
import type { ResourceDefinition } from '../resources/catalog.ts';
import type { Store, StoreEvent } from '../store.ts';

const bookmarkPeriodMs = 60_000;
/** Changes that may wait for a slow client, beside the objects it began with. */
const maxQueuedEvents = 10_000;
/** Without timeoutSeconds a watch ends after 30 to 60 minutes, so that clients spread over servers. */
const minTimeoutSeconds = 1800;

export interface WatchOptions {
  readonly namespace: string;
  readonly matches: ObjectPredicate<KubeObject> | undefined;
  /** '' and '0' start with what is there. */
  readonly resourceVersion: string;
  readonly allowsBookmarks: boolean;
  readonly sendsInitialEvents: boolean | undefined;
  readonly timeoutSeconds: number | undefined;
}

/** How events become text: plain objects, tables or metadata only. */
export interface EventEncoder {
  event(type: string, object: KubeObject): string;
  bookmark(object: KubeObject): string;
}

/** Encodes whole objects; remembers the last one, since one change goes to every watch of the resource. */
export class PlainEncoder implements EventEncoder {
  #lastObject: KubeObject | undefined;
  #lastText = '';

  event(type: string, object: KubeObject): string {
    if (object !== this.#lastObject) {
      this.#lastObject = object;
      this.#lastText = goJson(object);
    }
    return `{"type":"${type}","object":${this.#lastText}}\n`;
  }

  bookmark(object: KubeObject): string {
    return `${goJson({ type: 'BOOKMARK', object })}\n`;
  }
}

function errorEvent(status: Status): string {
  return `${goJson({ type: 'ERROR', object: status })}\n`;
}

/** What the zero value of a type shows beside metadata. */
const emptyParts: Readonly<Record<string, object>> = {
  Pod: { spec: { containers: null }, status: {} },
  Node: { spec: {}, status: { daemonEndpoints: { kubeletEndpoint: { Port: 0 } } } },
  Namespace: { spec: {}, status: {} },
  Service: { spec: {}, status: { loadBalancer: {} } },
};

export class WatchStream {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #definition: ResourceDefinition;
  readonly #options: WatchOptions;
  readonly #encoder: EventEncoder;
  readonly #stream: ResponseStream;
  /** What waits, encoded only when its turn comes: the objects are shared with the store, their texts would not be. */
  readonly #queue: (() => string)[] = [];
  #maxQueued = maxQueuedEvents;
  #isBlocked = false;
  #isEnded = false;
  #stop: () => void = () => {};
  #timers: Timer[] = [];
  #finish: () => void = () => {};

  constructor(
    deps: { store: Store; clock: Clock; stream: ResponseStream; encoder: EventEncoder },
    options: { definition: ResourceDefinition; watch: WatchOptions },
  ) {
    this.#store = deps.store;
    this.#clock = deps.clock;
    this.#stream = deps.stream;
    this.#encoder = deps.encoder;
    this.#definition = options.definition;
    this.#options = options.watch;
  }

  /** Settles when the watch is over: its time is up, the client is gone, or it was too slow. */
  run(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#finish = resolve;
      if (signal.aborted) {
        this.#end();
        return;
      }
      const onAbort = (): void => this.#end();
      signal.addEventListener('abort', onAbort, { once: true });
      this.#finish = () => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      this.#start();
    });
  }

  #start(): void {
    const { resourceVersion, allowsBookmarks, sendsInitialEvents, timeoutSeconds } = this.#options;
    const startsWithAll = sendsInitialEvents ?? (resourceVersion === '' || resourceVersion === '0');
    const from = startsWithAll ? this.#store.resourceVersion : resourceVersion;
    if (startsWithAll) {
      const initial = this.#store.list(this.#definition, this.#options.namespace).filter((it) => this.#matches(it));
      this.#maxQueued += initial.length;
      for (const object of initial) this.#write(() => this.#encoder.event('ADDED', object));
      if (allowsBookmarks) this.#bookmark({ 'k8s.io/initial-events-end': 'true' });
    }
    try {
      // "From now" for a list's client that asked for no initial events and named no version.
      const start = from === '' || from === '0' ? this.#store.resourceVersion : from;
      this.#stop = this.#store.watch(this.#definition, start, (event) => this.#onEvent(event));
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      this.#write(() => errorEvent(statusOf(error)));
      this.#end();
      return;
    }
    if (this.#isEnded) {
      this.#stop();
      return;
    }
    if (allowsBookmarks) this.#scheduleBookmark();
    const seconds = timeoutSeconds ?? minTimeoutSeconds * (1 + Math.random());
    this.#timers.push(this.#clock.after(Math.max(seconds, 0) * 1000, () => this.#end()));
  }

  #matches(object: KubeObject): boolean {
    const { namespace, matches } = this.#options;
    if (namespace !== '' && object.metadata.namespace !== namespace) return false;
    return matches === undefined || matches(object);
  }

  /** An object that begins or ceases to match appears as added or deleted, whatever really happened to it. */
  #onEvent({ type, object, previous }: StoreEvent): void {
    const was = previous !== undefined && this.#matches(previous);
    const is = type !== 'DELETED' && this.#matches(object);
    if (is) this.#write(() => this.#encoder.event(was ? 'MODIFIED' : 'ADDED', object));
    else if (was && type === 'DELETED') this.#write(() => this.#encoder.event('DELETED', object));
    else if (was) {
      // It is shown as it last matched, at the version at which it left.
      const { resourceVersion } = object.metadata;
      const metadata = { ...previous.metadata, ...(resourceVersion === undefined ? {} : { resourceVersion }) };
      this.#write(() => this.#encoder.event('DELETED', { ...previous, metadata }));
    }
  }

  #bookmark(annotations?: Record<string, string>): void {
    const { kind, group, version } = this.#definition;
    const metadata = {
      resourceVersion: this.#store.resourceVersion,
      ...(annotations === undefined ? {} : { annotations }),
    };
    const object = {
      kind,
      apiVersion: group === '' ? version : `${group}/${version}`,
      metadata: metadata as KubeObject['metadata'],
      ...(group === '' ? emptyParts[kind] : {}),
    };
    this.#write(() => this.#encoder.bookmark(object));
  }

  #scheduleBookmark(): void {
    if (this.#isEnded) return;
    const timer = this.#clock.after(bookmarkPeriodMs, () => {
      this.#timers = this.#timers.filter((it) => it !== timer);
      this.#bookmark();
      this.#scheduleBookmark();
    });
    this.#timers.push(timer);
  }

  #write(encode: () => string): void {
    if (this.#isEnded) return;
    if (this.#isBlocked) {
      this.#queue.push(encode);
      if (this.#queue.length > this.#maxQueued) this.#end();
      return;
    }
    if (this.#stream.write(encode())) return;
    this.#isBlocked = true;
    void this.#flush();
  }

  /** Never rejects: `drained` settles also when the client is gone. */
  async #flush(): Promise<void> {
    while (!this.#isEnded) {
      await this.#stream.drained();
      let isWritable = true;
      while (isWritable && !this.#isEnded) {
        const next = this.#queue.shift();
        if (next === undefined) {
          this.#isBlocked = false;
          return;
        }
        isWritable = this.#stream.write(next());
      }
    }
  }

  #end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#stop();
    for (const timer of this.#timers) timer.cancel();
    this.#stream.end();
    this.#finish();
  }
}
