// How much one user and all users together may have under way: sessions and their starts, long-running calls, ordinary calls. A filter counts
// each request as its caller's from authentication to its end; nothing has been asked on its behalf when it refuses. An impersonation counts
// only once it is accepted, then as the effective user's, so that nobody can use up another's share by claiming their name.
//
// Kexer's own small answers (health, version, discovery) are never refused: a probe that gets a 429 would restart kexer, and with
// discovery refused kube-apiserver would take the whole API group for unavailable.

import type { Clock } from '../base/clock.ts';
import { type FullLimit, type Slot, type SlotLimits, Slots } from '../base/slots.ts';
import { StartRate, type StartRateOptions } from '../base/start-rate.ts';
import type { Config } from '../config/schema.ts';
import type { RequestInfo } from '../kube/request-info.ts';
import { StatusError, tooManyRequests } from '../kube/status.ts';
import { streamKindOf } from '../streams/kind.ts';

import type { RequestContext } from './request-context.ts';

/** As the settings under `limits` are called. */
const limitNames = [
  'sessionsPerUser',
  'sessions',
  'sessionStartsPerUser',
  'sessionStarts',
  'longRunningPerUser',
  'longRunning',
  'requestsPerUser',
  'requests',
  'eventLoopDelay',
] as const;
export type LimitName = (typeof limitNames)[number];

export interface RequestLimitOptions {
  /** exec, attach, port-forward, logs, and upgrades of any other protocol. */
  readonly sessions: SlotLimits;
  readonly sessionStarts: StartRateOptions;
  /** Watches and proxy subresources, as kube-apiserver's long-running check has them. */
  readonly longRunning: SlotLimits;
  /** Everything else that reaches an apiserver. */
  readonly requests: SlotLimits;
  /** How late the event loop may be while new sessions are taken, in milliseconds; 0: however late. */
  readonly eventLoopDelayMs: number;
}

export function requestLimitOptions(limits: Config['limits']): RequestLimitOptions {
  return {
    sessions: { perKey: limits.sessionsPerUser, total: limits.sessions },
    sessionStarts: { perKeyPerMinute: limits.sessionStartsPerUser, totalPerMinute: limits.sessionStarts },
    longRunning: { perKey: limits.longRunningPerUser, total: limits.longRunning },
    requests: { perKey: limits.requestsPerUser, total: limits.requests },
    eventLoopDelayMs: limits.eventLoopDelay,
  };
}

export type LimitedKind = 'sessions' | 'longRunning' | 'requests';

/** A request that is counted. */
export interface Ticket {
  readonly kind: LimitedKind;
  /** Counts it as another user's from now on. @throws StatusError 429 if they have no room; it then stays whose it was. */
  countAs(user: string): void;
}

/** What one limit is called. */
const texts = {
  sessions: { many: 'sessions', state: 'are running' },
  longRunning: { many: 'watches and proxied requests', state: 'are under way' },
  requests: { many: 'requests', state: 'are in flight' },
} as const;

/** As kube-apiserver's own 429. `kubectl logs` comes again ten times: with 5 s here it took 50 s to say why it failed. */
const retryAfterSeconds = 1;
/** An overload does not pass within a second. */
const overloadRetryAfterSeconds = 10;

export class RequestLimits {
  readonly #options: RequestLimitOptions;
  readonly #slots: Readonly<Record<LimitedKind, Slots>>;
  readonly #starts: StartRate;
  readonly #eventLoopDelayMs: () => number;
  readonly #refusedBy: Map<LimitName, number>;

