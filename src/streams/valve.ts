// Backpressure between two legs: while the writing side is full the reading side is paused, so that a slow end costs the buffers of two
// sockets and no more. One valve is one direction of one session.

/** The side that is read; pauses are counted there, so a valve undoes exactly its own. */
export interface PausableLeg {
  pause(): void;
  resume(): void;
}

/** The side that is written. `onDrain` runs once when there is room again, and never after the end. */
export interface DrainableLeg {
  onDrain(run: () => void): void;
}

export class Valve {
  readonly #from: PausableLeg;
  readonly #to: DrainableLeg;
  // One closure for the life of the session: `check` runs once a chunk.
  readonly #open: () => void;
  #isShut: boolean;

  constructor(from: PausableLeg, to: DrainableLeg) {
    this.#from = from;
    this.#to = to;
    this.#isShut = false;
    this.#open = () => {
      this.#isShut = false;
      from.resume();
    };
  }

  /** To be called with what each write returned. */
  check(hasRoom: boolean): void {
    if (hasRoom || this.#isShut) return;
    this.#isShut = true;
    this.#from.pause();
    this.#to.onDrain(this.#open);
  }

  /** The writing side is over and drops what it gets: read on. */
  open(): void {
    if (this.#isShut) this.#open();
  }
}
