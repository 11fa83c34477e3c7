// What a client of v1 or v4 channels sent before its Close. These protocols have no end of stdin: a client that has uploaded says Close (fabric8
// does), and kubelets give the command all that came before it, then the end. The client has left by then and can be told nothing, so this is
// only about the command: it gets the whole of its stdin however slowly it reads, and a moment to end in order after that.

import type { Clock, Timer } from '../base/clock.ts';
import type { SpdyConnection, SpdyStream } from '../net/spdy-connection.ts';
import { lingerTimeoutMs } from './leg.ts';

/**
 * How long the command may go on once the kubelet has read all of its stdin. Clients also say Close to commands that never end (a log they no
 * longer want to see), and each would hold a session.
 */
const endTimeoutMs = 10_000;

export class StdinTail {
  readonly #clock: Clock;
  readonly #kubelet: SpdyConnection;
  readonly #onOver: () => void;
  #timer: Timer | undefined;
  #isStopped: boolean;

  /** @param onOver the command has had its time: nobody waits for it any more. Not called after {@link stop}. */
  constructor(deps: { clock: Clock; kubelet: SpdyConnection }, onOver: () => void) {
    this.#clock = deps.clock;
    this.#kubelet = deps.kubelet;
    this.#onOver = onOver;
    this.#timer = undefined;
    this.#isStopped = false;
  }

  /** Ends stdin behind what was written to it. */
  start(stdin: SpdyStream): void {
    stdin.end();
    this.#waitForRoom();
    // Buffers of two kernels and the kubelet's own may still hold megabytes when nothing is queued here; its echo comes from behind them.
    this.#kubelet.onceRead(() => this.#wait(endTimeoutMs, this.#onOver));
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  /** As long as a client may take to read its output: starts anew whenever some of it has left. */
  #waitForRoom(): void {
    const { queuedBytes } = this.#kubelet;
    this.#wait(lingerTimeoutMs, () => {
      if (this.#kubelet.queuedBytes < queuedBytes) this.#waitForRoom();
      else this.#onOver();
    });
  }

  #wait(timeoutMs: number, run: () => void): void {
    this.#timer?.cancel();
    if (!this.#isStopped) this.#timer = this.#clock.after(timeoutMs, run);
  }
}
