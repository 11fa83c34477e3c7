// All sessions of this process. One object that shutdown, metrics, limits and the `sessions` resource read; whoever starts a stream
// opens its session here before the first byte is relayed and finishes it when both legs are down.

import { randomUUID } from 'node:crypto';

import type { Clock } from '../base/clock.ts';
import { noRecord, type SessionRecord } from '../observe/audit/call-audit.ts';
import type { Bandwidth } from './bandwidth.ts';
import type { SessionBasis } from './session-rights.ts';
import { Session, type SessionEnd, type SessionSubject } from './session.ts';

/** Unique among the sessions of hours, short enough to type. */
export function newSessionId(): string {
  // 40 random bits, from those that Node keeps ready for UUIDs: a fifth of what it costs to ask for them.
  const uuid = randomUUID();
  return `${uuid.slice(0, 8)}${uuid.slice(9, 11)}`;
}

/** Told of every start and end; implemented by the log, metrics and audit. Must not throw. */
export interface SessionObserver {
  sessionStarted(session: Session): void;
  sessionEnded(session: Session, end: SessionEnd): void;
}

/** Several observers as one, told in this order. */
export function joinObservers(...observers: readonly SessionObserver[]): SessionObserver {
  return {
    sessionStarted(session) {
      for (const observer of observers) observer.sessionStarted(session);
    },
    sessionEnded(session, end) {
      for (const observer of observers) observer.sessionEnded(session, end);
    },
  };
}

export class SessionRegistry {
  readonly #clock: Clock;
  readonly #observer: SessionObserver;
  readonly #bandwidth: Pick<Bandwidth, 'open'> | undefined;
  readonly #sessions = new Map<string, Session>();
  readonly #records = new Map<Session, SessionRecord>();
  #waitingForEmpty: (() => void)[] = [];

  /** @param deps.bandwidth left out: no limit. */
  constructor(deps: { clock: Clock; observer: SessionObserver; bandwidth?: Pick<Bandwidth, 'open'> | undefined }) {
    this.#clock = deps.clock;
    this.#observer = deps.observer;
    this.#bandwidth = deps.bandwidth;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** Running sessions, oldest first. */
  list(): Session[] {
    return [...this.#sessions.values()];
  }

  get(id: string): Session | undefined {
    return this.#sessions.get(id);
  }

  /**
   * Opens a session; the opener must call {@link finish} exactly when nothing of it is left.
   * @param announced its name and its audit record, if it has one.
   * @param basis what may end it by being lost.
   */
  open(
    subject: SessionSubject,
    endByRequest: (message: string) => void,
    announced: { readonly id: string; readonly record: SessionRecord } = { id: newSessionId(), record: noRecord },
    basis: SessionBasis = { rights: [] },
  ): Session {
    const flows = this.#bandwidth?.open(subject.user.name);
    const session = new Session({ clock: this.#clock }, { id: announced.id, subject, basis, endByRequest, flows });
    this.#records.set(session, announced.record);
    this.#sessions.set(session.id, session);
    this.#observer.sessionStarted(session);
    return session;
  }

  /** Takes a session out; later calls for the same session do nothing. */
  finish(session: Session, end: SessionEnd): void {
    if (!session.finish(end)) return;
    this.#sessions.delete(session.id);
    this.#observer.sessionEnded(session, end);
    const { bytesIn, bytesOut, durationMs } = session;
    this.#records.get(session)?.ended({ ...end, bytesIn, bytesOut, durationMs });
    this.#records.delete(session);
    if (this.#sessions.size > 0) return;
    const waiting = this.#waitingForEmpty;
    this.#waitingForEmpty = [];
    for (const resolve of waiting) resolve();
  }

  /** Asks every running session to end with a Failure that says `message`; resolves when none is left. */
  async endAll(message: string): Promise<void> {
    for (const session of this.list()) session.end(message, 'shutdown');
    await this.whenEmpty();
  }

  /** Resolves when no session runs (at once if none does). */
  async whenEmpty(): Promise<void> {
    if (this.#sessions.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#waitingForEmpty.push(resolve);
    });
  }
}
