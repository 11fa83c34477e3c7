// Canonical Huffman codes of deflate (RFC 1951, section 3.2.2) as two small arrays: how many codes each length has, and the symbols in
// code order. Decoding walks the lengths bit by bit. That is slower than a lookup table and costs 40 bytes instead of kilobytes:
// header blocks are a hundred bytes, sessions are many.

import { KexerError } from '../../base/errors.ts';

/** Deflate codes have at most 15 bits. */
const maxCodeBits = 15;

export interface HuffmanCode {
  /** Number of codes of each length; index 0 counts the symbols that have none. */
  readonly counts: Uint16Array;
  /** Symbols ordered by length, then by value. */
  readonly symbols: Uint16Array;
}

/**
 * Builds the code that `lengths` describes.
 * @throws KexerError 'protocol' if it is over-subscribed, or incomplete in any way but the one zlib and Go accept: a single code of one bit.
 */
export function buildCode(lengths: Uint8Array): HuffmanCode {
  const counts = new Uint16Array(maxCodeBits + 1);
  for (const length of lengths) counts[length] = (counts[length] ?? 0) + 1;

  let free = 1; // codes of the current length that are not taken yet
  for (let length = 1; length <= maxCodeBits; length += 1) {
    free = free * 2 - (counts[length] ?? 0);
    if (free < 0) throw new KexerError('protocol', 'Cannot inflate an SPDY header block: over-subscribed Huffman code');
  }
  const used = lengths.length - (counts[0] ?? 0);
  const isSingle = used === 1 && counts[1] === 1;
  if (free > 0 && used > 0 && !isSingle) {
    throw new KexerError('protocol', 'Cannot inflate an SPDY header block: incomplete Huffman code');
  }

  const next = new Uint16Array(maxCodeBits + 2); // where the next symbol of each length goes
  for (let length = 1; length <= maxCodeBits; length += 1) {
    next[length + 1] = (next[length] ?? 0) + (counts[length] ?? 0);
  }
  const symbols = new Uint16Array(used);
  for (let symbol = 0; symbol < lengths.length; symbol += 1) {
    const length = lengths[symbol] ?? 0;
    if (length === 0) continue;
    const place = next[length] ?? 0;
    symbols[place] = symbol;
    next[length] = place + 1;
  }
  return { counts, symbols };
}

/** Reads one symbol; `readBit` gives the next bit of the stream. @throws KexerError 'protocol' if no code of 15 bits or fewer matches. */
export function readSymbol(code: HuffmanCode, readBit: () => number): number {
  let bits = 0;
  let first = 0; // first code of the current length
  let index = 0; // its place in `symbols`
  for (let length = 1; length <= maxCodeBits; length += 1) {
    bits |= readBit();
    const count = code.counts[length] ?? 0;
    if (bits - first < count) return code.symbols[index + bits - first] ?? 0;
    index += count;
    first = (first + count) << 1;
    bits <<= 1;
  }
  throw new KexerError('protocol', 'Cannot inflate an SPDY header block: bits that are no Huffman code');
}

function fixedLiteralLengths(): Uint8Array {
  return new Uint8Array(288).fill(8, 0, 144).fill(9, 144, 256).fill(7, 256, 280).fill(8, 280);
}

/** The codes of blocks of type 1 (section 3.2.6). Symbols 286, 287 and distances 30, 31 take part and are refused when they occur. */
export const fixedLiteralCode: HuffmanCode = buildCode(fixedLiteralLengths());
export const fixedDistanceCode: HuffmanCode = buildCode(new Uint8Array(32).fill(5));
