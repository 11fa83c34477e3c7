// The Huffman code of HPACK (RFC 7541, appendix B). It is canonical: codes of one length are consecutive numbers in the order of their
// symbols, and the first of a length follows from the lengths before it; so the lengths alone say everything. Only decoded here.

import { Buffer } from 'node:buffer';

import { KexerError } from '../../base/errors.ts';

/** Bits of the code of each byte, sixteen a line; and of EOS, which never occurs whole. */
// prettier-ignore
const codeLengths = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
];

const eos = 256;
const longestCode = 30;
const shortestCode = 5;

/** By length: the first code, how many there are, and where their symbols begin in `symbols`. */
const firstCodes: number[] = [];
const counts: number[] = [];
const offsets: number[] = [];
const symbols: number[] = [];

for (let length = 0, code = 0; length <= longestCode; length += 1) {
  offsets.push(symbols.length);
  for (const [symbol, bits] of codeLengths.entries()) if (bits === length) symbols.push(symbol);
  const count = symbols.length - (offsets[length] ?? 0);
  firstCodes.push(code);
  counts.push(count);
  code = (code + count) * 2;
}

/**
 * As latin1: one character a byte.
 * @throws KexerError protocol for EOS, and for what is left at the end and is no padding: up to seven ones.
 */
export function decodeHuffman(bytes: Buffer): string {
  const decoded = Buffer.allocUnsafe(Math.ceil((bytes.length * 8) / shortestCode));
  let size = 0;
  let code = 0;
  let length = 0;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit -= 1) {
      code = code * 2 + ((byte >> bit) & 1);
      length += 1;
      const index = code - (firstCodes[length] ?? 0);
      if (index >= (counts[length] ?? 0)) {
        // The codes fill the space of 30 bits: whatever is longer than their longest does not exist.
        continue;
      }
      const symbol = symbols[(offsets[length] ?? 0) + index] ?? eos;
      if (symbol === eos) throw new KexerError('protocol', 'Cannot decode a header: its text holds the code of EOS');
      decoded[size] = symbol;
      size += 1;
      code = 0;
      length = 0;
    }
  }
  if (length > 7 || code !== 2 ** length - 1) {
    throw new KexerError('protocol', 'Cannot decode a header: its text ends in the middle of a code');
  }
  return decoded.toString('latin1', 0, size);
}
