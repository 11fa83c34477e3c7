// Certificates made here: authorities, serving and client certificates, all RSA-2048, as PEM. Keys come from node:crypto, because
// node-forge's own key generation blocks the event loop for seconds; node-forge only builds and signs the certificate, and is
// loaded on first use, because a server with certificate files never needs it. Nothing here touches the disk.

import { generateKeyPair, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import type forgeNamespace from 'node-forge';

import { KexerError } from '../base/errors.ts';

type Forge = typeof forgeNamespace;

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

export type KeyUsage = 'serverAuth' | 'clientAuth';

export interface AuthorityOptions extends Validity {
  readonly commonName: string;
}

export interface ServingOptions extends Validity {
  readonly commonName: string;
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
}

export interface ClientOptions extends Validity {
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

interface Plan extends Validity {
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
  const { default: forge } = await import('node-forge');
  const keys = await promisify(generateKeyPair)('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const nowMs = Date.now();
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.publicKeyFromPem(keys.publicKey);
  // 127 random bits with the top bit clear: a serial number is a positive INTEGER.
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  certificate.serialNumber = serial.toString('hex');
  certificate.validity.notBefore = plan.notBefore ?? new Date(nowMs - backdateMs);
  certificate.validity.notAfter = plan.notAfter ?? new Date(nowMs + plan.defaultDays * dayMs);
  const subject = plan.subject.map(([oid, value]) => ({ type: oid, value, valueTagClass: forge.asn1.Type.UTF8 }));
  certificate.setSubject(subject as unknown as forgeNamespace.pki.CertificateField[]);
  const issuer = plan.issuer === undefined ? undefined : readIssuer(forge, plan.issuer);
  certificate.setIssuer(issuer?.certificate.subject.attributes ?? certificate.subject.attributes);
  certificate.setExtensions(extensions(plan, certificate.generateSubjectKeyIdentifier().getBytes(), issuer?.keyId));
  const signer = issuer?.key ?? forge.pki.privateKeyFromPem(keys.privateKey);
  certificate.sign(signer, forge.md.sha256.create());
  return { cert: forge.pki.certificateToPem(certificate).replaceAll('\r\n', '\n'), key: keys.privateKey };
}

interface Issuer {
  readonly certificate: forgeNamespace.pki.Certificate;
  readonly key: forgeNamespace.pki.rsa.PrivateKey;
  readonly keyId: string | undefined;
}

function readIssuer(forge: Forge, pair: KeyPairPem): Issuer {
  try {
    const certificate = forge.pki.certificateFromPem(pair.cert);
    const key = forge.pki.privateKeyFromPem(pair.key);
    const extension = certificate.getExtension('subjectKeyIdentifier');
    const hex =
      extension !== undefined && 'subjectKeyIdentifier' in extension ? extension.subjectKeyIdentifier : undefined;
    return {
      certificate,
      key,
      keyId: typeof hex !== 'string' ? undefined : Buffer.from(hex, 'hex').toString('latin1'),
    };
  } catch (cause) {
    throw new KexerError('config', 'Cannot sign with the authority given: want an RSA certificate and its key', {
      cause,
    });
  }
}

/** `keyId` and `issuerKeyId` are binary strings: node-forge's form of bytes. It computes the subject's own by itself. */
function extensions(plan: Plan, keyId: string, issuerKeyId: string | undefined): object[] {
  const list: object[] = [
    { name: 'basicConstraints', cA: plan.isAuthority, critical: true },
    plan.isAuthority
      ? { name: 'keyUsage', keyCertSign: true, cRLSign: true, digitalSignature: true, critical: true }
      : { name: 'keyUsage', digitalSignature: true, keyEncipherment: true, critical: true },
    { name: 'subjectKeyIdentifier' },
    // Named so that a verifier with two authorities of one name (a rotation) picks the right one.
    { name: 'authorityKeyIdentifier', keyIdentifier: issuerKeyId ?? keyId },
  ];
  if (plan.usages.length > 0) {
    list.push({
      name: 'extKeyUsage',
      serverAuth: plan.usages.includes('serverAuth'),
      clientAuth: plan.usages.includes('clientAuth'),
    });
  }
  const names = [
    ...plan.dnsNames.map((value) => ({ type: 2, value })),
    ...plan.ipAddresses.map((ip) => ({ type: 7, ip })),
  ];
  if (names.length > 0) list.push({ name: 'subjectAltName', altNames: names });
  return list;
}
