// A line as a shell would split it, roughly: where its words are and where commands begin. Expands nothing and never fails; what it takes
// for a word is at worst too much, and then too much is redacted.

export interface ShellWord {
  /** Where its text stands; without the quotes if the whole word is in one pair. */
  readonly start: number;
  readonly end: number;
  /** The first word of a command: after `;`, `|`, `&`, a newline, `(`, a backtick, or at the start. */
  readonly isFirst: boolean;
}

const separators = new Set([';', '|', '&', '\n', '(', ')', '`', '{', '}']);
const spaces = new Set([' ', '\t', '\r', '<', '>']);

/** Whether there is anything to split. */
export function isSplittable(text: string): boolean {
  return /[\s;|&`()<>'"]/.test(text);
}

export function shellWords(text: string): ShellWord[] {
  const words: ShellWord[] = [];
  let isFirst = true;
  let start = -1;
  let quote = '';
  const finish = (end: number): void => {
    if (start === -1) return;
    words.push({ ...withoutQuotes(text, start, end), isFirst });
    start = -1;
    isFirst = false;
  };
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at] ?? '';
    if (quote !== '') {
      if (char === quote) quote = '';
      else if (char === '\\' && quote === '"') at += 1;
    } else if (spaces.has(char)) {
      finish(at);
    } else if (separators.has(char) && !isInsideWord(text, at, start)) {
      finish(at);
      isFirst = true;
    } else {
      if (start === -1) start = at;
      if (char === '"' || char === "'") quote = char;
      else if (char === '\\') at += 1;
    }
  }
  finish(text.length);
  return words;
}

/** Braces in a word are a parameter or JSON, as in `${NAME}` and `{"a":1}`. */
function isInsideWord(text: string, at: number, start: number): boolean {
  const char = text[at];
  if (char === '}') return start !== -1;
  return char === '{' && (start !== -1 || !/\s/.test(text[at + 1] ?? ' '));
}

function withoutQuotes(text: string, start: number, end: number): { start: number; end: number } {
  const quote = text[start];
  const isQuoted = (quote === '"' || quote === "'") && end - start > 1 && text.indexOf(quote, start + 1) === end - 1;
  return isQuoted ? { start: start + 1, end: end - 1 } : { start, end };
}
