// Secrets that show themselves inside any text, whatever program reads it: user info in URLs, `password=…` and `"token": "…"` pairs,
// Authorization headers, bearer tokens, private keys. Every search goes forward through the text once: a stranger chooses the text, and
// a pattern that backtracks would let them choose the time too.

import type { Marks } from './marks.ts';
import { isSecretName, maxNameLength } from './secret-name.ts';

/** Marks what is secret in `text`; `offset` is where the text stands in what `marks` are about. */
export function markText(text: string, offset: number, marks: Marks): void {
  markUserInfo(text, offset, marks);
  markPairs(text, offset, marks);
  markSchemes(text, offset, marks);
  markShapes(text, offset, marks);
  markPrivateKeys(text, offset, marks);
  markSql(text, offset, marks);
}

/** `scheme://user:password@host`: everything between `//` and the last `@` of the authority. */
function markUserInfo(text: string, offset: number, marks: Marks): void {
  for (let at = text.indexOf('://'); at !== -1; at = text.indexOf('://', at + 3)) {
    const start = at + 3;
    const end = endOf(text, start, /[\s/?#'"<>]/g);
    const sign = text.slice(start, end).lastIndexOf('@');
    if (sign > 0) marks.add(offset + start, offset + start + sign);
  }
}

/** `name=value`, `name: value` and `"name": "value"` with a name that says what it is. */
function markPairs(text: string, offset: number, marks: Marks): void {
  const separator = /[=:]/g;
  for (let found = separator.exec(text); found !== null; found = separator.exec(text)) {
    if (!isSecretName(nameBefore(text, found.index))) continue;
    const [start, end] = valueAfter(text, found.index);
    marks.add(offset + start, offset + end);
    separator.lastIndex = Math.max(separator.lastIndex, end);
  }
}

/** The name that ends at `end`, spaces and a closing quote between left out. */
function nameBefore(text: string, end: number): string {
  let stop = end;
  while (stop > 0 && end - stop < 4 && /[\s'"\\]/.test(text[stop - 1] ?? '')) stop -= 1;
  let start = stop;
  while (start > 0 && stop - start <= maxNameLength && /[\w.-]/.test(text[start - 1] ?? '')) start -= 1;
  return text.slice(start, stop);
}

/** What follows a separator: a quoted string, or everything up to what may end a value there. */
function valueAfter(text: string, separatorAt: number): readonly [start: number, end: number] {
  const isHeader = text[separatorAt] === ':';
  let start = separatorAt + 1;
  while (text[start] === ' ' || text[start] === '\t') start += 1;
  // In JSON that is itself in quotes the quotes have backslashes.
  const escape = text[start] === '\\' ? '\\' : '';
  const quote = text[start + escape.length];
  if (quote === '"' || quote === "'") {
    const from = start + escape.length + 1;
    return [from, escape === '' ? closingQuote(text, from, quote) : indexOrEnd(text, `${escape}${quote}`, from)];
  }
  // A header's value has spaces and commas in it; a parameter's ends there.
  return [start, endOf(text, start, isHeader ? /[\r\n'"}]/g : /[\s&;,'"]/g)];
}

function closingQuote(text: string, from: number, quote: string): number {
  for (let at = from; at < text.length; at += 1) {
    if (text[at] === quote) return at;
    if (text[at] === '\\') at += 1;
  }
  return text.length;
}

function indexOrEnd(text: string, wanted: string, from: number): number {
  const at = text.indexOf(wanted, from);
  return at === -1 ? text.length : at;
}

/** `Bearer TOKEN` and `Basic BASE64` without a header's name before them. */
function markSchemes(text: string, offset: number, marks: Marks): void {
  for (const found of text.matchAll(/\b(bearer|basic)[ \t]/gi)) {
    let start = found.index + found[0].length;
    while (text[start] === ' ' || text[start] === '\t') start += 1;
    const end = endOf(text, start, /[\s'",;]/g);
    // `basic` is also a plain word.
    if (found[1]?.toLowerCase() === 'bearer' || /^[\w+/-]{8,}={0,2}$/.test(text.slice(start, end))) {
      marks.add(offset + start, offset + end);
    }
  }
}

/** How tokens of well-known issuers begin. */
const tokenPrefixes: readonly string[] = [
  'ghp_',
  'gho_',
  'ghs_',
  'ghu_',
  'github_pat_',
  'glpat-',
  'hvs.',
  'npm_',
  'sk_live_',
  'xapp-',
  'xoxa-',
  'xoxb-',
  'xoxp-',
];

/** Tokens without a name: JWTs, and those with a prefix of their issuer. */
function markShapes(text: string, offset: number, marks: Marks): void {
  for (const { 0: run, index } of text.matchAll(/[\w.~+/-]+/g)) {
    // A JWT's first bytes are `{"` in base64url.
    const jwt = run.indexOf('eyJ');
    if (jwt !== -1 && run.includes('.', jwt)) marks.add(offset + index + jwt, offset + index + run.length);
    for (const prefix of tokenPrefixes) {
      const at = run.indexOf(prefix);
      if (at !== -1) marks.add(offset + index + at, offset + index + run.length);
    }
  }
}

function markPrivateKeys(text: string, offset: number, marks: Marks): void {
  const begin = '-----BEGIN ';
  for (let at = text.indexOf(begin); at !== -1; at = text.indexOf(begin, at + begin.length)) {
    const head = text.slice(at, at + 64);
    const start = head.indexOf('PRIVATE KEY-----');
    if (start === -1) continue;
    const end = text.indexOf('-----END ', at);
    marks.add(offset + at + start + 'PRIVATE KEY-----'.length, offset + (end === -1 ? text.length : end));
    if (end === -1) return;
  }
}

/** Where the first character of `stop` stands from `from` on, or the end of the text. */
function endOf(text: string, from: number, stop: RegExp): number {
  stop.lastIndex = from;
  return stop.exec(text)?.index ?? text.length;
}

/** `IDENTIFIED BY 'password'` and `PASSWORD 'password'`. */
function markSql(text: string, offset: number, marks: Marks): void {
  const start = /\b(?:identified\s{1,8}by|password)\s{1,8}(?:password\s{1,8})?(['"])/gi;
  for (const found of text.matchAll(start)) {
    const from = found.index + found[0].length;
    marks.add(offset + from, offset + closingQuote(text, from, found[1] ?? "'"));
  }
}
