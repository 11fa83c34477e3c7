// HTTP/1.1 heads between bytes and values, strictly by RFC 9112: lines end in CRLF, no folding, no whitespace before the colon, no
// control characters in values. What has more than one reading is refused, since two hops that read a head differently are how requests
// are smuggled. Header order, case and repetition are kept; text is latin1, one character a byte.

import { Buffer } from 'node:buffer';
import { KexerError } from '../base/errors.ts';
import { STATUS_CODES } from '../base/node-http.ts';
import { quote } from '../base/quote.ts';
import { getAllHeaders, hasHeader, type RawHeader, type RawHeaders, trimSpace } from './raw-headers.ts';

export interface RequestHead {
  readonly method: string;
  readonly target: string;
  readonly headers: RawHeaders;
  /** The bytes as they came, the empty line included. */
  readonly raw: Buffer;
}

export interface ResponseHead {
  readonly status: number;
  readonly reason: string;
  readonly headers: RawHeaders;
  /** The bytes as they came, the empty line included. */
  readonly raw: Buffer;
}

export interface HeadLimits {
  /** Bytes of the whole head, the empty line included. */
  readonly maxHeadBytes: number;
  readonly maxHeaders: number;
}

export const defaultHeadLimits: HeadLimits = Object.freeze({ maxHeadBytes: 64 * 1024, maxHeaders: 200 });

const headEnd = '\r\n\r\n';

/** token of RFC 9110, section 5.6.2: methods and header names. */
const tokenPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Visible ASCII and bytes above it: a request target holds no space and no control character. */
const targetPattern = /^[\x21-\x7e\x80-\xff]+$/;
/** field-value: tab, space, visible ASCII, bytes above. */
const valuePattern = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Finds the end of a head in bytes that come in pieces. One collector reads one head. */
export class HeadCollector {
  readonly #maxHeadBytes: number;
  #held: Buffer = Buffer.alloc(0);

  constructor(limits: Partial<HeadLimits> = {}) {
    this.#maxHeadBytes = limits.maxHeadBytes ?? defaultHeadLimits.maxHeadBytes;
  }

  /** Bytes held of a head that is not whole yet. */
  get length(): number {
    return this.#held.length;
  }

