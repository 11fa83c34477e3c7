// The reading half of SPDY/3 header compression: one zlib stream (RFC 1950, 1951) a direction that starts with the preset dictionary,
// never ends, and is flushed to a byte boundary after each header block. Written here rather than taken from node:zlib because a
// zlib handle costs 50 KB a session and works asynchronously, while header blocks are short, must be in order with the frames around
// them, and come from strangers: output is bounded before it is made. State grows to 32 KiB only if so many header bytes come.
//
//   zlib stream:  78 FLG(FDICT) e3c6a7c2 | block … empty stored block | block … empty stored block | …
//                 first header block only   one header block            the next one

import { Buffer } from 'node:buffer';

import { KexerError } from '../../base/errors.ts';
import { spdyDictionary, spdyDictionaryAdler } from './dictionary.ts';
import { buildCode, fixedDistanceCode, fixedLiteralCode, readSymbol, type HuffmanCode } from './huffman.ts';

/** How far back a deflate distance reaches. */
const windowBytes = 32 * 1024;

/** History is cut back to one window when it has grown to two: the copy is then paid once in 32 KiB of output. */
const maxHistoryBytes = 2 * windowBytes;

const initialHistoryBytes = 256;

const endOfBlock = 256;

/** One for all: each would be two objects. */
const noBytes = Buffer.alloc(0);

/** Section 3.2.5: extra bits and bases of length symbols 257 to 285, and of distance symbols 0 to 29. Each base follows the range before it. */
const lengthExtraBits = Uint8Array.from({ length: 29 }, (_, index) =>
  index < 8 || index === 28 ? 0 : (index >> 2) - 1,
);
const lengthBases = basesFrom(3, lengthExtraBits);
lengthBases[28] = 258; // the one exception: the longest copy has a code of its own
const distanceExtraBits = Uint8Array.from({ length: 30 }, (_, index) => (index < 4 ? 0 : (index >> 1) - 1));
const distanceBases = basesFrom(1, distanceExtraBits);

/** Section 3.2.7: the order in which the lengths of the code length code are sent. */
const codeLengthOrder = Uint8Array.of(16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15);

const maxLiteralCodes = 286;
const maxDistanceCodes = 30;

function basesFrom(first: number, extraBits: Uint8Array): Uint16Array {
  let base = first;
  return Uint16Array.from(extraBits, (bits) => {
    const own = base;
    base += 1 << bits;
    return own;
  });
}

function broken(what: string): KexerError {
  return new KexerError('protocol', `Cannot inflate an SPDY header block: ${what}`);
}

export class HeaderInflater {
  readonly #maxOutputBytes: number;
  #hasZlibHeader = false;
  /** Output so far, at least the last 32 KiB of it, in front of what is being made; the dictionary stands before its first byte. */
  #history: Buffer = noBytes;
  #end = 0; // bytes of #history in use
  #limit = 0; // #end may not pass this while a header block is inflated

  #input: Buffer = noBytes;
  #at = 0; // next byte of #input
  #bits = 0; // bits taken from #input and not yet used, lowest first
  #bitCount = 0;
  readonly #readBit = (): number => this.#read(1);

  constructor(options: { maxOutputBytes: number }) {
    this.#maxOutputBytes = options.maxOutputBytes;
  }

  /**
   * Inflates the compressed bytes of one header block, all of them. The result is valid until the next call.
   * @throws KexerError 'protocol' if they are not deflate, use another dictionary, or do not end with a flush (an empty stored block);
   * 'tooLarge' if they make more than the limit. The stream is unusable after either.
   */
  inflate(compressed: Buffer): Buffer {
    const start = this.#end;
    this.#input = compressed;
    this.#at = 0;
    this.#bits = 0;
    this.#bitCount = 0;
    this.#limit = start + this.#maxOutputBytes;
    this.#readZlibHeader();
    let isFlushed = false;
    while (this.#at < compressed.length) isFlushed = this.#readBlock() === 'flush';
    if (!isFlushed) throw broken('it does not end with a flush');
    this.#input = noBytes; // the caller's bytes are not kept alive by an idle session
    return this.#takeOutput(start);
  }

  #takeOutput(start: number): Buffer {
    const output = this.#history.subarray(start, this.#end);
    if (this.#end > maxHistoryBytes) {
      // A new buffer, as `output` is still in the caller's hands; it also gives back what a large block made it grow to.
      this.#history = Buffer.from(this.#history.subarray(this.#end - windowBytes, this.#end));
      this.#end = windowBytes;
    }
    return output;
  }

  #readZlibHeader(): void {
    if (this.#hasZlibHeader) return;
    const input = this.#input;
    if (input.length < 6) throw broken('the zlib header is cut');
    const head = input.readUInt16BE(0);
    const isDeflate = (head & 0x0f00) === 0x0800 && head >>> 12 <= 7;
    if (!isDeflate || head % 31 !== 0) throw broken('it is not a zlib stream');
    if ((head & 0x20) === 0 || input.readUInt32BE(2) !== spdyDictionaryAdler) {
      throw broken("it does not use SPDY/3's dictionary");
    }
    this.#at = 6;
    this.#hasZlibHeader = true;
  }

