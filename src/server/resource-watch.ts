// One watch of one client over a feed: what is there or what happened since a version, changes as they come, bookmarks, the end. Events are
// written as they happen; a client that takes them too slowly is cut off, and lists again.

import type { Clock, Timer } from '../base/clock.ts';
import type { ListOptions } from '../kube/list-options.ts';
import { expired, goJson } from '../kube/status.ts';
import { abortResponse, type AnyResponse, flushHead, setHead } from '../net/http-answer.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

import type { FeedEvent, ResourceFeed } from './resource-feed.ts';
import type { ObjectWriter } from './resource-forms.ts';
import { type ResourceKind, type ResourceObject, shownIn } from './resource-kind.ts';

const bookmarkPeriodMs = 60_000;
/** Without timeoutSeconds a watch ends after 30 to 60 minutes, as kube-apiserver's do. */
const defaultTimeoutMs = 1800 * 1000;
/** Node's timers hold no more. */
const maxTimeoutMs = 2 ** 31 - 1;
/** What may wait for a slow client, in bytes. */
const maxWaitingBytes = 4 * 1024 * 1024;

export interface WatchedKind<T extends ResourceObject> {
  readonly kind: ResourceKind<T>;
  readonly namespace: string;
  readonly options: ListOptions<T>;
  readonly writer: ObjectWriter<T>;
}

export class ResourceWatch<T extends ResourceObject> {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #feed: ResourceFeed<T>;
  readonly #watched: WatchedKind<T>;
  readonly #response: AnyResponse;
  readonly #timers: Set<Timer>;
  #isEnded: boolean;
  #finish: () => void;

  constructor(
    deps: { clock: Clock; feed: ResourceFeed<T>; response: AnyResponse; random?: () => number },
    watched: WatchedKind<T>,
  ) {
    this.#clock = deps.clock;
    this.#random = deps.random ?? Math.random;
    this.#feed = deps.feed;
    this.#watched = watched;
    this.#response = deps.response;
    this.#timers = new Set();
    this.#isEnded = false;
    this.#finish = () => {};
  }

  /** Writes the head and all events; resolves when the watch is over: its time is up, the client has left, or it was too slow. */
  run(headers: RawHeaders): Promise<void> {
    const response = this.#response;
    return new Promise((resolve) => {
      response.on('error', () => {}); // 'close' follows
      if (response.destroyed) {
        resolve();
        return;
      }
      let stop = (): void => {};
      this.#finish = () => {
        stop();
        for (const timer of this.#timers) timer.cancel();
        resolve();
      };
      response.once('close', () => this.#end());
      setHead(response, 200, headers);
      flushHead(response);
      const seen = this.#begin();
      if (this.#isEnded) return;
      stop = this.#feed.onEvent((event) => {
        if (event.version > seen) this.#tell(event);
      });
      const { allowsBookmarks, timeoutSeconds } = this.#watched.options;
      if (allowsBookmarks) this.#bookmarkLater();
      const timeoutMs =
        timeoutSeconds === undefined ? defaultTimeoutMs * (1 + this.#random()) : Math.max(0, timeoutSeconds) * 1000;
      this.#timers.add(
        this.#clock.after(Math.min(timeoutMs, maxTimeoutMs), () => {
          this.#response.end();
          this.#end();
        }),
      );
    });
  }

  /** What the client has to know first. @returns the version it is at then. */
  #begin(): number {
    const { resourceVersion } = this.#watched.options;
    const seen = this.#feed.version;
    if (resourceVersion === '' || resourceVersion === '0') {
      for (const object of this.#feed.list()) this.#write('ADDED', this.#shown(object));
      return seen;
    }
    const missed = this.#feed.since(Number(resourceVersion));
    if (missed === undefined) {
      this.#writeLine({ type: 'ERROR', object: expired(`too old resource version: ${resourceVersion} (${seen})`) });
      this.#response.end();
      this.#end();
      return seen;
    }
    for (const event of missed) this.#tell(event);
    return seen;
  }

  /** An object that begins or ceases to match appears as added or deleted, whatever really happened to it. */
  #tell({ type, object, previous }: FeedEvent<T>): void {
    const before = previous === undefined ? undefined : this.#shown(previous);
    const now = type === 'DELETED' ? undefined : this.#shown(object);
    if (now !== undefined) this.#write(before === undefined ? 'ADDED' : 'MODIFIED', now);
    else if (before !== undefined) {
      const { resourceVersion } = object.metadata;
      const metadata = { ...before.metadata, ...(resourceVersion === undefined ? {} : { resourceVersion }) };
      this.#write('DELETED', { ...before, metadata });
    }
  }

  #shown(object: T): T | undefined {
    const { kind, namespace, options } = this.#watched;
    const shown = shownIn(kind, object, namespace);
    return shown !== undefined && (options.matches?.(shown) ?? true) ? shown : undefined;
  }

  #write(type: string, object: T | undefined): void {
    if (object !== undefined) this.#writeLine({ type, object: this.#watched.writer.event(object) });
  }

  #writeLine(event: object): void {
    if (this.#isEnded) return;
    const response = this.#response;
    const line = `${goJson(event)}\n`;
    // The two kinds of response declare `write` differently.
    if ('stream' in response) response.write(line);
    else response.write(line);
    if (response.writableLength <= maxWaitingBytes) return;
    abortResponse(response);
    this.#end();
  }

  #bookmarkLater(): void {
    const timer = this.#clock.after(bookmarkPeriodMs, () => {
      this.#timers.delete(timer);
      this.#writeLine({ type: 'BOOKMARK', object: this.#watched.writer.bookmark(String(this.#feed.version)) });
      if (!this.#isEnded) this.#bookmarkLater();
    });
    this.#timers.add(timer);
  }

  #end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#finish();
  }
}
