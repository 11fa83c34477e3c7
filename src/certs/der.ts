// The few parts of an X.509 certificate that node:crypto does not show: extensions with their criticality, the path length, the subject in
// order. The other direction is der-write.ts. A bounded reader of DER (ITU-T X.690): definite lengths only, every length checked against what is there; anything else throws.
// The certificate was parsed by OpenSSL before, so this never decides whether bytes are a certificate.

import { Buffer } from 'node:buffer';

import { KexerError } from '../base/errors.ts';

/** One tag-length-value. */
interface Element {
  readonly tag: number;
  readonly content: Buffer;
  /** All of it, tag and length included. */
  readonly raw: Buffer;
}

export interface Extension {
  readonly oid: string;
  readonly isCritical: boolean;
  /** The DER inside the OCTET STRING. */
  readonly value: Buffer;
}

export interface SubjectAttribute {
  readonly oid: string;
  /** undefined: not a string type that Kubernetes reads. */
  readonly value: string | undefined;
}

export interface CertificateParts {
  readonly subject: readonly SubjectAttribute[];
  /** The subject's DER: what certificates that it issues name as their issuer, byte for byte. */
  readonly subjectDer: Buffer;
  readonly extensions: readonly Extension[];
}

const tagBoolean = 0x01;
const tagInteger = 0x02;
const tagBitString = 0x03;
const tagOctetString = 0x04;
const tagOid = 0x06;
const tagSequence = 0x30;
const tagSet = 0x31;
const tagVersion = 0xa0; // [0] EXPLICIT
const tagExtensions = 0xa3; // [3] EXPLICIT

/** @throws KexerError protocol if the bytes are not the DER of a certificate. */
export function readCertificate(der: Buffer): CertificateParts {
  const [certificate] = elements(der);
  const [tbs] = elements(expect(certificate, tagSequence));
  const fields = elements(expect(tbs, tagSequence));
  // TBSCertificate: [version] serialNumber signature issuer validity subject subjectPublicKeyInfo …
  const first = fields[0]?.tag === tagVersion ? 1 : 0;
  const name = fields[first + 4];
  const subject = expect(name, tagSequence);
  const extensions = fields.find(({ tag }) => tag === tagExtensions);
  return {
    subject: elements(subject).flatMap((set) => elements(expect(set, tagSet)).map(attribute)),
    subjectDer: name?.raw ?? subject,
    extensions:
      extensions === undefined ? [] : elements(expect(elements(extensions.content)[0], tagSequence)).map(extension),
  };
}

/** BasicConstraints ::= SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER OPTIONAL } */
export function readBasicConstraints(value: Buffer): { isAuthority: boolean; pathLength: number | undefined } {
  const fields = elements(expect(elements(value)[0], tagSequence));
  const isAuthority = fields.some(({ tag, content }) => tag === tagBoolean && content[0] !== 0);
  const length = fields.find(({ tag }) => tag === tagInteger)?.content;
  if (length === undefined) return { isAuthority, pathLength: undefined };
  if (length.length === 0 || length.length > 4 || (length[0] ?? 0) > 0x7f) throw malformed();
  return { isAuthority, pathLength: length.readUIntBE(0, length.length) };
}

/** SubjectKeyIdentifier ::= OCTET STRING */
export function readKeyIdentifier(value: Buffer): Buffer {
  return expect(elements(value)[0], tagOctetString);
}

/** The key itself, without its algorithm: SubjectPublicKeyInfo ::= SEQUENCE { algorithm, subjectPublicKey BIT STRING } */
export function readPublicKeyBits(spki: Buffer): Buffer {
  const [, key] = elements(expect(elements(spki)[0], tagSequence));
  return expect(key, tagBitString).subarray(1); // behind the count of unused bits
}

/** ExtKeyUsageSyntax ::= SEQUENCE OF OBJECT IDENTIFIER */
export function readExtendedKeyUsage(value: Buffer): string[] {
  return elements(expect(elements(value)[0], tagSequence)).map((usage) => oidText(expect(usage, tagOid)));
}

function attribute(element: Element): SubjectAttribute {
  const [type, value] = elements(expect(element, tagSequence));
  if (value === undefined) throw malformed();
  return { oid: oidText(expect(type, tagOid)), value: stringValue(value) };
}

/** The string types that Go's encoding/asn1 reads into a string, with its refusals as undefined. */
function stringValue({ tag, content }: Element): string | undefined {
  switch (tag) {
    case 0x0c: // UTF8String
      return decodeUtf8(content);
    case 0x12: // NumericString
    case 0x13: // PrintableString
    case 0x16: // IA5String
      return content.every((byte) => byte < 0x80) ? content.toString('latin1') : undefined;
    case 0x14: // T61String
      return decodeUtf8(content);
    case 0x1e: // BMPString, big endian
      return content.length % 2 === 0 ? Buffer.from(content).swap16().toString('utf16le') : undefined;
    default:
      return undefined;
  }
}

function decodeUtf8(content: Buffer): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
  } catch {
    return undefined; // not UTF-8: no name at all
  }
}

function extension(element: Element): Extension {
  const fields = elements(expect(element, tagSequence));
  const oid = oidText(expect(fields[0], tagOid));
  const isCritical = fields[1]?.tag === tagBoolean && fields[1].content[0] !== 0;
  const value = expect(fields.at(-1), tagOctetString);
  return { oid, isCritical, value };
}

function oidText(content: Buffer): string {
  const parts: number[] = [];
  let value = 0;
  for (const byte of content) {
    if (value > 2 ** 45) throw malformed();
    value = value * 128 + (byte & 0x7f);
    if ((byte & 0x80) !== 0) continue;
    if (parts.length === 0) {
      const root = Math.min(2, Math.floor(value / 40));
      parts.push(root, value - root * 40);
    } else parts.push(value);
    value = 0;
  }
  return parts.join('.');
}

function expect(element: Element | undefined, tag: number): Buffer {
  if (element === undefined || element.tag !== tag) throw malformed();
  return element.content;
}

/** The elements that fill `bytes` exactly. */
function elements(bytes: Buffer): Element[] {
  const list: Element[] = [];
  let at = 0;
  while (at < bytes.length) {
    const start = at;
    const tag = bytes[at] ?? 0;
    let length = bytes[at + 1];
    if ((tag & 0x1f) === 0x1f || length === undefined) throw malformed();
    at += 2;
    if (length > 0x7f) {
      const count = length & 0x7f;
      if (count === 0 || count > 3 || at + count > bytes.length) throw malformed();
      length = bytes.readUIntBE(at, count);
      at += count;
    }
    if (at + length > bytes.length) throw malformed();
    const content = bytes.subarray(at, at + length);
    at += length;
    list.push({ tag, content, raw: bytes.subarray(start, at) });
  }
  return list;
}

function malformed(): KexerError {
  return new KexerError('protocol', 'Cannot read a certificate: its DER is malformed');
}
