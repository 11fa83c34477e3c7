// An operator's own regular expressions over the words of a command. Users choose the words, so a pattern that backtracks badly would let
// them stop the process: all patterns of one command run under one deadline, in a context where V8 can be interrupted, and when it
// passes nothing of the command is shown.

import { createContext, Script, type Context } from 'node:vm';

import { KexerError } from '../../base/errors.ts';
import { quote } from '../../base/quote.ts';
import type { Marks } from './marks.ts';

/** For all patterns of one command together. An honest pattern takes microseconds for the longest command a head can hold. */
const deadlineMs = 20;

/** As the script gives them: pairs of start and end, flat. */
const source = `
  (() => {
    const ranges = [];
    for (const pattern of patterns) {
      for (const found of text.matchAll(pattern)) {
        const groups = found.indices.slice(1).filter((range) => range !== undefined);
        for (const [start, end] of groups.length === 0 ? [found.indices[0]] : groups) ranges.push(start, end);
      }
    }
    return ranges;
  })()
`;

export class Patterns {
  readonly #patterns: readonly RegExp[];
  readonly #script: Script | undefined;
  readonly #context: Context | undefined;

  /** @throws KexerError config for a text that is no regular expression; {@link patternProblem} says so before. */
  constructor(patterns: readonly string[]) {
    this.#patterns = patterns.map(compilePattern);
    // A context is about a megabyte; who configures nothing does not pay for it.
    this.#script = patterns.length === 0 ? undefined : new Script(source);
    this.#context = patterns.length === 0 ? undefined : createContext({});
  }

  /** Marks what matches. @returns false if it took too long: then nothing of the command may be shown. */
  mark(words: readonly string[], marks: readonly Marks[]): boolean {
    if (this.#script === undefined || this.#context === undefined) return true;
    const text = words.join('\n');
    let ranges: unknown;
    try {
      Object.assign(this.#context, { patterns: this.#patterns, text });
      ranges = this.#script.runInContext(this.#context, { timeout: deadlineMs });
    } catch {
      return false; // too slow, or too deep for the engine's stack: fail closed either way
    }
    // An array of the other context, so no instance of this one's Array.
    const flat = Array.isArray(ranges) ? ranges.map(Number) : [];
    for (let index = 0; index + 1 < flat.length; index += 2) {
      markAcross(words, marks, flat[index] ?? 0, flat[index + 1] ?? 0);
    }
    return true;
  }
}

/** A range of the joined words as ranges of the words it touches. */
function markAcross(words: readonly string[], marks: readonly Marks[], start: number, end: number): void {
  let offset = 0;
  for (const [index, word] of words.entries()) {
    const from = Math.max(start - offset, 0);
    const to = Math.min(end - offset, word.length);
    marks[index]?.add(from, to);
    offset += word.length + 1;
    if (offset >= end) return;
  }
}

/** `^` and `$` are at the ends of a word, as each word is a line; `d` gives the places of groups. */
const flags = 'dgmu';

/** What is wrong with a pattern, for people; undefined: nothing. */
export function patternProblem(pattern: string): string | undefined {
  try {
    return new RegExp(pattern, flags).test('') ? 'one that does not match the empty text' : undefined;
  } catch {
    return 'a regular expression of JavaScript (flags u and m)';
  }
}

function compilePattern(pattern: string): RegExp {
  const problem = patternProblem(pattern);
  if (problem !== undefined) {
    throw new KexerError('config', `Cannot use the pattern ${quote(pattern)}: want ${problem}`);
  }
  return new RegExp(pattern, flags);
}
