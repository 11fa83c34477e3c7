// Ends sessions whose pod is gone. A kubelet that is cut off keeps a session of a deleted pod open for as long as it likes, and a
// forwarded port just stops answering. So each pod with sessions has one watch, of that object alone, with kexer's own rights.
//
// What counts is the UID. A pod is gone when the watch says that the object with this UID was deleted, or when a read says that there
// is none of that name or one with another UID; a pod that is terminating is still there. A watch may be served from a cache that lags, so
// it is proof only of a deletion: anything else in it is cause for a read, as is every (re)start. Whatever fails here ends no session: an
// apiserver that is away says nothing about pods.

import type { Clock, Timer } from '../base/clock.ts';
import type { Cluster } from '../clusters/cluster.ts';
import { StatusError } from '../kube/status.ts';
import type { Session } from './session.ts';

/** Most sessions are shorter than this and cost the apiserver nothing; with the rest of the way it stays below the 2 s that are promised. */
const startDelayMs = 1000;
/** A kubelet that is well ends the session itself when it has killed the pod; its word is better than ours. */
const kubeletGraceMs = 500;
/** First pause after a failure; doubled up to the last, each up to twice as long by chance, so that not all watches return at once. */
const firstPauseMs = 500;
const maxPauseMs = 30_000;
/** A watch that ends sooner counts as a failure: no tight loop may hit the apiserver. */
const shortWatchMs = 1000;
/** The apiserver ends a watch after this long, plus up to as much again. */
const watchTimeoutSeconds = 300;
/** Without the right to watch, how long it is not tried again. */
const offMs = 300_000;

/** What is needed of a cluster. */
export type PodSource = Pick<Cluster, 'pod' | 'watchPod'>;

export interface PodWatchesDeps {
  readonly clock: Clock;
  readonly random?: () => number;
  /** Kexer may not watch pods: told once. */
  readonly onForbidden: (error: unknown) => void;
  /** Told of the first failure of an outage. */
  readonly onOutage: (error: unknown) => void;
}

export class PodWatches {
  readonly #deps: PodWatchesDeps;
  readonly #bySource = new Map<PodSource, Map<string, PodWatch>>();
  #isStopped = false;
  #isForbiddenTold = false;
  #isOutageTold = false;
  /** Where kexer may not watch pods: until when it is not tried again. */
  readonly #offUntilMs = new WeakMap<PodSource, number>();

  constructor(deps: PodWatchesDeps) {
    this.#deps = deps;
  }

  /** Pods that are watched now. */
  get size(): number {
    return [...this.#bySource.values()].reduce((sum, watches) => sum + watches.size, 0);
  }

  /** Ends `session` once its pod is gone. @returns what must be called when the session is over. */
  follow(source: PodSource, session: Session): () => void {
    const { podUid, isMirrorPod } = session.subject;
    // The object of a static pod may come and go while the kubelet runs the pod on.
    if (podUid === '' || isMirrorPod === true || this.#isStopped) return () => {};
    let leave = (): void => {};
    const timer = this.#deps.clock.after(startDelayMs, () => {
      leave = this.#join(source, session);
    });
    return () => {
      timer.cancel();
      leave();
    };
  }

  /** Ends all watches and none of the sessions. */
  stop(): void {
    this.#isStopped = true;
    for (const watches of this.#bySource.values()) for (const watch of watches.values()) watch.stop();
    this.#bySource.clear();
  }

  #join(source: PodSource, session: Session): () => void {
    if (this.#isStopped || this.#deps.clock.monotonic() < (this.#offUntilMs.get(source) ?? 0)) return () => {};
    const { namespace, pod } = session.subject;
    const key = `${namespace}/${pod}`;
    const watches = this.#bySource.get(source) ?? new Map<string, PodWatch>();
    this.#bySource.set(source, watches);
    const watch = watches.get(key) ?? this.#watch(source, { namespace, pod });
    watches.set(key, watch);
    watch.add(session);
    return () => {
      watch.delete(session);
      if (watch.size > 0) return;
      watch.stop();
      if (watches.get(key) === watch) watches.delete(key);
      if (watches.size === 0) this.#bySource.delete(source);
    };
  }

  #watch(source: PodSource, of: { namespace: string; pod: string }): PodWatch {
    const { clock, random = Math.random } = this.#deps;
    return new PodWatch(
      { clock, random, source },
      {
        ...of,
        onWorks: () => {
          this.#isOutageTold = false;
        },
        onFailure: (error) => this.#failed(source, error),
      },
    );
  }

  /** @returns whether to go on trying. */
  #failed(source: PodSource, error: unknown): boolean {
    if (isForbidden(error)) {
      this.#offUntilMs.set(source, this.#deps.clock.monotonic() + offMs);
      if (!this.#isForbiddenTold) this.#deps.onForbidden(error);
      this.#isForbiddenTold = true;
      return false;
    }
    if (!this.#isOutageTold) this.#deps.onOutage(error);
    this.#isOutageTold = true;
    return true;
  }
}

interface PodWatchDeps {
  readonly clock: Clock;
  readonly random: () => number;
  readonly source: PodSource;
}

interface PodWatchOptions {
  readonly namespace: string;
  readonly pod: string;
  readonly onWorks: () => void;
  /** @returns whether to go on trying. */
  readonly onFailure: (error: unknown) => boolean;
}

/** One pod, as long as it has sessions. */
class PodWatch {
  readonly #deps: PodWatchDeps;
  readonly #options: PodWatchOptions;
  readonly #sessions = new Map<Session, Timer | undefined>();
  readonly #stopping = new AbortController();
  #isOpen = false;
  #isLooking = false;
  #mustLookAgain = false;
  /** Ends the watch under way, when a read beside it failed: both begin anew. */
  #attempt = new AbortController();
  #pauseMs = firstPauseMs;
  #isStarted = false;

