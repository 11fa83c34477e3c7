// What kexer proves itself with towards an apiserver, and where that apiserver is. Values and small sources: a source is asked each
// time, because projected tokens and client certificates are rotated under a running process.

import type { PeerCertificate } from 'node:tls';

import type { AddressGuard } from './address-guard.ts';
import type { TunnelProxy } from './tunnel.ts';

/** A bearer token that may change; `read` gives the current one. */
export interface TokenSource {
  /** @throws KexerError config if it cannot be read and no earlier one is known. */
  read(): Promise<string>;
  /** The apiserver answered 401: the next `read` looks again instead of trusting what it kept. */
  invalidate(): void;
}

/** A client certificate that may change. Two reads that give the same `version` gave the same pair. */
export interface CertificateSource {
  /** @throws KexerError config if it cannot be read and no earlier one is known. */
  read(): Promise<VersionedPair>;
}

/** PEM; '' for both if there is no certificate. */
export interface VersionedPair {
  readonly cert: string;
  readonly key: string;
  readonly version: string;
}

export type Credential =
  /** No credential of its own: whatever identity a request has is in its headers. */
  | { readonly kind: 'none' }
  | { readonly kind: 'token'; readonly token: TokenSource }
  | { readonly kind: 'certificate'; readonly certificate: CertificateSource }
  /** A kubeconfig may name both; an exec plugin may give either, and says so only when it is run: what it did not give is ''. */
  | { readonly kind: 'both'; readonly token: TokenSource; readonly certificate: CertificateSource };

/** A peer's certificate that verification has accepted, and why it is not wanted all the same; undefined: it is. */
export type PeerCheck = (certificate: PeerCertificate) => Error | undefined;

/** Where an apiserver is and how its certificate is verified. */
export interface Endpoint {
  /** `https://host:port`, or `http://` for tests; a path prefix is kept, without a slash at its end. */
  readonly url: string;
  /** PEM certificates that alone are trusted; undefined: the system's. */
  readonly ca: string | undefined;
  /** false only by `insecure-skip-tls-verify`. */
  readonly isVerified: boolean;
  /** The name the certificate must carry, if it is not the host of the URL. */
  readonly servername: string | undefined;
  /** Which addresses may be dialled; left out: any. */
  readonly guard?: AddressGuard;
  /** By whom it is reached; left out: straight. The environment's proxies are never heeded. */
  readonly proxy?: TunnelProxy;
  readonly checkPeer?: PeerCheck;
}

/** What a kubeconfig or the service account mount says: both halves a client needs. */
export interface ClusterAccess {
  readonly endpoint: Endpoint;
  readonly credential: Credential;
  /** The namespace of the context or of the pod; `default` if neither says. */
  readonly namespace: string;
}