  /** The head and all bytes after it, or undefined while the head is not whole. @throws KexerError tooLarge */
  acceptChunk(chunk: Buffer): { raw: Buffer; rest: Buffer } | undefined {
    // The end may straddle the border by up to three bytes; what was searched before that is not searched again.
    const from = Math.max(0, this.#held.length - (headEnd.length - 1));
    // Copying is quadratic only in the number of pieces of one head, and the limit bounds it.
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const at = this.#held.indexOf(headEnd, from, 'latin1');
    const length = at === -1 ? this.#held.length : at + headEnd.length;
    if (length > this.#maxHeadBytes) {
      throw new KexerError(
        'tooLarge',
        `Cannot read an HTTP head: over ${length} bytes, want at most ${this.#maxHeadBytes}`,
      );
    }
    if (at === -1) return undefined;
    return { raw: this.#held.subarray(0, length), rest: this.#held.subarray(length) };
  }
}

/** A whole head, `raw` ending with the empty line. @throws KexerError protocol, tooLarge */
export function parseRequestHead(raw: Buffer, limits: Partial<HeadLimits> = {}): RequestHead {
  const { startLine, headers } = splitHead(raw, limits);
  const parts = startLine.split(' ');
  const [method = '', target = '', version = ''] = parts;
  if (parts.length !== 3 || !tokenPattern.test(method) || !targetPattern.test(target)) {
    throw nonsense('request line', startLine, 'METHOD TARGET HTTP/1.1');
  }
  if (version !== 'HTTP/1.1') throw nonsense('HTTP version', version, 'HTTP/1.1');
  const hosts = getAllHeaders(headers, 'Host').length;
  if (hosts !== 1) throw new KexerError('protocol', `Cannot read a request head: ${hosts} Host headers, want 1`);
  return { method, target, headers, raw };
}

/**
 * A whole head, `raw` ending with the empty line. HTTP/1.0 is read too (some load balancers refuse in it), but only with framing
 * that version knows. @throws KexerError protocol, tooLarge
 */
export function parseResponseHead(raw: Buffer, limits: Partial<HeadLimits> = {}): ResponseHead {
  const { startLine, headers } = splitHead(raw, limits);
  const match = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: (.*))?$/.exec(startLine);
  if (match === null || !valuePattern.test(match[3] ?? ''))
    throw nonsense('status line', startLine, 'HTTP/1.1 CODE REASON');
  const status = Number(match[2]);
  if (match[1] === '0' && (status === 101 || hasHeader(headers, 'Transfer-Encoding'))) {
    throw new KexerError('protocol', 'Cannot read a response head: HTTP/1.0 with a feature of HTTP/1.1');
  }
  return { status, reason: match[3] ?? '', headers, raw };
}

function splitHead(raw: Buffer, limits: Partial<HeadLimits>): { startLine: string; headers: RawHeader[] } {
  const maxHeadBytes = limits.maxHeadBytes ?? defaultHeadLimits.maxHeadBytes;
  const maxHeaders = limits.maxHeaders ?? defaultHeadLimits.maxHeaders;
  if (raw.length > maxHeadBytes) {
    throw new KexerError('tooLarge', `Cannot read an HTTP head: ${raw.length} bytes, want at most ${maxHeadBytes}`);
  }
  const text = raw.toString('latin1');
  if (!text.endsWith(headEnd) || text.indexOf(headEnd) !== text.length - headEnd.length) {
    throw new KexerError('protocol', 'Cannot read an HTTP head: want one empty line, at the end');
  }
  const [startLine = '', ...lines] = text.slice(0, -headEnd.length).split('\r\n');
  if (lines.length > maxHeaders) {
    throw new KexerError('tooLarge', `Cannot read an HTTP head: ${lines.length} headers, want at most ${maxHeaders}`);
  }
  return { startLine, headers: lines.map(parseHeaderLine) };
}

/** A line that starts with a space (folding) fails as a name that is no token; a bare CR or LF as a value with a control character. */
function parseHeaderLine(line: string): RawHeader {
  const colon = line.indexOf(':');
  const name = line.slice(0, Math.max(0, colon));
  const value = trimSpace(line.slice(colon + 1));
  if (!tokenPattern.test(name) || !valuePattern.test(value)) throw nonsense('header line', line, 'NAME: VALUE');
  return [name, value];
}

function nonsense(what: string, seen: string, want: string): KexerError {
  return new KexerError('protocol', `Cannot read an HTTP head: ${what} ${quote(seen, 80)}, want ${want}`);
}

/** @throws KexerError protocol if a part would inject bytes (CR, LF, NUL) or is not what its place allows */
export function encodeRequestHead(head: { method: string; target: string; headers: RawHeaders }): Buffer {
  if (!tokenPattern.test(head.method) || !targetPattern.test(head.target)) {
    throw unwritable('request line', `${head.method} ${head.target}`);
  }
  return encodeHead(`${head.method} ${head.target} HTTP/1.1`, head.headers);
}

/** `reason` defaults to the standard phrase. @throws KexerError protocol if a part would inject bytes (CR, LF, NUL) */
export function encodeResponseHead(head: { status: number; reason?: string; headers: RawHeaders }): Buffer {
  const reason = head.reason ?? STATUS_CODES[head.status] ?? '';
  if (!Number.isInteger(head.status) || head.status < 100 || head.status > 999 || !valuePattern.test(reason)) {
    throw unwritable('status line', `${head.status} ${reason}`);
  }
  return encodeHead(`HTTP/1.1 ${head.status} ${reason}`, head.headers);
}

function encodeHead(startLine: string, headers: RawHeaders): Buffer {
  let text = `${startLine}\r\n`;
  for (const [name, value] of headers) {
    if (!tokenPattern.test(name) || !valuePattern.test(value)) throw unwritable('header', `${name}: ${value}`);
    text += `${name}: ${value}\r\n`;
  }
  return Buffer.from(`${text}\r\n`, 'latin1');
}

function unwritable(what: string, seen: string): KexerError {
  return new KexerError(
    'protocol',
    `Cannot write an HTTP head: ${what} ${quote(seen, 80)} has a character that may not be there`,
  );
}
