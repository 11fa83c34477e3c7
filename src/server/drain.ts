// The end of a server, in order, so that neither a client nor a dump of hours notices a rollout:
//
//     order ─▶ not ready, all is served ──delay──▶ new calls refused, the rest runs on ──grace──▶ sessions are told and ended ─▶ closed
//
// The delay is for endpoints and load balancers to move on; the refusals (503 with Retry-After, and no connection is kept) are for those
// that did not. Ordinary calls get what kube-apiserver gives them, a minute; watches end as soon as only they are left, because they
// have no end of their own and their clients begin another elsewhere. A second order skips all waiting but that for the last words.

import type { Clock } from '../base/clock.ts';
import { formatDuration } from '../base/duration.ts';
import type { SessionRegistry } from '../streams/registry.ts';

import type { InFlight } from './in-flight.ts';
import type { Listener } from './listener.ts';
import type { Shutdown } from './shutdown.ts';

export interface DrainDeps {
  readonly clock: Clock;
  readonly shutdown: Shutdown;
  readonly listener: Pick<Listener, 'shed' | 'drain' | 'destroy'>;
  readonly inFlight: InFlight;
  readonly sessions: SessionRegistry;
  readonly observer: DrainObserver;
}

export interface DrainObserver {
  /** Nothing new is taken any more. */
  refusing(counts: { sessions: number; calls: number; watches: number }): void;
  /** These sessions are ended before their time. */
  endingSessions(fields: { sessions: number; reason: string }): void;
}

export interface DrainOptions {
  readonly delayMs: number;
  readonly gracePeriodMs: number;
}

/** kube-apiserver's limit for any call that is no watch or stream. */
const maxCallMs = 60_000;
/** Without a grace period an ordinary call still gets its answer, if that takes no longer. */
const minCallMs = 2000;
/** For clients to read the status of an ended session, and to close. Who wants no grace, or says so twice, wants it quick. */
const lastWordsMs = 10_000;
const quickLastWordsMs = 2000;
/** For connections to close once nothing is under way on them. */
const closeMs = 2000;

export class Drain {
  readonly #deps: DrainDeps;
  readonly #options: DrainOptions;
  readonly #hurry = Promise.withResolvers<void>();
  #isHurried: boolean;
  #running: Promise<void> | undefined;

  constructor(deps: DrainDeps, options: DrainOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#isHurried = false;
    this.#running = undefined;
  }

  /** Resolves when nothing is left; the same for every call. */
  run(): Promise<void> {
    this.#running ??= this.#run();
    return this.#running;
  }

  /** Skips what is left of the waiting, now or when {@link run} is called. */
  hurry(): void {
    this.#isHurried = true;
    this.#hurry.resolve();
  }

  async #run(): Promise<void> {
    const { shutdown, listener, inFlight, sessions, observer } = this.#deps;
    const { delayMs, gracePeriodMs } = this.#options;
    shutdown.startStopping();
    await this.#isDoneWithin(Promise.withResolvers<void>().promise, delayMs);
    shutdown.startRefusing();
    listener.shed();
    observer.refusing({ sessions: sessions.size, calls: inFlight.count('call'), watches: inFlight.count('watch') });
    const callMs = Math.max(minCallMs, Math.min(maxCallMs, gracePeriodMs));
    await Promise.all([
      this.#isDoneWithin(inFlight.whenNone('call'), callMs).then((isDone) => {
        if (!isDone) inFlight.abort('call');
      }),
      this.#isDoneWithin(inFlight.whenNone('stream'), gracePeriodMs).then((isDone) =>
        isDone ? undefined : this.#endSessions(),
      ),
    ]);
    inFlight.abort('watch');
    const drained = listener.drain();
    if (await isDoneWithin(this.#deps.clock, drained, closeMs)) return;
    listener.destroy();
    await drained;
  }

  async #endSessions(): Promise<void> {
    const { clock, inFlight, sessions, observer } = this.#deps;
    const reason = this.#reason();
    observer.endingSessions({ sessions: sessions.size, reason });
    void sessions.endAll(reason); // waited for below, with what was on its way to become a session
    const isQuick = this.#isHurried || this.#options.gracePeriodMs === 0;
    const ended = inFlight.whenNone('stream');
    if (isQuick) {
      await isDoneWithin(clock, ended, quickLastWordsMs);
    } else if (!(await this.#isDoneWithin(ended, lastWordsMs)) && this.#isHurried) {
      await isDoneWithin(clock, ended, quickLastWordsMs);
    }
  }

  #reason(): string {
    const { gracePeriodMs } = this.#options;
    if (this.#isHurried) return 'kexer is shutting down at once';
    if (gracePeriodMs === 0) return 'kexer is shutting down';
    return `kexer is shutting down and its grace period of ${formatDuration(gracePeriodMs)} is over`;
  }

  /** False at once when hurried. */
  #isDoneWithin(work: Promise<unknown>, limitMs: number): Promise<boolean> {
    return isDoneWithin(this.#deps.clock, work, this.#isHurried ? 0 : limitMs, this.#hurry.promise);
  }
}

async function isDoneWithin(
  clock: Clock,
  work: Promise<unknown>,
  limitMs: number,
  orUntil?: Promise<void>,
): Promise<boolean> {
  const limit = Promise.withResolvers<boolean>();
  const timer = clock.after(limitMs, () => limit.resolve(false));
  orUntil?.then(
    () => limit.resolve(false),
    () => {},
  );
  try {
    return await Promise.race([work.then(() => true), limit.promise]);
  } finally {
    timer.cancel();
  }
}
