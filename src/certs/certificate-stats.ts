// What there is to know of the certificates in use, for metrics: when they end, how often they were changed, and whether what was found last
// could not be used. Written by those who load and renew them, read by whoever exports it.

import { X509Certificate } from 'node:crypto';

import { splitPem } from './verify-chain.ts';

/** `serving-ca` only where kexer knows who signed its serving certificate. */
export type CertificateName = 'serving' | 'serving-ca' | 'kubelet-client';

/** A certificate that may change while kexer runs. */
export type ReloadedName = 'serving' | 'kubelet-client';

/** Of the APIService's caBundle: it holds the authority; it is somebody else's; not written (yet); not kexer's to look after. */
export type CaBundleState = 'current' | 'foreign' | 'unwritten' | 'off';

/** In milliseconds since the epoch. */
export interface CertificateLife {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export class CertificateStats {
  readonly expiry: Map<CertificateName, CertificateLife>;
  readonly counts: {
    /** Pairs taken into use after the first. */
    readonly reloads: Record<ReloadedName, number>;
    /** Files or Secrets that were found changed and could not be used. */
    readonly reloadFailures: Record<ReloadedName, number>;
    /** Leaves that this process issued, the first included. */
    renewals: number;
    renewalFailures: number;
  };
  /** What was found last cannot be used, and an older pair stays in use. */
  readonly isStale: Record<ReloadedName, boolean>;
  caBundle: CaBundleState;

  constructor() {
    this.expiry = new Map();
    this.counts = {
      reloads: { serving: 0, 'kubelet-client': 0 },
      reloadFailures: { serving: 0, 'kubelet-client': 0 },
      renewals: 0,
      renewalFailures: 0,
    };
    this.isStale = { serving: false, 'kubelet-client': false };
    this.caBundle = 'off';
  }

  /** Remembers the first certificate of `pem`; a text without one is ignored. */
  note(name: CertificateName, pem: string): void {
    const [first] = splitPem(pem);
    if (first === undefined) return;
    const { validFromDate, validToDate } = new X509Certificate(first);
    this.expiry.set(name, { notBeforeMs: validFromDate.getTime(), notAfterMs: validToDate.getTime() });
  }

  reloaded(name: ReloadedName, pem: string): void {
    this.note(name, pem);
    this.counts.reloads[name] += 1;
    this.isStale[name] = false;
  }

  reloadFailed(name: ReloadedName): void {
    this.counts.reloadFailures[name] += 1;
    this.isStale[name] = true;
  }
}
