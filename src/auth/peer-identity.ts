// The certificate chain a TLS client showed, unverified, and its verdicts. Nothing here believes `socket.authorized`: the chain is verified
// against each CA bundle separately (verify-chain.ts), the verdict is kept per bundle object and judged against the time of each request,
// so a removed CA and an expired certificate count at once, on kept-alive connections too.

import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';

export class PeerIdentity {
  /** As sent: the client's own certificate first. */
  readonly chain: readonly X509Certificate[];

  constructor(chain: readonly X509Certificate[]) {
    this.chain = chain;
  }
}

/** What the client of `socket` showed; undefined: no certificate. Once for each connection, and kept for its life. */
export function peerIdentityOf(_socket: TLSSocket): PeerIdentity | undefined {
  throw new Error('not written yet');
}
