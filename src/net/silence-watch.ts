// Whether a peer that is pinged is still there. TCP alone cannot tell: a process that hangs on a healthy machine has its kernel answer, and
// when the machine is gone our own pings keep TCP busy resending for a quarter of an hour (Linux: tcp_retries2), since keepalive probes only
// go out while nothing waits for its acknowledgement. So an answer to a ping is what counts, but silence is proof only of a peer that
//
//   - answers pings at all: it has done so once, or is known to;
//   - has nothing of ours to be busy with: since our last payload it has answered a ping. One that still holds payload may rightly be
//     blocked by it for hours (a restore that builds an index reads no stdin, a pager reads no output) and then sees no ping either;
//   - is being read by us.
//
// Any byte at all ends a silence. A peer for which none of this can be proven is left to TCP.

import type { Clock } from '../base/clock.ts';

export interface SilenceOptions {
  /** Silence since the first unanswered ping after which the peer counts as dead. */
  readonly limitMs: number;
  /** It is known to answer pings even if it has not yet. */
  readonly isPeerKnownToAnswer: boolean;
}

export class SilenceWatch {
  readonly #clock: Clock;
  readonly #limitMs: number;
  #hasAnswered: boolean;
  #isPayloadUnproven: boolean;
  /** The first ping after the last payload: its answer proves that the payload was taken. */
  #provingPing: number | undefined;
  #silentSinceMs: number | undefined;
  #bytesIn: number;

  constructor(deps: { clock: Clock }, options: SilenceOptions) {
    this.#clock = deps.clock;
    this.#limitMs = options.limitMs;
    this.#hasAnswered = options.isPeerKnownToAnswer;
    this.#isPayloadUnproven = false;
    this.#provingPing = undefined;
    this.#silentSinceMs = undefined;
    this.#bytesIn = 0;
  }

  payloadSent(): void {
    this.#isPayloadUnproven = true;
    this.#provingPing = undefined;
  }

  /** @param id unique among the pings that may be under way. */
  pingSent(id: number): void {
    if (this.#isPayloadUnproven) this.#provingPing ??= id;
    this.#silentSinceMs ??= this.#clock.monotonic();
  }

  pongHeard(id: number): void {
    this.#hasAnswered = true;
    if (id !== this.#provingPing) return;
    this.#isPayloadUnproven = false;
    this.#provingPing = undefined;
  }

  /** To be asked before each ping. @param seen.bytesIn all bytes of the peer so far. */
  isDead(seen: { readonly bytesIn: number; readonly isPaused: boolean }): boolean {
    const isHeard = seen.bytesIn !== this.#bytesIn;
    this.#bytesIn = seen.bytesIn;
    if (isHeard || seen.isPaused || this.#isPayloadUnproven || !this.#hasAnswered) {
      this.#silentSinceMs = undefined;
      return false;
    }
    return this.#silentSinceMs !== undefined && this.#clock.monotonic() - this.#silentSinceMs >= this.#limitMs;
  }
}
