// Query strings, strictly. Go drops pairs with a bad escape or a raw `;` silently, so that admission would judge another command than
// the kubelet runs: here such a query is refused. The encoder writes what Go's url.Values.Encode writes: keys sorted, the order of the
// values of one key kept.

import { Buffer } from 'node:buffer';
import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';

export type QueryPair = readonly [key: string, value: string];
export type QueryPairs = readonly QueryPair[];

/**
 * @param raw the part after `?`, undecoded, one character a byte (Node's `req.url`). A `+` is a space; `a` is `a=`; empty pieces
 * (`a&&b`) are skipped, as Go does. @throws KexerError badRequest naming the offence
 */
export function parseQuery(raw: string): QueryPair[] {
  const pairs: QueryPair[] = [];
  for (const piece of raw.split('&')) {
    if (piece === '') continue;
    if (piece.includes(';')) throw refused(piece, 'a semicolon that is not escaped');
    const equals = piece.indexOf('=');
    const key = equals === -1 ? piece : piece.slice(0, equals);
    const value = equals === -1 ? '' : piece.slice(equals + 1);
    pairs.push([unescape(key, piece), unescape(value, piece)]);
  }
  return pairs;
}

/** Spaces, control characters, `#` and what is no byte cannot stand in a request target; a caller that decoded first is found here. */
const unwrittenPattern = /[^\x21\x22\x24-\x7e\x80-\xff]/;
const plainPattern = /^[\x21\x22\x24\x26-\x2a\x2c-\x7e]*$/;
const escapePattern = /%([0-9A-Fa-f]{2})?/g;
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function unescape(text: string, piece: string): string {
  if (plainPattern.test(text)) return text; // nothing to decode: ASCII without `%`, `+`, `#`
  if (unwrittenPattern.test(text)) throw refused(piece, 'a character that may not stand in a URL');
  const bytes = text.replaceAll('+', ' ').replaceAll(escapePattern, (_escape: string, hex: string | undefined) => {
    if (hex === undefined) throw refused(piece, 'an invalid URL escape');
    return String.fromCharCode(Number.parseInt(hex, 16));
  });
  if (bytes.includes('\0')) throw refused(piece, 'a NUL character');
  try {
    return strictUtf8.decode(Buffer.from(bytes, 'latin1'));
  } catch (error) {
    throw refused(piece, 'invalid UTF-8', error);
  }
}

function refused(piece: string, offence: string, cause?: unknown): KexerError {
  const message = `invalid query parameter ${quote(piece, 80)}: it has ${offence}`;
  return new KexerError('badRequest', message, cause === undefined ? undefined : { cause });
}

/** As Go's url.Values.Encode. */
export function encodeQuery(pairs: QueryPairs): string {
  return sortedByKey(pairs)
    .map(([key, value]) => `${queryEscape(key)}=${queryEscape(value)}`)
    .join('&');
}

/** By the bytes of the keys, as Go compares strings; stable, so that values of one key stay in order. */
function sortedByKey(pairs: QueryPairs): QueryPairs {
  return pairs.toSorted(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** As Go's url.QueryEscape: letters, digits and `-_.~` stay, a space becomes `+`, the rest `%XX` of its UTF-8 bytes. */
export function queryEscape(text: string): string {
  return encodeURIComponent(text.toWellFormed())
    .replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+');
}

/** All values of `key`, in order. */
export function queryValues(pairs: QueryPairs, key: string): string[] {
  return pairs.filter(([name]) => name === key).map(([, value]) => value);
}

/** The first value of `key`; Kubernetes reads no other for single-valued options. */
export function firstQueryValue(pairs: QueryPairs, key: string): string | undefined {
  return pairs.find(([name]) => name === key)?.[1];
}
