// DER by hand (ITU-T X.690), as much of it as a certificate takes: each function makes one element of its parts, whole and in memory. The
// other direction is der.ts. Nothing is checked but what would make bytes that no reader agrees on.

import { Buffer } from 'node:buffer';

/** One element: tag, length, content. `tag` is the identifier octet as it is written. */
export function element(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag]), lengthOctets(content.length), content]);
}

export function sequence(...parts: readonly Buffer[]): Buffer {
  return element(0x30, ...parts);
}

export function setOf(part: Buffer): Buffer {
  return element(0x31, part);
}

/** Context-specific and constructed: what ASN.1 modules write as `[number] EXPLICIT`. */
export function explicit(number: number, part: Buffer): Buffer {
  return element(0xa0 | number, part);
}

/** Context-specific and primitive: `[number] IMPLICIT` of a string type. */
export function implicit(number: number, content: Buffer): Buffer {
  return element(0x80 | number, content);
}

export function boolean(value: boolean): Buffer {
  return element(0x01, Buffer.from([value ? 0xff : 0]));
}

/** A non-negative INTEGER from its bytes, big endian. */
export function unsignedInteger(bytes: Buffer): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start += 1;
  const digits = bytes.subarray(start);
  // A first bit that is set would make it negative.
  return (digits[0] ?? 0x80) >= 0x80 ? element(0x02, Buffer.from([0]), digits) : element(0x02, digits);
}

export function nullElement(): Buffer {
  return element(0x05);
}

export function octetString(content: Buffer): Buffer {
  return element(0x04, content);
}

/** Whole bytes. */
export function bitString(content: Buffer): Buffer {
  return element(0x03, Buffer.from([0]), content);
}

/** A BIT STRING of named bits (0 is the first, at most 7), without trailing zeros as DER wants it. */
export function namedBits(bits: readonly number[]): Buffer {
  const last = Math.max(...bits);
  const byte = bits.reduce((sum, bit) => sum | (0x80 >> bit), 0);
  return element(0x03, Buffer.from([7 - last, byte]));
}

export function utf8String(text: string): Buffer {
  return element(0x0c, Buffer.from(text, 'utf8'));
}

/** @param text in dots, such as 2.5.4.3; each part below 2^31. */
export function oid(text: string): Buffer {
  const [root = 0, second = 0, ...rest] = text.split('.').map(Number);
  return element(0x06, Buffer.from([root * 40 + second, ...rest].flatMap(base128)));
}

/** RFC 5280, 4.1.2.5: UTCTime through 2049, GeneralizedTime from then on; whole seconds. */
export function time(date: Date): Buffer {
  const text = `${date.toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`;
  const year = date.getUTCFullYear();
  return year >= 1950 && year < 2050
    ? element(0x17, Buffer.from(text.slice(2), 'latin1'))
    : element(0x18, Buffer.from(text, 'latin1'));
}

function lengthOctets(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const octets: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
  return Buffer.from([0x80 | octets.length, ...octets]);
}

/** Seven bits an octet, the first bit of all but the last set. */
function base128(value: number): number[] {
  const octets = [value % 128];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) octets.unshift(0x80 | (rest % 128));
  return octets;
}
