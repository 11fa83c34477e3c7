// Secrets in a command: by what its words mean to the program that gets them. Knows flags with a name that says secret (`--password=X`,
// `--token X`), assignments (`PGPASSWORD=X`), single letters (`-pX`), users with passwords (`-u name:X`), and looks into scripts
// (`sh -c '…'`) as a shell would. Whatever any text may hold (URLs, headers, JSON) is looked for in every word besides.

import type { Marks } from './marks.ts';
import { secretFlags, shells, wrappers } from './programs.ts';
import { isSecretName } from './secret-name.ts';
import { isSplittable, shellWords } from './shell-words.ts';
import { markText } from './text.ts';

/** A word to be judged, and where its text stands. */
interface Word {
  readonly text: string;
  readonly offset: number;
  readonly marks: Marks;
  readonly isFirst: boolean;
}

/** What the next word is. */
type Pending = 'nothing' | 'secret' | 'userAndPassword' | 'script';

/** A script in a script in a script; nobody writes deeper ones, and what is deeper is not shown. */
const maxDepth = 4;

/** Marks secrets in the words of one command; `marks[i]` are about `words[i]`. */
export function markCommand(words: readonly string[], marks: readonly Marks[]): void {
  const judged: Word[] = [];
  for (const [index, text] of words.entries()) {
    const own = marks[index];
    if (own !== undefined) judged.push({ text, offset: 0, marks: own, isFirst: index === 0 });
  }
  judge(judged, 0);
}

function judge(words: readonly Word[], depth: number): void {
  let program: string | undefined;
  let pending: Pending = 'nothing';
  for (const word of words) {
    if (word.isFirst) {
      program = undefined;
      pending = 'nothing';
    }
    if (pending === 'secret') {
      word.marks.add(word.offset, word.offset + word.text.length);
      pending = 'nothing';
      continue;
    }
    if (pending === 'script') {
      // Not one word but commands: what begins with `PASSWORD=` goes on after it.
      lookInside(word, depth);
      pending = 'nothing';
      continue;
    }
    if (pending === 'userAndPassword') markAfterUser(word, 0);
    pending = judgeWord(word, program ?? '');
    program ??= programIn(word.text);
    lookInside(word, depth);
  }
}

/** The program a word names; undefined for what stands before it. */
function programIn(text: string): string | undefined {
  if (text.startsWith('-') || /^\w+=/.test(text)) return undefined;
  const name = text.slice(text.lastIndexOf('/') + 1);
  return wrappers.has(name) ? undefined : name;
}

/** @returns what the word after it is. */
function judgeWord(word: Word, program: string): Pending {
  const { text } = word;
  const named = /^(-{0,2})([A-Za-z_][\w.-]*)(=?)/.exec(text);
  if (named === null) return 'nothing';
  const [whole, dashes = '', name = '', equals = ''] = named;
  // `-psecret` and `-password` look alike: what is not surely a name is judged as a letter with its value, too.
  const isWhole = equals !== '' || whole === text; // `-pw%x` is a letter with a value that begins like a name
  const isLetter = dashes === '-' && !(isWhole && /^pass(?:in|out|phrase|wd|word)?$|^pwd?$/i.test(name));
  const next = isLetter ? judgeLetter(word, program) : 'nothing';
  if (next !== 'nothing') return next;
  if (equals !== '') {
    if (isSecretName(name)) markFrom(word, whole.length);
    else if (dashes !== '' && isUserFlag(name)) markAfterUser(word, whole.length);
  } else if (dashes !== '' && whole === text && name.length > 1) {
    if (isSecretName(name)) return 'secret';
    if (isUserFlag(name)) return 'userAndPassword';
  }
  return 'nothing';
}

/** `-pX`, `-p X`, `-u name:X`, `sh -c X`. */
function judgeLetter(word: Word, program: string): Pending {
  const { text } = word;
  const letter = text[1] ?? '';
  if (shells.has(program) && /^-[a-z]*c$/.test(text)) return 'script';
  if (secretFlags(program).includes(letter)) {
    if (text.length === 2) return 'secret';
    markFrom(word, 2);
  } else if (letter === 'u' || letter === 'U') {
    if (text.length === 2) return 'userAndPassword';
    markAfterUser(word, 2);
  }
  return 'nothing';
}

function isUserFlag(name: string): boolean {
  return /^(?:proxy-?)?user(?:pwd|name)?$/i.test(name);
}

/** `name:password`, and `name%password` as Samba writes it. */
function markAfterUser(word: Word, from: number): void {
  const at = word.text.slice(from).search(/[:%]/);
  if (at !== -1) markFrom(word, from + at + 1);
}

function markFrom({ text, offset, marks }: Word, from: number): void {
  marks.add(offset + from, offset + text.length);
}

/** What any text may hold, and the commands of a script. */
function lookInside(word: Word, depth: number): void {
  const { text, offset, marks } = word;
  if (depth === 0) markText(text, offset, marks);
  if (!isSplittable(text)) return;
  if (depth === maxDepth) {
    markFrom(word, 0);
    return;
  }
  const inner = shellWords(text).map(({ start, end, isFirst }) => ({
    text: text.slice(start, end),
    offset: offset + start,
    marks,
    isFirst,
  }));
  const [only] = inner;
  // One word that is the whole text again would be judged forever.
  if (inner.length === 1 && only !== undefined && only.text.length === text.length) return;
  judge(inner, depth + 1);
}
