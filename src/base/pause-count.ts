// Several reasons to hold one stream back: it flows only when none is left. Node's streams know only paused and not.

export interface Pausable {
  pause(): unknown;
  resume(): unknown;
}

export class PauseCount {
  readonly #stream: Pausable;
  #count: number;

  constructor(stream: Pausable) {
    this.#stream = stream;
    this.#count = 0;
  }

  pause(): void {
    this.#count += 1;
    if (this.#count === 1) this.#stream.pause();
  }

  /** Takes one pause back; without one it does nothing. */
  resume(): void {
    if (this.#count === 0) return;
    this.#count -= 1;
    if (this.#count === 0) this.#stream.resume();
  }
}