  /** @param deps.eventLoopDelayMs how late the event loop was lately; left out: never. */
  constructor(deps: { clock: Clock; eventLoopDelayMs?: () => number }, options: RequestLimitOptions) {
    this.#options = options;
    this.#slots = {
      sessions: new Slots(options.sessions),
      longRunning: new Slots(options.longRunning),
      requests: new Slots(options.requests),
    };
    this.#starts = new StartRate(deps, options.sessionStarts);
    this.#eventLoopDelayMs = deps.eventLoopDelayMs ?? (() => 0);
    this.#refusedBy = new Map(limitNames.map((name) => [name, 0]));
  }

  /** How many were refused so far, by limit. */
  refusedBy(): ReadonlyMap<LimitName, number> {
    return this.#refusedBy;
  }

  /** What is under way now, and how many were refused so far; for metrics. */
  counts(): Readonly<Record<LimitedKind | 'refused', number>> {
    const { sessions, longRunning, requests } = this.#slots;
    return {
      sessions: sessions.total,
      longRunning: longRunning.total,
      requests: requests.total,
      refused: [...this.#refusedBy.values()].reduce((sum, count) => sum + count, 0),
    };
  }

  /** Counts the request as its caller's until it ends. @throws StatusError 429 */
  admit(context: RequestContext): void {
    const kind = limitedKindOf(context);
    if (kind === undefined) return;
    const { exchange } = context;
    const end = exchange.kind === 'request' ? exchange.response : exchange.socket;
    if (end.destroyed) return; // its 'close' may have been; the pipeline stops here too
    const user = context.caller.user.name;
    if (kind === 'sessions') this.#requireCalm();
    this.#requireStart(kind, user);
    this.#requireRoom(kind, user, this.#slots[kind].fullFor(user));
    if (kind === 'sessions') this.#starts.take(user);
    const slot = this.#slots[kind].take(user);
    end.once('close', () => slot.release());
    context.ticket = { kind, countAs: (other) => this.#move(kind, slot, other) };
  }

  #move(kind: LimitedKind, slot: Slot, user: string): void {
    const before = slot.key;
    if (user === before) return;
    // The total has counted it already.
    if (this.#slots[kind].fullFor(user) === 'key') this.#requireRoom(kind, user, 'key');
    if (kind === 'sessions') {
      if (this.#starts.fullFor(user)?.limit === 'key') this.#requireStart(kind, user);
      this.#starts.move(before, user);
    }
    slot.moveTo(user);
  }

  /** New sessions are shed before running ones become slow. */
  #requireCalm(): void {
    const { eventLoopDelayMs: maxMs } = this.#options;
    if (maxMs === 0 || this.#eventLoopDelayMs() <= maxMs) return;
    const text = 'kexer is overloaded: its event loop was later than the limit (limits.eventLoopDelay)';
    throw this.#refuse('eventLoopDelay', text, overloadRetryAfterSeconds);
  }

  #requireStart(kind: LimitedKind, user: string): void {
    if (kind !== 'sessions') return;
    const full = this.#starts.fullFor(user);
    if (full === undefined) return;
    const { perKeyPerMinute, totalPerMinute } = this.#options.sessionStarts;
    const what =
      full.limit === 'key'
        ? `user ${JSON.stringify(user)} has begun ${perKeyPerMinute} within a minute, the limit (limits.sessionStartsPerUser)`
        : `${totalPerMinute} were begun within a minute, the limit (limits.sessionStarts)`;
    const limit = full.limit === 'key' ? 'sessionStartsPerUser' : 'sessionStarts';
    throw this.#refuse(limit, `too many sessions: ${what}`, Math.ceil(full.waitMs / 1000));
  }

  #requireRoom(kind: LimitedKind, user: string, full: FullLimit | undefined): void {
    if (full === undefined) return;
    const { many, state } = texts[kind];
    const { perKey, total } = this.#options[kind];
    const what =
      full === 'key'
        ? `${perKey} of user ${JSON.stringify(user)} ${state}, the limit (limits.${kind}PerUser)`
        : `${total} ${state}, the limit (limits.${kind})`;
    throw this.#refuse(full === 'key' ? `${kind}PerUser` : kind, `too many ${many}: ${what}`, retryAfterSeconds);
  }

  #refuse(limit: LimitName, message: string, retryAfterSeconds: number): StatusError {
    this.#refusedBy.set(limit, (this.#refusedBy.get(limit) ?? 0) + 1);
    return new StatusError(tooManyRequests(message, retryAfterSeconds));
  }
}

/** Undefined: not limited. */
function limitedKindOf(context: RequestContext): LimitedKind | undefined {
  const { arrival, exchange, path } = context;
  if (path.kind === 'own') {
    if (!path.info.isResourceRequest) return undefined;
    return isLongRunning(path.info) ? 'longRunning' : 'requests';
  }
  if (exchange.kind === 'upgrade') return 'sessions';
  // A plain request to a stream's path is answered at once, yet costs the same preflight.
  if (streamKindOf({ method: arrival.method, inner: path.inner }) !== undefined) return 'sessions';
  return isLongRunning(path.inner.info) ? 'longRunning' : 'requests';
}

/** kube-apiserver's own rule without its streams (controlplane/apiserver BasicLongRunningRequestCheck). */
export function isLongRunning(info: RequestInfo): boolean {
  return info.isResourceRequest && (info.verb === 'watch' || info.verb === 'proxy' || info.subresource === 'proxy');
}
