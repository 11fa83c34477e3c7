// What Node gives as a client's TLS session, without the certificate of the peer in it. OpenSSL would parse that for each connection that is resumed
// and keep it for as long as the connection lives (5 KiB), and nobody looks at it: a resumed session is good because the peer knows its key, and
// was stored because the peer was verified when it began.
//
//   what Node gives: "\0nodejs:tls:session:1\0" | length 16 | name | SSL_SESSION     the name is what it was verified for; Node compares it
//   SSL_SESSION: SEQUENCE { version, ssl_version, …, [3] certificate OPTIONAL, … }   (ssl_asn1.c of OpenSSL)

import { Buffer } from 'node:buffer';

const prefix = Buffer.from('\0nodejs:tls:session:1\0');
const sequenceTag = 0x30;
const integerTag = 0x02;
const certificateTag = 0xa3;
const tls13 = 0x0304;

interface Element {
  readonly tag: number;
  readonly at: number;
  readonly contentAt: number;
  readonly end: number;
}

/**
 * A copy in memory of its own: Node makes this buffer a slice of a pool, all of which would live as long. The certificate is left out only of TLS 1.3,
 * where Node takes a resumed session for verified without one. What is not exactly of this form, as another version of Node may write it, is copied
 * as it is.
 */
export function withoutPeerCertificate(session: Buffer): Buffer {
  const derAt = derStart(session);
  const outer = readElement(session, derAt, session.length);
  if (outer?.tag !== sequenceTag || outer.end !== session.length) return ownCopy(session);
  const elements = readAll(session, outer);
  const version = elements[1];
  const certificate = elements.find(({ tag }) => tag === certificateTag);
  if (certificate === undefined || version?.tag !== integerTag || !isTls13(session, version)) return ownCopy(session);
  const before = session.subarray(outer.contentAt, certificate.at);
  const behind = session.subarray(certificate.end);
  const head = Buffer.of(sequenceTag, 0x82, 0, 0); // a length of two bytes
  head.writeUInt16BE(before.length + behind.length, 2);
  return ownCopy(session.subarray(0, derAt), head, before, behind);
}

function isTls13(bytes: Buffer, { contentAt, end }: Element): boolean {
  return end - contentAt === 2 && bytes.readUInt16BE(contentAt) === tls13;
}

function ownCopy(...parts: readonly Buffer[]): Buffer {
  const copy = Buffer.allocUnsafeSlow(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) at += part.copy(copy, at);
  return copy;
}

/** Versions of Node before 24.21 give the bare SSL_SESSION. */
function derStart(session: Buffer): number {
  if (session.length < prefix.length + 2 || !session.subarray(0, prefix.length).equals(prefix)) return 0;
  return prefix.length + 2 + session.readUInt16BE(prefix.length);
}

/** None if one of them is cut. */
function readAll(bytes: Buffer, outer: Element): Element[] {
  const elements: Element[] = [];
  for (let at = outer.contentAt; at < outer.end;) {
    const element = readElement(bytes, at, outer.end);
    if (element === undefined) return [];
    elements.push(element);
    at = element.end;
  }
  return elements;
}

function readElement(bytes: Buffer, at: number, end: number): Element | undefined {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined) return undefined;
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  // 0x80 is a length that is not told, which OpenSSL never writes.
  if (first === 0x80 || lengthBytes > 2) return undefined;
  const contentAt = at + 2 + lengthBytes;
  if (contentAt > end) return undefined;
  const length = lengthBytes === 0 ? first : bytes.readUIntBE(at + 2, lengthBytes);
  return contentAt + length > end ? undefined : { tag, at, contentAt, end: contentAt + length };
}
