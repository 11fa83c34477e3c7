// A WebSocket client that a bandwidth limit holds: nothing of it is read meanwhile, its pings included. client-go dies 61 s after the last pong,
// asked for or not, so it gets one as often as it pings.

import type { Clock, Timer } from '../base/clock.ts';
import type { GatedClient } from './stdin-gate.ts';
import type { PausableLeg } from './valve.ts';

const pongIntervalMs = 5000;

export class HeldClient implements PausableLeg {
  readonly #clock: Clock;
  readonly #client: GatedClient;
  #timer: Timer | undefined;

  constructor(deps: { clock: Clock; client: GatedClient }) {
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