  constructor(deps: PodWatchDeps, options: PodWatchOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  get size(): number {
    return this.#sessions.size;
  }

  add(session: Session): void {
    this.#sessions.set(session, undefined);
    if (!this.#isStarted) {
      this.#isStarted = true;
      void this.#run(); // never rejects
    } else if (this.#isOpen) {
      // Its pod may have gone between its own start and now, which the watch has told already.
      this.#look();
    }
  }

  delete(session: Session): void {
    this.#sessions.get(session)?.cancel();
    this.#sessions.delete(session);
  }

  stop(): void {
    for (const session of this.#sessions.keys()) this.delete(session);
    this.#stopping.abort(new Error('the watch was stopped'));
  }

  async #run(): Promise<void> {
    const { clock } = this.#deps;
    while (!this.#stopping.signal.aborted) {
      const startedMs = clock.monotonic();
      try {
        await this.#watch();
        if (clock.monotonic() - startedMs >= shortWatchMs) continue;
      } catch (error) {
        if (this.#stopping.signal.aborted) return;
        if (!this.#options.onFailure(error)) {
          this.#isStarted = false; // the next session to join tries again
          return;
        }
      }
      await this.#pause();
    }
  }

  async #watch(): Promise<void> {
    const { source, random } = this.#deps;
    const { namespace, pod } = this.#options;
    const attempt = new AbortController();
    this.#attempt = attempt;
    const timeoutSeconds = Math.round(watchTimeoutSeconds * (1 + random()));
    const signal = AbortSignal.any([this.#stopping.signal, attempt.signal]);
    try {
      await source.watchPod(
        namespace,
        pod,
        {
          // Only now: a deletion after this is in the watch, one before it in the read.
          onOpen: () => {
            this.#isOpen = true;
            this.#look();
          },
          onEvent: (event) => {
            if (event.type === 'delete') this.#gone((uid) => uid === event.uid);
            if (event.type === 'delete' || this.#hasOther(event.uid)) this.#look();
          },
        },
        { timeoutSeconds, signal },
      );
    } finally {
      this.#isOpen = false;
    }
  }

  #hasOther(uid: string): boolean {
    return [...this.#sessions.keys()].some((session) => session.subject.podUid !== uid);
  }

  /** Reads the pod and decides by it; once more if asked meanwhile, since the answer under way may be older than the question. */
  #look(): void {
    if (this.#sessions.size === 0) return;
    this.#mustLookAgain = this.#isLooking;
    if (this.#isLooking) return;
    this.#isLooking = true;
    const attempt = this.#attempt;
    const done = (): void => {
      this.#isLooking = false;
      if (this.#mustLookAgain && this.#isOpen) this.#look();
    };
    this.#read().then(done, (error: unknown) => {
      attempt.abort(error);
      done();
    });
  }

  async #read(): Promise<void> {
    const { namespace, pod } = this.#options;
    let current: string | undefined;
    try {
      const object = await this.#deps.source.pod(namespace, pod, this.#stopping.signal);
      current = object.metadata.uid;
    } catch (error) {
      if (!isNoPod(error, pod)) throw error;
    }
    this.#pauseMs = firstPauseMs;
    this.#options.onWorks();
    this.#gone((uid) => uid !== current);
  }

  /** Ends the sessions of these UIDs, after the moment that is the kubelet's. */
  #gone(isGone: (uid: string) => boolean): void {
    for (const [session, timer] of this.#sessions) {
      if (timer !== undefined || !isGone(session.subject.podUid)) continue;
      this.#endSoon(session);
    }
  }

  #endSoon(session: Session): void {
    const { bytesOut } = session;
    const timer = this.#deps.clock.after(kubeletGraceMs, () => {
      const { kind, namespace, pod, podUid } = session.subject;
      // What a kubelet still has of a log is the log's tail, which no deletion makes wrong: while it comes, or the client is slow to take
      // it, nothing hangs.
      const isFlowing = kind === 'log' && (session.isBackedUp || session.bytesOut !== bytesOut);
      if (isFlowing) this.#endSoon(session);
      else session.end(`the pod ${namespace}/${pod} was deleted (UID ${podUid})`, 'podDeleted');
    });
    this.#sessions.set(session, timer);
  }

  #pause(): Promise<void> {
    const { signal } = this.#stopping;
    const delayMs = this.#pauseMs * (1 + this.#deps.random());
    this.#pauseMs = Math.min(this.#pauseMs * 2, maxPauseMs);
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', wake);
        resolve();
      };
      const timer = this.#deps.clock.after(delayMs, wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}

function isForbidden(error: unknown): boolean {
  return error instanceof StatusError && error.status.code === 403;
}

/** The 404 of kube-apiserver about this very pod, and no other server's or path's. */
function isNoPod(error: unknown, pod: string): boolean {
  if (!(error instanceof StatusError)) return false;
  const { code, reason, details } = error.status;
  return code === 404 && reason === 'NotFound' && details?.name === pod && details.kind === 'pods';
}
