// Who is it: the union of front proxy, client certificate and bearer token, in the order of k8s.io/apiserver's delegating authenticator.
// The first success wins; errors are collected; no credential at all is 401 too, for kexer is never anonymous.

import type { RawHeaders } from '../protocol/raw-headers.ts';
import type { Caller } from './caller.ts';
import type { PeerIdentity } from './peer-identity.ts';

export type { PeerIdentity } from './peer-identity.ts';

export interface AuthenticationInput {
  /** The peer of the connection, undefined if it showed no certificate. The same object for each request on a connection. */
  readonly peer: PeerIdentity | undefined;
  /** Raw and complete: repeated names apart. */
  readonly headers: RawHeaders;
}

export class Authenticator {
  /** The ConfigMap with the CAs was read; before that no certificate counts. */
  get hasSynced(): boolean {
    return false;
  }

  /**
   * @throws StatusError 401; 429 when too many reviews are in flight. KexerError unreachable, timeout when kube-apiserver could
   * not be asked about a token and nothing else proved an identity.
   */
  authenticate(_input: AuthenticationInput): Promise<Caller> {
    throw new Error('not written yet');
  }
}
