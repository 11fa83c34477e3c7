// How long a session may last, and how long it may be idle. Idle means that no byte of payload passed in either direction: pings and
// pongs keep the connection alive and say nothing about use. Observes the registry, so that it holds for every kind of session; ends a
// session as everybody else does, by a Failure that says why.

import type { Clock, Timer } from '../base/clock.ts';
import { formatDuration } from '../base/duration.ts';
import type { SessionObserver } from './registry.ts';
import type { Session } from './session.ts';

export interface SessionLimitOptions {
  /** 0: no limit. */
  readonly idleTimeoutMs: number;
  /** 0: no limit. */
  readonly maxDurationMs: number;
}

/**
 * Activity is looked for this often within the idle time, and at least once a minute: a stamp for each chunk would cost more than the
 * few seconds by which an idle session may end late.
 */
const looksPerIdleTime = 20;
const maxLookIntervalMs = 60_000;

export class SessionLimits implements SessionObserver {
  readonly #clock: Clock;
  readonly #options: SessionLimitOptions;
  readonly #watches = new Map<Session, { idle: IdleWatch | undefined; age: Timer | undefined }>();

  constructor(deps: { clock: Clock }, options: SessionLimitOptions) {
    this.#clock = deps.clock;
    this.#options = options;
  }

  sessionStarted(session: Session): void {
    const { idleTimeoutMs, maxDurationMs } = this.#options;
    if (idleTimeoutMs === 0 && maxDurationMs === 0) return;
    this.#watches.set(session, {
      idle: idleTimeoutMs === 0 ? undefined : new IdleWatch({ clock: this.#clock, session }, { idleTimeoutMs }),
      age:
        maxDurationMs === 0
          ? undefined
          : this.#clock.after(maxDurationMs, () => {
              session.end(`session lasted ${formatDuration(maxDurationMs)}, the limit`, 'maxDuration');
            }),
    });
  }

  sessionEnded(session: Session): void {
    const watch = this.#watches.get(session);
    watch?.idle?.stop();
    watch?.age?.cancel();
    this.#watches.delete(session);
  }
}

/** Ends one session when its byte counts have stood still for the idle time. */
class IdleWatch {
  readonly #clock: Clock;
  readonly #session: Session;
  readonly #idleTimeoutMs: number;
  readonly #lookIntervalMs: number;
  #bytes: number;
  #activeAtMs: number;
  #timer: Timer;

  constructor(deps: { clock: Clock; session: Session }, options: { idleTimeoutMs: number }) {
    this.#clock = deps.clock;
    this.#session = deps.session;
    this.#idleTimeoutMs = options.idleTimeoutMs;
    this.#lookIntervalMs = Math.min(options.idleTimeoutMs / looksPerIdleTime, maxLookIntervalMs);
    this.#bytes = bytesOf(deps.session);
    this.#activeAtMs = deps.clock.monotonic();
    this.#timer = this.#arm();
  }

  stop(): void {
    this.#timer.cancel();
  }

  #arm(): Timer {
    const leftMs = this.#activeAtMs + this.#idleTimeoutMs - this.#clock.monotonic();
    // At the very end exactly then, so that no session ends before its time or much later.
    return this.#clock.after(Math.min(this.#lookIntervalMs, Math.max(leftMs, 1)), () => this.#look());
  }

  #look(): void {
    const nowMs = this.#clock.monotonic();
    const bytes = bytesOf(this.#session);
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#activeAtMs = nowMs;
    } else if (nowMs - this.#activeAtMs >= this.#idleTimeoutMs) {
      this.#session.end(`session was idle for ${formatDuration(this.#idleTimeoutMs)}, the limit`, 'idle');
      return;
    }
    this.#timer = this.#arm();
  }
}

function bytesOf(session: Session): number {
  return session.bytesIn + session.bytesOut;
}
