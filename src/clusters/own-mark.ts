// How kexer knows itself again: calls to other clusters carry a mark in Via (RFC 9110, section 7.6.3), and their endpoints may not show kexer's own
// serving certificate. Without that, a Secret whose endpoint is kexer, or leads back to it, would make it call itself.

import { createHash, X509Certificate } from 'node:crypto';

import { KexerError } from '../base/errors.ts';
import type { PeerCheck } from '../kube/credential.ts';
import { failure, StatusError } from '../kube/status.ts';
import { listItems, type RawHeader, type RawHeaders } from '../protocol/raw-headers.ts';

export class OwnMark {
  readonly #pseudonym: string;
  readonly #servingCertificate: () => string;

  /**
   * @param options.installation what all kexers of one installation have in common, and others have not; only a hash of it is shown.
   * @param options.servingCertificate the current one, PEM.
   */
  constructor(options: { installation: string; servingCertificate: () => string }) {
    this.#pseudonym = `kexer-${createHash('sha256').update(options.installation).digest('hex').slice(0, 16)}`;
    this.#servingCertificate = options.servingCertificate;
  }

  /** For calls to other clusters. */
  get header(): RawHeader {
    return ['Via', `1.1 ${this.#pseudonym}`];
  }

  /** @throws StatusError 508 for a request that kexer sent itself. */
  refuseOwn(headers: RawHeaders): void {
    const isOwn = listItems(headers, 'Via').some((item) => item.split(/[ \t]+/)[1] === this.#pseudonym);
    if (!isOwn) return;
    const text = 'this call has come through this kexer before: the endpoint of a cluster leads back to it';
    throw new StatusError(failure(508, 'LoopDetected', text));
  }

  /** For TLS connections to other clusters. */
  readonly checkPeer: PeerCheck = ({ fingerprint256 }) =>
    fingerprint256 === new X509Certificate(this.#servingCertificate()).fingerprint256
      ? new KexerError('badGateway', 'Cannot use the endpoint: it is this kexer itself, want a kube-apiserver')
      : undefined;
}
