// Certificates made here: authorities, serving and client certificates, as PEM. ECDSA on P-256 unless RSA is asked for: a signature of a handshake
// takes 36 µs instead of 276 (measured), and what goes over the wire is half as long. node:crypto makes keys and signs, off the event loop; the
// certificate's own bytes are put together here (RFC 5280). Nothing here touches the disk.

import {
  createPrivateKey,
  generateKeyPair,
  hash,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import { isIP } from 'node:net';
import { promisify } from 'node:util';

import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { readCertificate, readKeyIdentifier, readPublicKeyBits } from './der.ts';
import * as der from './der-write.ts';

/** A certificate and its private key; `cert` may hold a chain, leaf first. */
export interface KeyPairPem {
  readonly cert: string;
  readonly key: string;
}

/** When a certificate counts; defaults: from five minutes ago (clocks differ) for a year, authorities for ten years. */
export interface Validity {
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

/** Of a key; RSA has 2048 bits, as kubeadm's and kubelets' own have. */
export type KeyKind = 'ecdsa' | 'rsa';

export type KeyUsage = 'serverAuth' | 'clientAuth';

interface MakingOptions extends Validity {
  /** Default ecdsa. */
  readonly keyKind?: KeyKind;
}

export interface AuthorityOptions extends MakingOptions {
  readonly commonName: string;
}

export interface ServingOptions extends MakingOptions {
  readonly commonName: string;
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
}

export interface ClientOptions extends MakingOptions {
  /** The user name for Kubernetes; may be empty. */
  readonly commonName: string;
  /** The groups for Kubernetes, one O each; commas are allowed in them. */
  readonly organizations?: readonly string[];
  /** The user's UID, as 1.3.6.1.4.1.57683.2 in the subject; more than one makes a certificate that Kubernetes must refuse. */
  readonly uids?: readonly string[];
  /** For tests of wrong usages; default clientAuth alone. */
  readonly usages?: readonly KeyUsage[];
}

/** The subject attribute that carries a user's UID (k8s.io/apiserver/pkg/authentication/request/x509: UIDOID). */
export const userUidOid = '1.3.6.1.4.1.57683.2';

const dayMs = 24 * 60 * 60 * 1000;
const backdateMs = 5 * 60 * 1000;
const organizationOid = '2.5.4.10';
const commonNameOid = '2.5.4.3';

interface Plan extends MakingOptions {
  readonly subject: readonly (readonly [oid: string, value: string])[];
  readonly isAuthority: boolean;
  readonly usages: readonly KeyUsage[];
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly defaultDays: number;
  /** Who signs; itself if undefined. */
  readonly issuer: KeyPairPem | undefined;
}

/** A certificate authority, signed by itself or, given `parent`, an intermediate one. */
export async function generateAuthority(options: AuthorityOptions, parent?: KeyPairPem): Promise<KeyPairPem> {
  return generate({
    ...options,
    subject: [[commonNameOid, options.commonName]],
    isAuthority: true,
    usages: [],
    dnsNames: [],
    ipAddresses: [],
    defaultDays: 3650,
    issuer: parent,
  });
}

/** A serving certificate (serverAuth) for the names given; the chain in `cert` is the leaf alone. */
export async function generateServing(authority: KeyPairPem, options: ServingOptions): Promise<KeyPairPem> {
  return generate({
    ...options,
    subject: [[commonNameOid, options.commonName]],
    isAuthority: false,
    usages: ['serverAuth'],
    dnsNames: options.dnsNames ?? [],
    ipAddresses: options.ipAddresses ?? [],
    defaultDays: 365,
    issuer: authority,
  });
}

/** A client certificate (clientAuth) whose subject is a Kubernetes user. */
export async function generateClient(authority: KeyPairPem, options: ClientOptions): Promise<KeyPairPem> {
  const organizations = (options.organizations ?? []).map((value) => [organizationOid, value] as const);
  const uids = (options.uids ?? []).map((value) => [userUidOid, value] as const);
  return generate({
    ...options,
    subject: [
      ...organizations,
      ...(options.commonName === '' ? [] : [[commonNameOid, options.commonName] as const]),
      ...uids,
    ],
    isAuthority: false,
    usages: options.usages ?? ['clientAuth'],
    dnsNames: [],
    ipAddresses: [],
    defaultDays: 365,
    issuer: authority,
  });
}

async function generate(plan: Plan): Promise<KeyPairPem> {
  const issuer = plan.issuer === undefined ? undefined : readIssuer(plan.issuer);
  const keys = await makeKeys(plan.keyKind ?? 'ecdsa');
  const nowMs = Date.now();
  const subject = nameOf(plan.subject);
  const publicKey = keys.publicKey.export({ type: 'spki', format: 'der' });
  // RFC 7093, 2, method 1: 160 bits.
  const keyId = hash('sha256', readPublicKeyBits(publicKey), 'buffer').subarray(0, 20);
  const signer = issuer?.key ?? keys.privateKey;
  const algorithm = signatureAlgorithm(signer);
  // 127 random bits with the top bit clear: a serial number is a positive INTEGER.
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  const body = der.sequence(
    der.explicit(0, der.unsignedInteger(Buffer.from([2]))), // version 3
    der.unsignedInteger(serial),
    algorithm.identifier,
    issuer?.name ?? subject,
    der.sequence(
      der.time(plan.notBefore ?? new Date(nowMs - backdateMs)),
      der.time(plan.notAfter ?? new Date(nowMs + plan.defaultDays * dayMs)),
    ),
    subject,
    publicKey,
    der.explicit(3, der.sequence(...extensions(plan, keyId, issuer === undefined ? keyId : issuer.keyId))),
  );
  const signature = await promisify(sign)(algorithm.digest, body, signer);
  const certificate = der.sequence(body, algorithm.identifier, der.bitString(signature));
  return {
    cert: pemOf('CERTIFICATE', certificate),
    key: pemOf('PRIVATE KEY', keys.privateKey.export({ type: 'pkcs8', format: 'der' })),
  };
}

function makeKeys(kind: KeyKind): Promise<{ publicKey: KeyObject; privateKey: KeyObject }> {
  return kind === 'rsa'
    ? promisify(generateKeyPair)('rsa', { modulusLength: 2048 })
    : promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
}

interface Issuer {
  readonly key: KeyObject;
  /** DER, as it is in its certificate. */
  readonly name: Buffer;
  readonly keyId: Buffer | undefined;
}

/** @throws KexerError config */
function readIssuer(pair: KeyPairPem): Issuer {
  try {
    const certificate = new X509Certificate(pair.cert);
    const key = createPrivateKey(pair.key);
    if (!certificate.checkPrivateKey(key)) throw new Error('the key is not the one of the certificate');
    const { subjectDer, extensions } = readCertificate(certificate.raw);
    const identifier = extensions.find(({ oid }) => oid === extensionOids.subjectKeyIdentifier)?.value;
    return { key, name: subjectDer, keyId: identifier === undefined ? undefined : readKeyIdentifier(identifier) };
  } catch (cause) {
    throw new KexerError('config', 'Cannot sign with the authority given: want a certificate and its key', { cause });
  }
}

interface SignatureAlgorithm {
  /** AlgorithmIdentifier. */
  readonly identifier: Buffer;
  /** Null: the algorithm has its own. */
  readonly digest: string | null;
}

/** By the curve: each with the digest of its strength (RFC 5758, 3.2). */
const ecdsaAlgorithms: ReadonlyMap<string | undefined, readonly [oid: string, digest: string]> = new Map([
  ['prime256v1', ['1.2.840.10045.4.3.2', 'sha256']],
  ['secp384r1', ['1.2.840.10045.4.3.3', 'sha384']],
  ['secp521r1', ['1.2.840.10045.4.3.4', 'sha512']],
]);

/** @throws KexerError config for keys whose signatures Go would not verify. */
function signatureAlgorithm(key: KeyObject): SignatureAlgorithm {
  switch (key.asymmetricKeyType) {
    case 'rsa':
      // sha256WithRSAEncryption, whose parameters must be NULL (RFC 4055, 5).
      return { identifier: der.sequence(der.oid('1.2.840.113549.1.1.11'), der.nullElement()), digest: 'sha256' };
    case 'ec': {
      const [oid, digest] = ecdsaAlgorithms.get(key.asymmetricKeyDetails?.namedCurve) ?? [];
      if (oid === undefined || digest === undefined) break;
      return { identifier: der.sequence(der.oid(oid)), digest };
    }
    case 'ed25519':
      return { identifier: der.sequence(der.oid('1.3.101.112')), digest: null };
    default:
  }
  const seen = key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType ?? 'unknown';
  throw new KexerError(
    'config',
    `Cannot sign with the authority given: its key is ${seen}, want RSA, ECDSA on P-256, P-384 or P-521, or Ed25519`,
  );
}

/** Name ::= SEQUENCE OF SET OF AttributeTypeAndValue, one attribute a set. */
function nameOf(attributes: Plan['subject']): Buffer {
  return der.sequence(
    ...attributes.map(([oid, value]) => der.setOf(der.sequence(der.oid(oid), der.utf8String(value)))),
  );
}

const extensionOids = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extKeyUsage: '2.5.29.37',
} as const;

const usageOids: Readonly<Record<KeyUsage, string>> = {
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
};

/** KeyUsage's bits (RFC 5280, 4.2.1.3). */
const bit = { digitalSignature: 0, keyEncipherment: 2, keyCertSign: 5, cRLSign: 6 } as const;

/** @param issuerKeyId undefined: the issuer has none. */
function extensions(plan: Plan, keyId: Buffer, issuerKeyId: Buffer | undefined): Buffer[] {
  const { isAuthority } = plan;
  const list = [
    // cA is FALSE by default, and DER leaves defaults out.
    extension('basicConstraints', true, der.sequence(...(isAuthority ? [der.boolean(true)] : []))),
    extension('keyUsage', true, der.namedBits(keyUsages(plan))),
    extension('subjectKeyIdentifier', false, der.octetString(keyId)),
  ];
  // Named so that a verifier with two authorities of one name (a rotation) picks the right one.
  if (issuerKeyId !== undefined) {
    list.push(extension('authorityKeyIdentifier', false, der.sequence(der.implicit(0, issuerKeyId))));
  }
  if (plan.usages.length > 0) {
    const usages = plan.usages.map((usage) => der.oid(usageOids[usage]));
    list.push(extension('extKeyUsage', false, der.sequence(...usages)));
  }
  const names = [
    ...plan.dnsNames.map((name) => der.implicit(2, Buffer.from(name, 'latin1'))),
    ...plan.ipAddresses.map((ip) => der.implicit(7, addressBytes(ip))),
  ];
  if (names.length > 0) list.push(extension('subjectAltName', false, der.sequence(...names)));
  return list;
}

function keyUsages({ isAuthority, keyKind }: Plan): number[] {
  if (isAuthority) return [bit.digitalSignature, bit.keyCertSign, bit.cRLSign];
  // Nothing can be enciphered with an ECDSA key (RFC 5480, 3); with an RSA key old clients of TLS 1.2 do.
  return keyKind === 'rsa' ? [bit.digitalSignature, bit.keyEncipherment] : [bit.digitalSignature];
}

function extension(name: keyof typeof extensionOids, isCritical: boolean, value: Buffer): Buffer {
  const oid = der.oid(extensionOids[name]);
  return der.sequence(oid, ...(isCritical ? [der.boolean(true)] : []), der.octetString(value));
}

/** Four or sixteen bytes. @throws KexerError config */
function addressBytes(ip: string): Buffer {
  if (isIP(ip) === 4) return Buffer.from(ip.split('.').map(Number));
  // A zone (fe80::1%eth0) means something on one machine only.
  if (isIP(ip) !== 6 || ip.includes('%')) {
    throw new KexerError('config', `Cannot put ${quote(ip)} into a certificate: want an IP address without a zone`);
  }
  // A URL has the address in its one canonical form, without dotted parts: groups of hex digits and at most one `::`.
  const [head = '', tail] = new URL(`http://[${ip}]`).hostname.slice(1, -1).split('::', 2);
  const groupsOf = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
  const [first, last] = [groupsOf(head), groupsOf(tail ?? '')];
  const groups = [...first, ...Array.from({ length: 8 - first.length - last.length }, () => 0), ...last];
  return Buffer.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

function pemOf(label: string, bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n');
}
