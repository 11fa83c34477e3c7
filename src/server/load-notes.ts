// Why what must be loaded is not: the last failure of each part, for /readyz?verbose, and one line for each right that is missing. A part that
// was loaded once stays loaded, so nothing here is ever taken back.

import { describeError } from '../base/errors.ts';
import { missingRule } from '../kube/missing-rule.ts';

export class LoadNotes {
  readonly #reasons: Map<string, string>;
  readonly #told: Set<string>;
  readonly #onMissing: (part: string, missing: string) => void;

  /** @param deps.onMissing called once for each right. */
  constructor(deps: { onMissing: (part: string, missing: string) => void }) {
    this.#reasons = new Map();
    this.#told = new Set();
    this.#onMissing = deps.onMissing;
  }

  /** @param name the object that was meant, if the right may name it. */
  failed(part: string, error: unknown, name?: string): void {
    const missing = missingRule(error, name);
    this.#reasons.set(part, missing ?? describeError(error));
    if (missing === undefined || this.#told.has(missing)) return;
    this.#told.add(missing);
    this.#onMissing(part, missing);
  }

  note(part: string, reason: string): void {
    this.#reasons.set(part, reason);
  }

  /** The last failure, or that there was none. */
  reason(part: string): string {
    return this.#reasons.get(part) ?? 'not loaded yet';
  }
}
