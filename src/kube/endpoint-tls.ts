// How an apiserver proves itself and who kexer is to it, as options of Node's TLS: one place, so that every kind of connection to an endpoint
// trusts the same and shows the same.

import { checkServerIdentity, type PeerCertificate } from 'node:tls';

import type { Endpoint, PeerCheck } from './credential.ts';

/** The part of node:tls' options that is about trust and identity. */
export interface EndpointTlsOptions {
  readonly rejectUnauthorized: boolean;
  readonly ca?: string;
  readonly servername?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly checkServerIdentity?: (name: string, certificate: PeerCertificate) => Error | undefined;
}

/** For a TLS connection to `endpoint`, with the client certificate if there is one. */
export function tlsOptions(
  endpoint: Endpoint,
  certificate: { readonly cert: string; readonly key: string } | undefined,
): EndpointTlsOptions {
  return {
    rejectUnauthorized: endpoint.isVerified,
    ...(endpoint.ca === undefined ? {} : { ca: endpoint.ca }),
    ...(endpoint.servername === undefined ? {} : { servername: endpoint.servername }),
    ...(certificate === undefined ? {} : { cert: certificate.cert, key: certificate.key }),
    ...(endpoint.checkPeer === undefined ? {} : { checkServerIdentity: identityCheck(endpoint.checkPeer) }),
  };
}

/** The check of names, then the endpoint's own. */
function identityCheck(checkPeer: PeerCheck): (name: string, certificate: PeerCertificate) => Error | undefined {
  return (name, certificate) => checkServerIdentity(name, certificate) ?? checkPeer(certificate);
}
