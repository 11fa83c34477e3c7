// The certificate chain a TLS client showed, unverified, and its verdicts. Nothing here believes `socket.authorized`: the chain is verified
// against each CA bundle separately (certs/verify-chain.ts), the verdict is kept per bundle object and judged against the time of each
// request, so a removed CA and an expired certificate count at once, on kept-alive connections too.

import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';

import { type CaBundle, type ChainVerdict, heldUntil, verifyChain } from '../certs/verify-chain.ts';

/** More certificates than verify-chain.ts accepts, so that a longer chain is refused there and not cut here. */
const maxCollected = 11;

export interface PeerVerdict {
  readonly isTrusted: boolean;
  /** Why not, for logs. */
  readonly reason: string;
  /** When the last of the ways ends by which the chain is trusted now. */
  readonly expiresAtMs: number;
}

export class PeerIdentity {
  /** As sent: the client's own certificate first. */
  readonly chain: readonly X509Certificate[];
  /** By bundle object, so that a bundle that is replaced takes its verdicts with it. */
  readonly #verdicts: WeakMap<CaBundle, ChainVerdict>;

  constructor(chain: readonly X509Certificate[]) {
    this.chain = chain;
    this.#verdicts = new WeakMap();
  }

  /** Whether the chain leads to `bundle` at `nowMs`. */
  check(bundle: CaBundle, nowMs: number): PeerVerdict {
    let verdict = this.#verdicts.get(bundle);
    if (verdict === undefined) {
      verdict = verifyChain(this.chain, bundle);
      this.#verdicts.set(bundle, verdict);
    }
    const expiresAtMs = heldUntil(verdict, nowMs);
    if (expiresAtMs !== undefined) return { isTrusted: true, reason: '', expiresAtMs };
    return {
      isTrusted: false,
      expiresAtMs: nowMs,
      reason: verdict.reason === '' ? timeReason(verdict, nowMs) : verdict.reason,
    };
  }
}

/** Both times side by side tell a wrong clock from a certificate that is over. */
function timeReason({ windows }: ChainVerdict, nowMs: number): string {
  const fromMs = Math.min(...windows.map((window) => window.fromMs));
  const toMs = Math.max(...windows.map((window) => window.toMs));
  const text = (ms: number): string => new Date(ms).toISOString();
  const span = `it counts from ${text(fromMs)} to ${text(toMs)}`;
  return `${span}, with its issuers, and this machine's clock shows ${text(nowMs)}`;
}

/** What the client of `socket` showed; undefined: no certificate. Once for each connection, and kept for its life. */
export function peerIdentityOf(socket: TLSSocket): PeerIdentity | undefined {
  const leaf = socket.getPeerX509Certificate();
  if (leaf === undefined) return undefined;
  const chain = [leaf];
  // Node links what the peer sent by issuer; a self-signed end links to itself in some versions.
  for (let next = leaf.issuerCertificate; next !== undefined && chain.length < maxCollected;) {
    const found: X509Certificate = next;
    if (chain.some((earlier) => earlier.raw.equals(found.raw))) break;
    chain.push(found);
    next = found.issuerCertificate;
  }
  return new PeerIdentity(chain);
}
