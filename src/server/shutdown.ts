// How far the end of this process has come, for everybody who behaves differently then: health, the filter that refuses, the log. Goes
// forward only.

export class Shutdown {
  #isStopping: boolean;
  #isRefusing: boolean;

  constructor() {
    this.#isStopping = false;
    this.#isRefusing = false;
  }

  /** The order to stop has come: not ready, yet everything is still served. */
  get isStopping(): boolean {
    return this.#isStopping;
  }

  /** Nothing new is taken any more. */
  get isRefusing(): boolean {
    return this.#isRefusing;
  }

  startStopping(): void {
    this.#isStopping = true;
  }

  startRefusing(): void {
    this.#isStopping = true;
    this.#isRefusing = true;
  }
}
