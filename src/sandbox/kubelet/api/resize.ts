// Terminal sizes as they come: JSON objects `{"Width":80,"Height":24}` one after another, split anywhere. Names are matched in any case,
// as Go does; what cannot be read ends the reading, and the session goes on without.

import type { Buffer } from 'node:buffer';

/** Longer than any size; a peer that sends this much without a `}` sends no sizes. */
const maxPendingChars = 4096;

function field(value: object, name: string): number {
  const entry = Object.entries(value).find(([key]) => key.toLowerCase() === name);
  return typeof entry?.[1] === 'number' ? entry[1] : 0;
}

export class ResizeReader {
  readonly #apply: (columns: number, rows: number) => void;
  #pending = '';
  #isBroken = false;

  constructor(apply: (columns: number, rows: number) => void) {
    this.#apply = apply;
  }

  accept(bytes: Buffer): void {
    if (this.#isBroken) return;
    this.#pending += bytes.toString('latin1');
    for (let end = this.#pending.indexOf('}'); end !== -1; end = this.#pending.indexOf('}')) {
      const text = this.#pending.slice(0, end + 1);
      this.#pending = this.#pending.slice(end + 1);
      try {
        const value: unknown = JSON.parse(text);
        if (typeof value === 'object' && value !== null) this.#apply(field(value, 'width'), field(value, 'height'));
      } catch {
        this.#isBroken = true; // Go's decoder stops at the first error as well
        return;
      }
    }
    if (this.#pending.length > maxPendingChars) this.#isBroken = true;
  }
}
