// Whether those who have sessions may still have them. Rights are asked for when a session begins, and a session may run for hours: so each
// distinct question of the running sessions is asked again from time to time, once for all of them, in the cluster whose question it is. Only a refusal ends sessions, and only
// when a second one follows without an allowance in between: a binding that is deleted and made again is no loss of a right. An error or an
// outage is no answer and ends nothing, unless an operator has said for how long no answer is good enough.

import type { Clock, Timer } from '../base/clock.ts';
import { formatDuration } from '../base/duration.ts';
import type { AnswerThere } from '../clusters/remote-rights.ts';
import { accessReviewSpec, type Reviews } from '../kube/reviews.ts';
import { groupMasters } from '../kube/user.ts';
import type { SessionObserver } from './registry.ts';
import type { EndedBy, Session } from './session.ts';
import { lostRightText, type SessionRight } from './session-rights.ts';

export interface RightsWatchDeps {
  readonly clock: Clock;
  readonly reviews: Pick<Reviews, 'reviewAccess'>;
  readonly random?: () => number;
  readonly observer: RightsObserver;
}

export interface RightsObserver {
  /** The first question of an outage of a cluster that had no answer. */
  unverified(right: SessionRight, reason: unknown): void;
  /** Refused for the first time: it is asked once more before anything ends. */
  refused(right: SessionRight, sessions: number): void;
}

export interface RightsWatchOptions {
  /** 0: never asked. */
  readonly intervalMs: number;
  /** 0: a session may go on for ever without an answer. */
  readonly maxUnverifiedMs: number;
}

/** What was asked so far, by what came of it. */
export interface RightsCounts {
  readonly allowed: number;
  readonly refused: number;
  /** No answer, or one that says itself that it could not be found. */
  readonly unverified: number;
  /** Sessions that were told to end. */
  readonly ended: number;
}

/** Each interval is up to so much shorter or longer, so that sessions that began together are not asked for together. */
const jitter = 0.2;
/** Between a refusal and the question that decides: longer than it takes to replace a binding. */
const confirmMs = 30_000;

export class RightsWatch implements SessionObserver {
  readonly #deps: RightsWatchDeps;
  readonly #options: RightsWatchOptions;
  readonly #byKey: Map<string, WatchedRight>;
  /** What each running session stands on. */
  readonly #bySession: Map<Session, readonly WatchedRight[]>;
  readonly #counts: { -readonly [K in keyof RightsCounts]: number };
  /** Clusters whose outage was told; '': kexer's own. */
  readonly #outages: Set<string>;

  constructor(deps: RightsWatchDeps, options: RightsWatchOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#byKey = new Map();
    this.#bySession = new Map();
    this.#counts = { allowed: 0, refused: 0, unverified: 0, ended: 0 };
    this.#outages = new Set();
  }

  /** Distinct questions that running sessions stand on. */
  get size(): number {
    return this.#byKey.size;
  }

