// Where log lines leave the process. Lines of the same moment go out in one write: on a busy kexer each write by itself is 7 % of what an exec
// costs, and blocks everything else for as long as it takes. A warning or an error goes out at once, with all before it; so does what is left
// when the process exits. Only a kill that no process hears of (SIGKILL, out of memory) takes the last lines with it.

import { symbols } from 'pino';

import type { Clock, Timer } from '../base/clock.ts';

/** Writes whole, in order, and before it returns. */
export interface LineSink {
  write(text: string): void;
  flushSync(): void;
}

/** Unnoticed by who reads along. */
const delayMs = 10;
const warnLevel = 40;

export class LogOutput {
  /** Makes pino set {@link lastLevel} before each write. */
  readonly [symbols.needsMetadataGsym] = true;
  /** Of the line that is written next, in pino's numbers. */
  lastLevel: number;
  readonly #clock: Clock;
  readonly #sink: LineSink;
  #timer: Timer | undefined;

  constructor(deps: { clock: Clock; sink: LineSink }) {
    this.#clock = deps.clock;
    this.#sink = deps.sink;
    this.#timer = undefined;
    this.lastLevel = 0;
  }

  write(line: string): void {
    this.#sink.write(line);
    if (this.lastLevel >= warnLevel) this.flush();
    else this.#timer ??= this.#clock.after(delayMs, () => this.flush());
  }

  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#sink.flushSync();
  }
}
