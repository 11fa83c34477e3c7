// The content of a header block (draft 3, section 2.6.10), before compression:
//
//   u32 count | u32 length, name | u32 length, value | … `count` times
//
// Names are lower case and occur once; several values of one name are joined by NUL. Text is latin1 on our side, so that any byte
// comes out as it went in.

import { Buffer } from 'node:buffer';

import { KexerError } from '../../base/errors.ts';
import { quote } from '../../base/quote.ts';
import type { HeaderList } from './frame.ts';

const valueSeparator = '\0';

function broken(what: string): KexerError {
  return new KexerError('protocol', `Cannot read an SPDY header block: ${what}`);
}

/** Reads a whole block. @throws KexerError 'protocol' if it has another form, 'tooLarge' above `maxHeaders`. */
export function decodeHeaderBlock(block: Buffer, options: { maxHeaders: number }): HeaderList {
  const { maxHeaders } = options;
  const reader = { block, at: 0 };
  const count = readLength(reader);
  if (count > maxHeaders) throw tooMany(maxHeaders);
  const headers: [string, string][] = [];
  const seen = new Set<string>();
  for (let index = 0; index < count; index += 1) {
    const name = readText(reader);
    if (name === '') throw broken('an empty header name');
    if (/[A-Z]/.test(name)) throw broken(`the header name ${quote(name)} is not lower case`);
    if (seen.has(name)) throw broken(`the header name ${quote(name)} is repeated`);
    seen.add(name);
    const value = readText(reader);
    if (!value.includes(valueSeparator)) {
      headers.push([name, value]);
      continue;
    }
    for (const part of value.split(valueSeparator, maxHeaders + 1)) headers.push([name, part]);
    if (headers.length > maxHeaders) throw tooMany(maxHeaders);
  }
  if (reader.at !== block.length) throw broken(`${block.length - reader.at} bytes are left over`);
  return headers;
}

function tooMany(maxHeaders: number): KexerError {
  return new KexerError('tooLarge', `Cannot read an SPDY header block: it has more than ${maxHeaders} headers`);
}

function readLength(reader: { readonly block: Buffer; at: number }): number {
  if (reader.block.length - reader.at < 4) throw broken('it is cut');
  const length = reader.block.readUInt32BE(reader.at);
  reader.at += 4;
  return length;
}

function readText(reader: { readonly block: Buffer; at: number }): string {
  const length = readLength(reader);
  if (length > reader.block.length - reader.at) throw broken('it is cut');
  const text = reader.block.toString('latin1', reader.at, reader.at + length);
  reader.at += length;
  return text;
}

/** Writes a block. @throws KexerError 'internal' for a name or value that has no form on the wire: what kexer sends it has checked before. */
export function encodeHeaderBlock(headers: HeaderList): Buffer {
  const joined = new Map<string, string>();
  for (const [name, value] of headers) {
    if (name === '' || /[A-Z]/.test(name)) {
      throw new KexerError('internal', `Cannot write the SPDY header ${quote(name)}: want a lower-case name`);
    }
    if (value.includes(valueSeparator)) {
      throw new KexerError('internal', `Cannot write the SPDY header ${quote(name)}: its value has a NUL`);
    }
    const before = joined.get(name);
    joined.set(name, before === undefined ? value : `${before}${valueSeparator}${value}`);
  }
  let length = 4;
  for (const [name, value] of joined) length += 8 + name.length + value.length;
  const block = Buffer.allocUnsafe(length);
  let at = block.writeUInt32BE(joined.size, 0);
  for (const [name, value] of joined) {
    at = writeText(block, at, name);
    at = writeText(block, at, value);
  }
  return block;
}

function writeText(block: Buffer, at: number, text: string): number {
  const start = block.writeUInt32BE(text.length, at);
  return start + block.write(text, start, 'latin1');
}
