// A client that is held: nothing of it is read meanwhile, its pings and its end included. So it gets an answer that it did not ask for every now
// and then. client-go's WebSocket dies 61 s after the last pong, whatever it answers; and a client that has left, whose command would otherwise go on
// for as long as its kubelet takes nothing, is only noticed by a write: by the first after a reset, by the second after a FIN.

import type { Clock, Timer } from '../base/clock.ts';
import type { PausableLeg } from './valve.ts';

/** client-go pings every 5 s; a command should not outlive its client by longer. */
export const pongIntervalMs = 2000;

/** A client's connection. */
export interface HoldableClient extends PausableLeg {
  /** An answer to no ping; never a question, which it could not answer. */
  pong(): void;
}

export class HeldClient implements PausableLeg {
  readonly #clock: Clock;
  readonly #client: HoldableClient;
  #timer: Timer | undefined;

  constructor(deps: { clock: Clock; client: HoldableClient }) {
    this.#clock = deps.clock;
    this.#client = deps.client;
    this.#timer = undefined;
  }

  pause(): void {
    this.#client.pause();
    this.#arm();
  }

  resume(): void {
    this.#timer?.cancel();
    this.#client.resume();
  }

  #arm(): void {
    this.#timer = this.#clock.after(pongIntervalMs, () => {
      this.#client.pong();
      this.#arm();
    });
  }
}
