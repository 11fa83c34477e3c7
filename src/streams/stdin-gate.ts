// stdin of a WebSocket client whose command does not read. client-go dies 61 s after the last pong, and its write deadline is worse: a
// message that is stuck for 60 s is dropped with all further stdin while the exit code of the command is still reported. So while the
// gate is shut it sends pongs unasked and takes in a little all the same, up to a bound; beyond it the session fails loudly.

import type { Clock, Timer } from '../base/clock.ts';
import { type HoldableClient, pongIntervalMs } from './held-client.ts';
import type { DrainableLeg } from './valve.ts';

/** Several of these fit into client-go's 60 s. */
const sipIntervalMs = 20_000;
/** Linux tells the sender of room only when a sixteenth of the receive buffer is free, which may be 6 MiB. */
const sipBytes = 512 * 1024;
/** More than 40 minutes of a command that reads nothing. */
export const maxHeldBytes = 64 * 1024 * 1024;

export class StdinGate {
  readonly #clock: Clock;
  readonly #client: HoldableClient;
  readonly #kubelet: DrainableLeg;
  readonly #onOverflow: () => void;
  readonly #open: () => void;
  #isShut: boolean;
  #isPausing: boolean;
  #heldBytes: number;
  #sipLeft: number;
  #pongTimer: Timer | undefined;
  #sipTimer: Timer | undefined;

  /** @param onOverflow the bound is reached: the session must end with a failure. */
  constructor(deps: { clock: Clock; client: HoldableClient; kubelet: DrainableLeg }, onOverflow: () => void) {
    this.#clock = deps.clock;
    this.#client = deps.client;
    this.#kubelet = deps.kubelet;
    this.#onOverflow = onOverflow;
    this.#open = () => this.#reopen();
    this.#isShut = false;
    this.#isPausing = false;
    this.#heldBytes = 0;
    this.#sipLeft = 0;
    this.#pongTimer = undefined;
    this.#sipTimer = undefined;
  }

  /** To be called after each write of `length` bytes towards the kubelet, with what it returned. */
  check(hasRoom: boolean, length: number): void {
    if (this.#isShut) {
      this.#heldBytes += length;
      this.#sipLeft -= length;
      if (this.#heldBytes > maxHeldBytes) this.#onOverflow();
      else if (this.#sipLeft <= 0) this.#pause();
    } else if (!hasRoom) {
      this.#isShut = true;
      this.#heldBytes = length;
      this.#pause();
      this.#pongTimer = this.#clock.after(pongIntervalMs, () => this.#pong());
      this.#kubelet.onDrain(this.#open);
    }
  }

  /** The session is over. */
  stop(): void {
    this.#pongTimer?.cancel();
    this.#sipTimer?.cancel();
    this.#resume();
  }

  #pause(): void {
    if (this.#isPausing) return;
    this.#isPausing = true;
    this.#client.pause();
    this.#sipTimer = this.#clock.after(sipIntervalMs, () => this.#sip());
  }

  #resume(): void {
    if (!this.#isPausing) return;
    this.#isPausing = false;
    this.#client.resume();
  }

  #sip(): void {
    this.#sipLeft = sipBytes;
    this.#resume();
  }

  #pong(): void {
    this.#client.pong();
    this.#pongTimer = this.#clock.after(pongIntervalMs, () => this.#pong());
  }

  #reopen(): void {
    this.#isShut = false;
    this.#sipLeft = 0;
    this.stop();
  }
}
