// Lists to header blocks of HTTP/2 (HPACK, RFC 7541) without any state: entries of the static table and literals that enter no table. Fields
// of many callers share a connection here, and a table that both a secret and a stranger's guess go through tells by lengths whether the
// guess was right (section 7.1); what has no table tells nothing.

import { Buffer } from 'node:buffer';

import type { RawHeaders } from '../raw-headers.ts';
import { staticHeaders } from './header-table.ts';

/** Literals whose name no later hop may put into a table either. */
const secretNames: ReadonlySet<string> = new Set(['authorization', 'cookie', 'proxy-authorization']);

interface StaticEntries {
  /** Of several entries with a name the first. */
  readonly index: number;
  readonly byValue: Map<string, number>;
}

const entriesByName: ReadonlyMap<string, StaticEntries> = staticEntries();

/** A table of no bytes: to be written once, in front of a connection's first block, so that the peer keeps none. */
export const noTable: Buffer = Buffer.from([0x20]);

/** Of one integer: a prefix that is full and lengths up to 2 ** 31. */
const maxIntegerBytes = 6;

/** More than the block of `headers` can take. */
export function headerBlockBound(headers: RawHeaders): number {
  let bytes = 0;
  for (const [name, value] of headers) bytes += name.length + value.length + 3 * maxIntegerBytes;
  return bytes;
}

/**
 * Writes the block from `at` on. Names must be in lower case, values latin1; both are written as they are.
 * @param target with room for {@link headerBlockBound}.
 * @returns where the block ends.
 */
export function writeHeaderBlock(target: Buffer, at: number, headers: RawHeaders): number {
  let end = at;
  for (const [name, value] of headers) {
    const isSecret = secretNames.has(name);
    const entries = entriesByName.get(name);
    const exact = isSecret ? undefined : entries?.byValue.get(value);
    if (exact !== undefined) {
      end = writeInteger(target, end, 0x80, 7, exact);
      continue;
    }
    end = writeInteger(target, end, isSecret ? 0x10 : 0, 4, entries?.index ?? 0);
    if (entries === undefined) end = writeText(target, end, name);
    end = writeText(target, end, value);
  }
  return end;
}

/** As {@link writeHeaderBlock}, in memory of its own. */
export function encodeHeaderBlock(headers: RawHeaders): Buffer {
  const target = Buffer.allocUnsafe(headerBlockBound(headers));
  return target.subarray(0, writeHeaderBlock(target, 0, headers));
}

/** Section 5.1. */
function writeInteger(target: Buffer, at: number, pattern: number, prefixBits: number, value: number): number {
  const full = 2 ** prefixBits - 1;
  if (value < full) {
    target[at] = pattern | value;
    return at + 1;
  }
  let end = at;
  target[end++] = pattern | full;
  let rest = value - full;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) target[end++] = (rest % 0x80) | 0x80;
  target[end++] = rest;
  return end;
}

/** Section 5.2, without Huffman: heads are few and their bytes cheap. */
function writeText(target: Buffer, at: number, value: string): number {
  const from = writeInteger(target, at, 0, 7, value.length);
  return from + target.write(value, from, 'latin1');
}

function staticEntries(): ReadonlyMap<string, StaticEntries> {
  const entries = new Map<string, StaticEntries>();
  for (const [position, [name, value]] of staticHeaders.entries()) {
    const known = entries.get(name) ?? { index: position + 1, byValue: new Map<string, number>() };
    entries.set(name, known);
    if (!known.byValue.has(value)) known.byValue.set(value, position + 1);
  }
  return entries;
}
