// Ends sessions when the credential that began them expires. Off unless an operator wants it: kube-apiserver does not do it, and a dump that
// outlasts its token is no offence. What does not say when it expires (opaque tokens, callers of the front proxy) ends nothing.

import type { Clock, Timer } from '../base/clock.ts';
import type { SessionObserver } from './registry.ts';
import type { Session } from './session.ts';

/** Looked at anew so often: wall clocks jump, and timers count no more than 24 days. */
const maxLookMs = 3_600_000;

export class SessionExpiry implements SessionObserver {
  readonly #clock: Clock;
  readonly #isOn: boolean;
  readonly #timers: Map<Session, Timer>;

  constructor(deps: { clock: Clock }, options: { endOnExpiry: boolean }) {
    this.#clock = deps.clock;
    this.#isOn = options.endOnExpiry;
    this.#timers = new Map();
  }

  sessionStarted(session: Session): void {
    const { credentialExpiresAtMs } = session.basis;
    if (this.#isOn && credentialExpiresAtMs !== undefined) this.#look(session, credentialExpiresAtMs);
  }

  sessionEnded(session: Session): void {
    this.#timers.get(session)?.cancel();
    this.#timers.delete(session);
  }

  #look(session: Session, expiresAtMs: number): void {
    const leftMs = expiresAtMs - this.#clock.now();
    if (leftMs > 0) {
      this.#timers.set(
        session,
        this.#clock.after(Math.min(leftMs, maxLookMs), () => this.#look(session, expiresAtMs)),
      );
      return;
    }
    const { user, originalUser = user } = session.subject;
    const at = new Date(expiresAtMs).toISOString().replace(/\.\d+Z$/, 'Z');
    session.end(`the credential of ${originalUser.name} expired at ${at}`, 'expired');
  }
}
