// Verifies a client's certificate chain against one bundle of authorities, as Go's crypto/x509 does for Kubernetes with ExtKeyUsageClientAuth.
// Time is not part of the search: the outcome is the windows in which a path holds, so that a caller may keep it and still judge each
// request by the clock. Stricter than Go in two points: an authority must say so in basicConstraints (Go takes version 1 roots), and name
// constraints refuse a leaf with alternative names instead of being computed.

import { X509Certificate } from 'node:crypto';

import { KexerError } from '../base/errors.ts';
import { readBasicConstraints, readCertificate, readExtendedKeyUsage } from './der.ts';

/** Milliseconds since the epoch, both ends inclusive. */
export interface TimeWindow {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Whether a chain leads to a bundle: never, or in these windows. */
export interface ChainVerdict {
  readonly windows: readonly TimeWindow[];
  /** Why not, if `windows` is empty; for logs. */
  readonly reason: string;
}

const clientAuthOid = '1.3.6.1.5.5.7.3.2';
const anyUsageOid = '2.5.29.37.0';
const oid = {
  basicConstraints: '2.5.29.19',
  extKeyUsage: '2.5.29.37',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  nameConstraints: '2.5.29.30',
} as const;
/** Critical extensions whose meaning is taken into account here or by OpenSSL's checkIssued. */
const knownCritical: ReadonlySet<string> = new Set(Object.values(oid));

const maxPeerCertificates = 10;
const maxDepth = 8;
/** RSA verifications cost some 50 µs each; a hostile chain must not make many. */
const maxSignatureChecks = 64;
const maxWindows = 4;

/** A set of authorities that stand or fall together; one object is one generation of it. */
export class CaBundle {
  readonly certificates: readonly X509Certificate[];
  readonly pem: string;

  /** @throws KexerError config if there is no certificate or one that cannot be read. */
  constructor(pem: string) {
    this.pem = pem;
    this.certificates = splitPem(pem).map((text) => {
      try {
        return new X509Certificate(text);
      } catch (cause) {
        throw new KexerError('config', 'Cannot read a certificate of the CA bundle', { cause });
      }
    });
    if (this.certificates.length === 0) {
      throw new KexerError('config', 'Cannot use the CA bundle: it holds no certificate');
    }
  }
}

/** The PEM blocks of type CERTIFICATE in a text; other blocks and text between are skipped, as Go does. */
export function splitPem(text: string): string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
}

/** @param chain what the peer sent, its own certificate first. */
export function verifyChain(chain: readonly X509Certificate[], bundle: CaBundle): ChainVerdict {
  const leaf = chain[0];
  if (leaf === undefined) return refused('there is no certificate');
  if (chain.length > maxPeerCertificates) return refused(`the chain has more than ${maxPeerCertificates} certificates`);
  try {
    const search = new PathSearch(chain.slice(1).map(inspect), bundle.certificates.map(inspect));
    return search.run(inspect(leaf));
  } catch (error) {
    // Fails closed: what cannot be read proves nothing.
    return refused(error instanceof Error ? error.message : 'the chain cannot be read');
  }
}

/** When the last of the windows ends that `nowMs` is in; undefined: it is in none. */
export function heldUntil(verdict: ChainVerdict, nowMs: number): number | undefined {
  const ends = verdict.windows.filter(({ fromMs, toMs }) => fromMs <= nowMs && nowMs <= toMs).map(({ toMs }) => toMs);
  return ends.length === 0 ? undefined : Math.max(...ends);
}

function refused(reason: string): ChainVerdict {
  return { windows: [], reason };
}

/** A certificate with what the search reads from it, read once. */
interface Inspected {
  readonly certificate: X509Certificate;
  readonly window: TimeWindow;
  readonly isAuthority: boolean;
  readonly pathLength: number | undefined;
  readonly allowsClients: boolean;
  readonly hasNameConstraints: boolean;
  readonly hasAlternativeNames: boolean;
  /** Why it may stand in no path at all. */
  readonly flaw: string | undefined;
}

function inspect(certificate: X509Certificate): Inspected {
  const { extensions } = readCertificate(certificate.raw);
  const find = (wanted: string): Buffer | undefined => extensions.find((extension) => extension.oid === wanted)?.value;
  const constraints = find(oid.basicConstraints);
  const basic = constraints === undefined ? undefined : readBasicConstraints(constraints);
  const usage = find(oid.extKeyUsage);
  const usages = usage === undefined ? undefined : readExtendedKeyUsage(usage);
  const unknown = extensions.find((extension) => extension.isCritical && !knownCritical.has(extension.oid));
  const duplicate = new Set(extensions.map((extension) => extension.oid)).size !== extensions.length;
  return {
    certificate,
    window: { fromMs: certificate.validFromDate.getTime(), toMs: certificate.validToDate.getTime() },
    isAuthority: basic?.isAuthority === true && certificate.ca,
    pathLength: basic?.pathLength,
    allowsClients: usages === undefined || usages.includes(clientAuthOid) || usages.includes(anyUsageOid),
    hasNameConstraints: find(oid.nameConstraints) !== undefined,
    hasAlternativeNames: find(oid.subjectAltName) !== undefined,
    flaw:
      unknown !== undefined
        ? `it has the critical extension ${unknown.oid}`
        : duplicate
          ? 'it has an extension twice'
          : undefined,
  };
}

