// What of a user's command may be shown in records that others read: the audit log, the list of sessions. Values of what is known to be
// secret are replaced by `[redacted]`, by built-in rules and the operator's own; or arguments are left out altogether. Pure and
// synchronous. It cannot know every secret: docs/audit.md says what it finds and what it does not.

import { queryEscape, parseQuery } from '../protocol/query.ts';
import { markCommand } from './redaction/command-line.ts';
import { Marks, redactedMark } from './redaction/marks.ts';
import { Patterns } from './redaction/patterns.ts';
import { isSecretName } from './redaction/secret-name.ts';

/** How much of a command is shown: all but secrets, the program alone, nothing. */
export const commandDetails = ['redacted', 'program', 'none'] as const;
export type CommandDetail = (typeof commandDetails)[number];

export interface RedactionOptions {
  readonly commands: CommandDetail;
  /** Regular expressions besides the built-in rules; of one with groups only these are replaced. */
  readonly patterns: readonly string[];
  /** A command took the patterns too long and is not shown at all. Must not throw. */
  readonly onSlowPattern?: () => void;
}

export class Redactor {
  readonly #detail: CommandDetail;
  readonly #patterns: Patterns;
  readonly #onSlowPattern: () => void;

  /** @throws KexerError config for a pattern that is none. */
  constructor(options: RedactionOptions) {
    this.#detail = options.commands;
    this.#patterns = new Patterns(options.patterns);
    this.#onSlowPattern = options.onSlowPattern ?? (() => {});
  }

  /** A command's words as they may be shown; fewer if arguments are left out. */
  command(words: readonly string[]): string[] {
    if (this.#detail === 'none') return [];
    if (this.#detail === 'program' && words.length > 1) return [...this.#shown(words).slice(0, 1), redactedMark];
    return this.#shown(words);
  }

  /** A request's raw target with the same command in its query, and without values of parameters whose name says secret. */
  target(rawTarget: string): string {
    const mark = rawTarget.indexOf('?');
    if (mark === -1) return rawTarget;
    const pieces = rawTarget.slice(mark + 1).split('&');
    const words = pieces.filter(isCommandPiece).map(valueOf);
    const shown = this.#shown(words.map((word) => word ?? ''));
    let index = 0;
    const redacted = pieces.map((piece) => {
      if (!isCommandPiece(piece)) return redactParameter(piece);
      const [word, text = redactedMark] = [words[index], shown[index]];
      index += 1;
      const isHidden = this.#detail === 'none' || (this.#detail === 'program' && index > 1);
      if (isHidden || word === undefined) return withValue(piece, redactedMark);
      return word === text ? piece : withValue(piece, text);
    });
    return `${rawTarget.slice(0, mark + 1)}${redacted.join('&')}`;
  }

  /** A sentence that may quote a command, as the refusal of a webhook or a runtime does. */
  text(text: string): string {
    return this.#shown([text])[0] ?? redactedMark;
  }

  /** As many words as were given. */
  #shown(words: readonly string[]): string[] {
    const marks = words.map(() => new Marks());
    if (!this.#patterns.mark(words, marks)) {
      this.#onSlowPattern();
      return words.map(() => redactedMark);
    }
    markCommand(words, marks);
    return words.map((word, index) => marks[index]?.applyTo(word) ?? redactedMark);
  }
}

/** In any case: a key that Kubernetes does not read may still hold what somebody meant as a command. */
function isCommandPiece(piece: string): boolean {
  return nameOf(piece).toLowerCase() === 'command';
}

/** The decoded name of a piece of a query, or what stands there if it cannot be decoded. */
function nameOf(piece: string): string {
  const name = piece.split('=', 1)[0] ?? '';
  try {
    return decodeURIComponent(name.replaceAll('+', ' '));
  } catch {
    return name;
  }
}

/** The decoded value of a piece of a query; undefined if it cannot be read. */
function valueOf(piece: string): string | undefined {
  try {
    return parseQuery(piece)[0]?.[1] ?? '';
  } catch {
    return undefined; // such a request is refused, and what it meant is not shown
  }
}

function redactParameter(piece: string): string {
  const equals = piece.indexOf('=');
  if (equals === -1 || equals === piece.length - 1) return piece;
  return isSecretName(nameOf(piece)) ? withValue(piece, redactedMark) : piece;
}

function withValue(piece: string, value: string): string {
  const equals = piece.indexOf('=');
  return `${equals === -1 ? piece : piece.slice(0, equals)}=${queryEscape(value)}`;
}
