// Lists to header blocks of HTTP/2 (HPACK, RFC 7541) without any state: entries of the static table and literals that enter no table. Fields
// of many callers share a connection here, and a table that both a secret and a stranger's guess go through tells by lengths whether the
// guess was right (section 7.1); what has no table tells nothing.

import { Buffer } from 'node:buffer';

import type { RawHeaders } from '../raw-headers.ts';
import { staticHeaders } from './header-table.ts';

/** Literals whose name no later hop may put into a table either. */
const secretNames: ReadonlySet<string> = new Set(['authorization', 'cookie', 'proxy-authorization']);

const exactIndexes = new Map(staticHeaders.map(([name, value], index) => [`${name}\0${value}`, index + 1]));
/** Of several entries with a name the first. */
const nameIndexes = new Map(staticHeaders.map(([name], index) => [name, index + 1] as const).toReversed());

/** A table of no bytes: to be written once, in front of a connection's first block, so that the peer keeps none. */
export const noTable: Buffer = Buffer.from([0x20]);

/** Names must be in lower case, values latin1; both are written as they are. */
export function encodeHeaderBlock(headers: RawHeaders): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of headers) {
    const exact = secretNames.has(name) ? undefined : exactIndexes.get(`${name}\0${value}`);
    if (exact !== undefined) {
      parts.push(integer(0x80, 7, exact));
      continue;
    }
    const index = nameIndexes.get(name) ?? 0;
    parts.push(integer(secretNames.has(name) ? 0x10 : 0, 4, index));
    if (index === 0) parts.push(...text(name));
    parts.push(...text(value));
  }
  return Buffer.concat(parts);
}

/** Section 5.1. */
function integer(pattern: number, prefixBits: number, value: number): Buffer {
  const full = 2 ** prefixBits - 1;
  if (value < full) return Buffer.from([pattern | value]);
  const bytes = [pattern | full];
  let rest = value - full;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** Section 5.2, without Huffman: heads are few and their bytes cheap. */
function text(value: string): [Buffer, Buffer] {
  return [integer(0, 7, value.length), Buffer.from(value, 'latin1')];
}
