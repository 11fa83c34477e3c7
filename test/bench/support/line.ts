// One line of the table: what kexer costs, what the peers cost in the same run, and the ratio that the goal is about.

import { median } from './numbers.ts';

export interface Line {
  /** Unique; the guard finds the line by it. */
  readonly name: string;
  readonly unit: string;
  /** In words, as it stands in the table. */
  readonly goal: string;
  readonly kexer: number;
  /** By name; medians of the same run. */
  readonly peers: Readonly<Record<string, number>>;
  /** kexer's figure through what the goal compares it with: a peer, a sum of peers, or a figure of the goal itself. */
  readonly ratio: number;
  /** The ratio must be at most (or, where more is better, at least) this. */
  readonly limit: number;
  readonly isMoreBetter?: boolean;
}

export function isReached({ ratio, limit, isMoreBetter = false }: Line): boolean {
  return isMoreBetter ? ratio >= limit : ratio <= limit;
}

/** Measurements of several contestants in turns, by name. */
export class Samples {
  readonly #values = new Map<string, number[]>();

  add(name: string, value: number): void {
    const list = this.#values.get(name);
    if (list === undefined) this.#values.set(name, [value]);
    else list.push(value);
  }

  median(name: string): number {
    return median(this.#values.get(name) ?? []);
  }

  /** Medians of all but kexer. */
  peers(): Record<string, number> {
    return Object.fromEntries(
      [...this.#values.keys()].filter((name) => name !== 'kexer').map((name) => [name, this.median(name)]),
    );
  }
}

/** In turns, each round from the other end, so that what else the machine does hits all alike. */
export function inTurn<T>(list: readonly T[], round: number): readonly T[] {
  return round % 2 === 0 ? list : list.toReversed();
}
