// Header blocks of HTTP/2 to lists (HPACK, RFC 7541). One decoder for one direction of a connection: blocks share a table, so each must go
// through here in order, whatever becomes of its stream. An error is the connection's end.

import type { Buffer } from 'node:buffer';

import { KexerError } from '../../base/errors.ts';
import type { RawHeader } from '../raw-headers.ts';
import { staticHeaders } from './header-table.ts';
import { decodeHuffman } from './huffman.ts';

export interface DecodedBlock {
  /** Pseudo headers (`:status`) included, names as they were sent, values as latin1. */
  readonly headers: readonly RawHeader[];
  /** The list is longer than the limit; `headers` has its beginning. */
  readonly isTooLarge: boolean;
}

export interface HeaderDecoderOptions {
  /** SETTINGS_HEADER_TABLE_SIZE; the protocol's own default is 4096. */
  readonly maxTableBytes?: number;
  /** Of one list, as SETTINGS_MAX_HEADER_LIST_SIZE counts: names, values and 32 for each. */
  readonly maxListBytes: number;
}

const entryOverheadBytes = 32;
/** Above every length and index that can be right, and exact in shifts. */
const maxInteger = 2 ** 28;

export class HeaderDecoder {
  readonly #maxTableBytes: number;
  readonly #maxListBytes: number;
  /** Newest first. */
  readonly #table: RawHeader[];
  #tableBytes: number;
  #tableLimit: number;

  constructor(options: HeaderDecoderOptions) {
    this.#maxTableBytes = options.maxTableBytes ?? 4096;
    this.#maxListBytes = options.maxListBytes;
    this.#table = [];
    this.#tableBytes = 0;
    this.#tableLimit = this.#maxTableBytes;
  }

  /**
   * One whole block.
   *
   *   1xxxxxxx  an entry of the tables         01xxxxxx  a field that enters the table
   *   001xxxxx  a new size of the table        000xxxxx  a field that does not
   *
   * @throws KexerError protocol: nothing after it can be understood.
   */
  decode(block: Buffer): DecodedBlock {
    const reader = new BlockReader(block);
    const headers: RawHeader[] = [];
    let listBytes = 0;
    let isFirst = true;
    while (!reader.isAtEnd) {
      const first = reader.peek();
      let header: RawHeader;
      if (first >= 0x80) {
        header = this.#entry(reader.integer(7));
      } else if (first >= 0x40) {
        header = this.#field(reader, 6);
        this.#insert(header);
      } else if (first >= 0x20) {
        if (!isFirst) throw broken('a change of the table is not at its beginning');
        this.#resize(reader.integer(5));
        continue;
      } else {
        header = this.#field(reader, 4);
      }
      isFirst = false;
      listBytes += sizeOf(header);
      if (listBytes <= this.#maxListBytes) headers.push(header);
    }
    return { headers, isTooLarge: listBytes > this.#maxListBytes };
  }

  #field(reader: BlockReader, prefixBits: number): RawHeader {
    const index = reader.integer(prefixBits);
    const name = index === 0 ? reader.text() : this.#entry(index)[0];
    return [name, reader.text()];
  }

  #entry(index: number): RawHeader {
    const entry =
      index <= staticHeaders.length ? staticHeaders[index - 1] : this.#table[index - staticHeaders.length - 1];
    if (entry === undefined) throw broken(`there is no entry ${index} in its tables`);
    return entry;
  }

  #insert(header: RawHeader): void {
    const size = sizeOf(header);
    this.#evict(this.#tableLimit - size);
    // One that is larger than the whole table only empties it.
    if (size > this.#tableLimit) return;
    this.#table.unshift(header);
    this.#tableBytes += size;
  }

  #resize(limit: number): void {
    if (limit > this.#maxTableBytes) throw broken(`its table is to have ${limit} bytes`);
    this.#tableLimit = limit;
    this.#evict(limit);
  }

  #evict(limit: number): void {
    while (this.#tableBytes > limit) {
      const oldest = this.#table.pop();
      if (oldest === undefined) return;
      this.#tableBytes -= sizeOf(oldest);
    }
  }
}

/** Reads integers and texts of one block; each read fails at the block's end. */
class BlockReader {
  readonly #block: Buffer;
  #at: number;

  constructor(block: Buffer) {
    this.#block = block;
    this.#at = 0;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#block.length;
  }

  peek(): number {
    const byte = this.#block[this.#at];
    if (byte === undefined) throw broken('it is cut');
    return byte;
  }

  /** Section 5.1: what the prefix cannot hold follows in groups of seven bits, the lowest first. */
  integer(prefixBits: number): number {
    const full = 2 ** prefixBits - 1;
    let value = this.#byte() & full;
    if (value < full) return value;
    for (let shift = 0; ; shift += 7) {
      const byte = this.#byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (value > maxInteger || shift > 28) throw broken('a number in it is too large');
      if (byte < 0x80) return value;
    }
  }

  /** Section 5.2. */
  text(): string {
    const isHuffman = this.peek() >= 0x80;
    const length = this.integer(7);
    const from = this.#at;
    if (from + length > this.#block.length) throw broken('it is cut');
    this.#at += length;
    if (isHuffman) return decodeHuffman(this.#block.subarray(from, this.#at));
    return this.#block.toString('latin1', from, this.#at);
  }

  #byte(): number {
    const byte = this.peek();
    this.#at += 1;
    return byte;
  }
}

function sizeOf([name, value]: RawHeader): number {
  return name.length + value.length + entryOverheadBytes;
}

function broken(problem: string): KexerError {
  return new KexerError('protocol', `Cannot decode a header block: ${problem}`);
}