/** Go verifies neither MD5 nor SHA-1. A root's own signature proves nothing and is not looked at. */
function weakSignature(certificate: X509Certificate): string | undefined {
  const algorithm = certificate.signatureAlgorithm;
  return algorithm !== undefined && /md[245]|sha-?1(?!\d)/i.test(algorithm)
    ? `it is signed with ${algorithm}`
    : undefined;
}

class PathSearch {
  readonly #intermediates: readonly Inspected[];
  readonly #roots: readonly Inspected[];
  readonly #windows: TimeWindow[];
  #checksLeft: number;
  #reason: string;

  constructor(intermediates: readonly Inspected[], roots: readonly Inspected[]) {
    this.#intermediates = intermediates;
    this.#roots = roots;
    this.#windows = [];
    this.#checksLeft = maxSignatureChecks;
    this.#reason = 'no authority of the bundle issued it';
  }

  run(leaf: Inspected): ChainVerdict {
    if (leaf.flaw !== undefined) return refused(leaf.flaw);
    if (!leaf.allowsClients) return refused('its extended key usage is not client authentication');
    if (this.#roots.some((root) => isSame(root, leaf))) return { windows: [leaf.window], reason: '' };
    this.#extend([leaf], leaf.window);
    return this.#windows.length === 0 ? refused(this.#reason) : { windows: this.#windows, reason: '' };
  }

  /** Depth first: roots before intermediates. `path` ends with the certificate whose issuer is sought. */
  #extend(path: readonly Inspected[], window: TimeWindow): void {
    const child = path.at(-1);
    if (child === undefined || path.length >= maxDepth) return;
    for (const root of this.#roots) {
      if (this.#windows.length >= maxWindows) return;
      const joined = this.#join(path, child, root, window);
      if (joined !== undefined) this.#windows.push(joined);
    }
    for (const intermediate of this.#intermediates) {
      if (this.#windows.length >= maxWindows) return;
      if (path.some((earlier) => isSame(earlier, intermediate))) continue;
      // A self-signed certificate that is no root of the bundle leads nowhere.
      const joined = this.#join(path, child, intermediate, window);
      if (joined !== undefined) this.#extend([...path, intermediate], joined);
    }
  }

  /** The window of `path` with `issuer` on top, or undefined if it may not stand there. */
  #join(path: readonly Inspected[], child: Inspected, issuer: Inspected, window: TimeWindow): TimeWindow | undefined {
    // Names, key identifiers and keyCertSign first: they cost nothing.
    if (!child.certificate.checkIssued(issuer.certificate)) return undefined;
    const flaw = this.#flawAsIssuer(path, issuer);
    if (flaw !== undefined) {
      this.#reason = flaw;
      return undefined;
    }
    const joined = {
      fromMs: Math.max(window.fromMs, issuer.window.fromMs),
      toMs: Math.min(window.toMs, issuer.window.toMs),
    };
    if (joined.fromMs > joined.toMs) {
      this.#reason = 'it and its issuer are never valid at one time';
      return undefined;
    }
    const weak = weakSignature(child.certificate);
    if (weak !== undefined) {
      this.#reason = weak;
      return undefined;
    }
    if (this.#checksLeft === 0) {
      this.#reason = 'its chain needs too many signature checks';
      return undefined;
    }
    this.#checksLeft -= 1;
    if (!child.certificate.verify(issuer.certificate.publicKey)) {
      this.#reason = 'its signature is not of the authority that it names';
      return undefined;
    }
    return joined;
  }

  #flawAsIssuer(path: readonly Inspected[], issuer: Inspected): string | undefined {
    if (issuer.flaw !== undefined) return `of an issuer: ${issuer.flaw}`;
    if (!issuer.isAuthority) return 'its issuer is not an authority';
    if (!issuer.allowsClients) return 'an issuer does not allow client authentication';
    // pathLength counts the intermediates between this issuer and the leaf.
    if (issuer.pathLength !== undefined && path.length - 1 > issuer.pathLength) {
      return 'its chain is longer than an issuer allows';
    }
    if (issuer.hasNameConstraints && path[0]?.hasAlternativeNames === true) {
      return 'an issuer constrains names and it has alternative names';
    }
    return undefined;
  }
}

function isSame(one: Inspected, other: Inspected): boolean {
  return one.certificate.raw.equals(other.certificate.raw);
}
