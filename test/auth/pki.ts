// Certificates for the tests of this folder, made once: a client CA, a front-proxy CA, a stranger's CA, and who they signed.

import { X509Certificate } from 'node:crypto';

import { PeerIdentity } from '../../src/auth/peer-identity.ts';
import { generateAuthority, generateClient, type KeyPairPem } from '../../src/certs/generate.ts';

export interface Pki {
  readonly clientCa: KeyPairPem;
  readonly proxyCa: KeyPairPem;
  readonly strangerCa: KeyPairPem;
  /** admin, in system:masters, under the client CA. */
  readonly admin: KeyPairPem;
  /** front-proxy-client, under the front-proxy CA. */
  readonly proxy: KeyPairPem;
}

let made: Promise<Pki> | undefined;

export function pki(): Promise<Pki> {
  made ??= makePki();
  return made;
}

async function makePki(): Promise<Pki> {
  const [clientCa, proxyCa, strangerCa] = await Promise.all([
    generateAuthority({ commonName: 'client-ca' }),
    generateAuthority({ commonName: 'front-proxy-ca' }),
    generateAuthority({ commonName: 'stranger-ca' }),
  ]);
  const [admin, proxy] = await Promise.all([
    generateClient(clientCa, { commonName: 'admin', organizations: ['system:masters'] }),
    generateClient(proxyCa, { commonName: 'front-proxy-client' }),
  ]);
  return { clientCa, proxyCa, strangerCa, admin, proxy };
}

export function peerOf(...chain: KeyPairPem[]): PeerIdentity {
  return new PeerIdentity(chain.map(({ cert }) => new X509Certificate(cert)));
}

/** The data of ConfigMap kube-system/extension-apiserver-authentication, as kubeadm has it. */
export function configMapData({ clientCa, proxyCa }: Pick<Pki, 'clientCa' | 'proxyCa'>): Record<string, string> {
  return {
    'client-ca-file': clientCa.cert,
    'requestheader-client-ca-file': proxyCa.cert,
    'requestheader-allowed-names': '["front-proxy-client"]',
    'requestheader-username-headers': '["X-Remote-User"]',
    'requestheader-uid-headers': '["X-Remote-Uid"]',
    'requestheader-group-headers': '["X-Remote-Group"]',
    'requestheader-extra-headers-prefix': '["X-Remote-Extra-"]',
  };
}