  counts(): RightsCounts {
    return { ...this.#counts };
  }

  sessionStarted(session: Session): void {
    if (this.#options.intervalMs === 0) return;
    const stoodOn: WatchedRight[] = [];
    for (const right of watchable(session)) {
      const key = keyOf(right);
      let watched = this.#byKey.get(key);
      if (watched === undefined) {
        watched = new WatchedRight(key, right, this.#deps.clock.monotonic());
        this.#byKey.set(key, watched);
        this.#schedule(key, watched, this.#interval());
      }
      watched.sessions.add(session);
      stoodOn.push(watched);
      // kube-apiserver has just allowed it.
      watched.allowed(this.#deps.clock.monotonic());
    }
    this.#bySession.set(session, stoodOn);
  }

  sessionEnded(session: Session): void {
    for (const watched of this.#bySession.get(session) ?? []) {
      watched.sessions.delete(session);
      if (watched.sessions.size === 0 && this.#byKey.get(watched.key) === watched) this.#forget(watched.key, watched);
    }
    this.#bySession.delete(session);
  }

  /** Asks nothing any more; ends no session. */
  stop(): void {
    for (const [key, watched] of this.#byKey) this.#forget(key, watched);
  }

  #forget(key: string, watched: WatchedRight): void {
    watched.timer?.cancel();
    this.#byKey.delete(key);
    const place = placeOf(watched.right);
    // A cluster that is asked nothing any more has no outage; its Secret may be gone.
    if (this.#outages.has(place) && !this.#isAsked(place)) this.#outages.delete(place);
  }

  #isAsked(place: string): boolean {
    for (const { right } of this.#byKey.values()) if (placeOf(right) === place) return true;
    return false;
  }

  #interval(): number {
    const { random = Math.random } = this.#deps;
    return this.#options.intervalMs * (1 - jitter + 2 * jitter * random());
  }

  #schedule(key: string, watched: WatchedRight, delayMs: number): void {
    watched.timer = this.#deps.clock.after(delayMs, () => void this.#ask(key, watched));
  }

  /** Never rejects. */
  async #ask(key: string, watched: WatchedRight): Promise<void> {
    const { right } = watched;
    let answer: AnswerThere | undefined;
    let reason: unknown;
    const startedMs = this.#deps.clock.monotonic();
    try {
      answer = await this.#answerTo(right);
    } catch (error) {
      reason = error;
    }
    // Its sessions have ended meanwhile, or this one was asked anew.
    if (this.#byKey.get(key) !== watched) return;
    if (answer?.isAllowed === true) {
      this.#counts.allowed += 1;
      this.#outages.delete(placeOf(right));
      watched.allowed(startedMs);
      this.#schedule(key, watched, this.#interval());
    } else if (answer?.evaluationError === '') {
      this.#refused(key, watched, answer.why ?? lostRightText(right));
    } else {
      this.#unverified(key, watched, answer?.evaluationError ?? reason);
    }
  }

  #answerTo({ user, question, there }: SessionRight): Promise<AnswerThere> {
    return there === undefined ? this.#deps.reviews.reviewAccess(user, question) : there.ask(question);
  }

  #refused(key: string, watched: WatchedRight, why: string): void {
    this.#counts.refused += 1;
    this.#outages.delete(placeOf(watched.right));
    if (watched.isRefused) {
      this.#end(key, watched, why, 'rightLost');
      return;
    }
    watched.isRefused = true;
    this.#deps.observer.refused(watched.right, watched.sessions.size);
    this.#schedule(key, watched, this.#confirmDelay());
  }

  #unverified(key: string, watched: WatchedRight, reason: unknown): void {
    this.#counts.unverified += 1;
    const place = placeOf(watched.right);
    if (!this.#outages.has(place)) this.#deps.observer.unverified(watched.right, reason);
    this.#outages.add(place);
    const delayMs = watched.isRefused ? this.#confirmDelay() : this.#interval();
    const { maxUnverifiedMs } = this.#options;
    if (maxUnverifiedMs === 0) {
      this.#schedule(key, watched, delayMs);
      return;
    }
    const leftMs = watched.allowedAtMs + maxUnverifiedMs - this.#deps.clock.monotonic();
    if (leftMs > 0) this.#schedule(key, watched, Math.min(delayMs, leftMs));
    else {
      const text = `its rights could not be verified for ${formatDuration(maxUnverifiedMs)}, the limit`;
      this.#end(key, watched, text, 'unverified');
    }
  }

  #confirmDelay(): number {
    return Math.min(this.#options.intervalMs, confirmMs);
  }

  #end(key: string, watched: WatchedRight, message: string, by: EndedBy): void {
    const sessions = [...watched.sessions];
    // One that begins from now on has been allowed anew, and is asked for anew.
    this.#forget(key, watched);
    this.#counts.ended += sessions.length;
    for (const session of sessions) session.end(message, by);
  }
}

/** One question, and who stands on it. */
class WatchedRight {
  readonly key: string;
  readonly right: SessionRight;
  readonly sessions: Set<Session>;
  /** When it was last known to be had. */
  allowedAtMs: number;
  isRefused: boolean;
  timer: Timer | undefined;

  constructor(key: string, right: SessionRight, nowMs: number) {
    this.key = key;
    this.right = right;
    this.sessions = new Set();
    this.allowedAtMs = nowMs;
    this.isRefused = false;
    this.timer = undefined;
  }

  allowed(atMs: number): void {
    this.isRefused = false;
    this.allowedAtMs = atMs;
  }
}

function placeOf({ there }: SessionRight): string {
  return there?.cluster ?? '';
}

/** Members of system:masters are allowed everything by kube-apiserver, whatever its authorizers say. */
function watchable(session: Session): SessionRight[] {
  return session.basis.rights.filter(({ user }) => !user.groups.includes(groupMasters));
}

function keyOf({ user, question, there }: SessionRight): string {
  return `${there?.key ?? ''} ${JSON.stringify(accessReviewSpec(user, question))}`;
}
