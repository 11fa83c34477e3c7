// Names in headers: the bytes of a field are UTF-8 to Kubernetes, latin1 characters to Node. Both directions are exact or refuse: an identity
// that would arrive as another one must not leave.

import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The text in a header value as Node gives it (one character a byte). @throws KexerError badRequest if its bytes are not UTF-8. */
export function decodeHeaderText(value: string): string {
  if (/^[\t\x20-\x7e]*$/.test(value)) return value;
  try {
    return utf8.decode(Buffer.from(value, 'latin1'));
  } catch (cause) {
    throw new KexerError('badRequest', 'Cannot read a header value: it is not UTF-8', { cause });
  }
}

/**
 * The header value that Kubernetes reads as exactly `text`.
 * @throws KexerError forbidden if there is none: control characters, or white space at an end, which HTTP removes.
 */
export function encodeHeaderText(text: string, what: string): string {
  const value = Buffer.from(text, 'utf8').toString('latin1');
  const isExact = text.isWellFormed() && !/[\0-\x08\x0a-\x1f\x7f]/.test(value) && !/^[ \t]|[ \t]$/.test(value);
  if (isExact) return value;
  throw new KexerError('forbidden', `Cannot write the ${what} ${quote(text)} into a header exactly`);
}

/** Bytes of a header name that need no escape (RFC 9110 token characters but `%`), lower case only: servers lower the rest. */
const plainKeyByte = /^[!#$&'*+\-.^_`|~0-9a-z]$/;

/** A key as the end of a header name, as client-go's headerKeyEscape writes it; upper case is escaped too, so that it survives. */
export function escapeExtraKey(key: string): string {
  if (!key.isWellFormed()) throw new KexerError('forbidden', `Cannot write the key ${quote(key)} into a header name`);
  return Array.from(Buffer.from(key, 'utf8'), (byte) => {
    const char = String.fromCharCode(byte);
    return plainKeyByte.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }).join('');
}

/** The key in the end of a header name: lower case first, then percent-decoded; with a bad escape it is taken as it stands. */
export function unescapeExtraKey(escaped: string): string {
  const lower = escaped.toLowerCase();
  if (/%(?![0-9a-f]{2})/.test(lower)) return decodeHeaderText(lower);
  return decodeHeaderText(
    lower.replaceAll(/%([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
  );
}