  #readBlock(): 'flush' | 'data' {
    const isFinal = this.#read(1) === 1;
    const type = this.#read(2);
    if (isFinal) throw broken('the stream ends');
    switch (type) {
      case 0:
        return this.#readStored();
      case 1:
        this.#readCompressed(fixedLiteralCode, fixedDistanceCode);
        return 'data';
      case 2:
        this.#readDynamic();
        return 'data';
      default:
        throw broken('a block of unknown type');
    }
  }

  #readStored(): 'flush' | 'data' {
    // Stored blocks start at the next byte boundary; fewer than 8 bits are ever held here, so none of them is a whole byte.
    this.#bits = 0;
    this.#bitCount = 0;
    const input = this.#input;
    if (input.length - this.#at < 4) throw broken('a stored block is cut');
    const length = input.readUInt16LE(this.#at);
    if ((input.readUInt16LE(this.#at + 2) ^ length) !== 0xffff) throw broken('lengths of a stored block differ');
    this.#at += 4;
    if (input.length - this.#at < length) throw broken('a stored block is cut');
    this.#reserve(length);
    input.copy(this.#history, this.#end, this.#at, this.#at + length);
    this.#end += length;
    this.#at += length;
    return length === 0 ? 'flush' : 'data';
  }

  #readDynamic(): void {
    const literalCount = this.#read(5) + 257;
    const distanceCount = this.#read(5) + 1;
    const codeLengthCount = this.#read(4) + 4;
    if (literalCount > maxLiteralCodes || distanceCount > maxDistanceCodes) throw broken('too many Huffman codes');
    const codeLengths = new Uint8Array(codeLengthOrder.length);
    for (const symbol of codeLengthOrder.subarray(0, codeLengthCount)) codeLengths[symbol] = this.#read(3);
    const lengths = this.#readCodeLengths(buildCode(codeLengths), literalCount + distanceCount);
    if (lengths[endOfBlock] === 0) throw broken('a block without an end');
    const literals = buildCode(lengths.subarray(0, literalCount));
    const distances = buildCode(lengths.subarray(literalCount));
    this.#readCompressed(literals, distances);
  }

  #readCodeLengths(code: HuffmanCode, count: number): Uint8Array {
    const lengths = new Uint8Array(count);
    let at = 0;
    while (at < count) {
      const symbol = readSymbol(code, this.#readBit);
      if (symbol < 16) {
        lengths[at] = symbol;
        at += 1;
        continue;
      }
      if (symbol === 16 && at === 0) throw broken('a code length repeats nothing');
      const value = symbol === 16 ? (lengths[at - 1] ?? 0) : 0;
      const times = symbol === 16 ? 3 + this.#read(2) : symbol === 17 ? 3 + this.#read(3) : 11 + this.#read(7);
      if (at + times > count) throw broken('too many code lengths');
      lengths.fill(value, at, at + times);
      at += times;
    }
    return lengths;
  }

  #readCompressed(literals: HuffmanCode, distances: HuffmanCode): void {
    for (;;) {
      const symbol = readSymbol(literals, this.#readBit);
      if (symbol === endOfBlock) return;
      if (symbol < endOfBlock) {
        this.#reserve(1);
        this.#history[this.#end] = symbol;
        this.#end += 1;
        continue;
      }
      const length = this.#readExtra(lengthBases, lengthExtraBits, symbol - endOfBlock - 1);
      const distance = this.#readExtra(distanceBases, distanceExtraBits, readSymbol(distances, this.#readBit));
      this.#copy(distance, length);
    }
  }

  #readExtra(bases: Uint16Array, extraBits: Uint8Array, index: number): number {
    const base = bases[index];
    if (base === undefined) throw broken('a reserved symbol');
    return base + this.#read(extraBits[index] ?? 0);
  }

  #copy(distance: number, length: number): void {
    this.#reserve(length);
    let from = this.#end - distance;
    // Once output has been cut off the front, 32 KiB of it are left, and no distance reaches past them into the dictionary.
    if (from < -spdyDictionary.length) throw broken('a distance before the dictionary');
    const history = this.#history;
    for (const end = this.#end + length; this.#end < end; from += 1, this.#end += 1) {
      history[this.#end] = (from < 0 ? spdyDictionary[spdyDictionary.length + from] : history[from]) ?? 0;
    }
  }

  /** Makes room for `count` bytes of output, within the limit. */
  #reserve(count: number): void {
    const needed = this.#end + count;
    if (needed > this.#limit) {
      throw new KexerError(
        'tooLarge',
        `Cannot inflate an SPDY header block: more than ${this.#maxOutputBytes} bytes come out of it`,
      );
    }
    if (needed <= this.#history.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#history.length * 2, initialHistoryBytes));
    this.#history.copy(grown, 0, 0, this.#end);
    this.#history = grown;
  }

  #read(count: number): number {
    while (this.#bitCount < count) {
      const byte = this.#input[this.#at];
      if (byte === undefined) throw broken('it is cut');
      this.#at += 1;
      this.#bits |= byte << this.#bitCount;
      this.#bitCount += 8;
    }
    const value = this.#bits & ((1 << count) - 1);
    this.#bits >>>= count;
    this.#bitCount -= count;
    return value;
  }
}
