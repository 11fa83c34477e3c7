// What a check is: a sentence, and a function that throws where it does not hold. Its answer goes into the report behind the sentence.

import type { Stage } from '../stage.ts';

export interface Check {
  /** `folder: sentence`; `--only` looks for words in it. */
  readonly name: string;
  /** Whether it needs pods that run. */
  readonly needsNode?: boolean;
  /** @returns what was seen, for the report; '' if there is nothing to add. @throws Error with what was wrong */
  readonly run: (stage: Stage) => Promise<string>;
}

/** @throws Error with both texts, if they differ */
export function same(what: string, got: unknown, want: unknown): void {
  const [left, right] = [got, want].map((value) => (typeof value === 'string' ? value : JSON.stringify(value)));
  if (left !== right) throw new Error(`${what}:\n  got  ${left}\n  want ${right}`);
}

/** @throws Error with the text, if it does not match */
export function matches(what: string, text: string, pattern: RegExp): void {
  if (!pattern.test(text)) throw new Error(`${what}: want ${pattern}, got ${JSON.stringify(text)}`);
}
