// Every key and certificate of a sandbox, made anew at each start: four authorities that sign nothing of each other's, so that a
// mix-up of CAs fails here as it would in a cluster. Written as PEM files for kubectl, kexer and people.

import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { generateAuthority, generateClient, generateServing, type KeyPairPem } from '../certs/generate.ts';
import { tellSecret } from './made-secrets.ts';

const userAdmin = 'admin';
export const userAlice = 'alice';
export const userViewer = 'viewer';
export const userKexerKubelet = 'kexer-kubelet';
/** How the apiserver appears to kubelets. */
const userKubeApiserver = 'system:kube-apiserver';
/** The front proxy's common name: the one allowed name in extension-apiserver-authentication. */
export const frontProxyName = 'front-proxy-client';

export interface Credentials {
  /** Signs what the apiserver and kexer serve with. */
  readonly servingCa: KeyPairPem;
  readonly clientCa: KeyPairPem;
  readonly frontProxyCa: KeyPairPem;
  /** Signs what kubelets serve with. */
  readonly kubeletCa: KeyPairPem;
  readonly apiserver: KeyPairPem;
  readonly kexer: KeyPairPem;
  readonly frontProxy: KeyPairPem;
  readonly admin: KeyPairPem;
  readonly kexerKubelet: KeyPairPem;
  readonly apiserverKubelet: KeyPairPem;
  /** Serving certificates by node name. */
  readonly nodes: ReadonlyMap<string, KeyPairPem>;
  readonly aliceToken: string;
  readonly viewerToken: string;
}

const loopback = { ipAddresses: ['127.0.0.1'] };
/** As kubeadm and kubelets make theirs; kexer's own is of the kind that kexer makes. */
const rsa = { keyKind: 'rsa' } as const;

/** @param options.hasClusterCaOnKubelets the serving CA signs for the kubelets too; else they have one of their own. */
export async function makeCredentials(options: {
  nodeNames: readonly string[];
  hasClusterCaOnKubelets?: boolean;
}): Promise<Credentials> {
  const [servingCa, clientCa, frontProxyCa, ownKubeletCa] = await Promise.all([
    generateAuthority({ ...rsa, commonName: 'sandbox-serving-ca' }),
    generateAuthority({ ...rsa, commonName: 'sandbox-client-ca' }),
    generateAuthority({ ...rsa, commonName: 'sandbox-front-proxy-ca' }),
    generateAuthority({ ...rsa, commonName: 'sandbox-kubelet-ca' }),
  ]);
  const kubeletCa = options.hasClusterCaOnKubelets === true ? servingCa : ownKubeletCa;
  const [apiserver, kexer, frontProxy, admin, kexerKubelet, apiserverKubelet, ...nodes] = await Promise.all([
    generateServing(servingCa, {
      ...rsa,
      ...loopback,
      commonName: 'kube-apiserver',
      dnsNames: ['localhost', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc'],
    }),
    generateServing(servingCa, {
      ...loopback,
      commonName: 'kexer',
      dnsNames: ['localhost', 'kexer', 'kexer.kexec-system', 'kexer.kexec-system.svc'],
    }),
    generateClient(frontProxyCa, { ...rsa, commonName: frontProxyName }),
    generateClient(clientCa, { ...rsa, commonName: userAdmin, organizations: ['system:masters'] }),
    generateClient(clientCa, { ...rsa, commonName: userKexerKubelet }),
    generateClient(clientCa, { ...rsa, commonName: userKubeApiserver }),
    ...options.nodeNames.map((name) =>
      generateServing(kubeletCa, {
        ...rsa,
        ...loopback,
        commonName: `system:node:${name}`,
        dnsNames: [name, 'localhost'],
      }),
    ),
  ]);
  const credentials: Credentials = {
    servingCa,
    clientCa,
    frontProxyCa,
    kubeletCa,
    apiserver,
    kexer,
    frontProxy,
    admin,
    kexerKubelet,
    apiserverKubelet,
    nodes: new Map(options.nodeNames.map((name, index) => [name, nodes[index] ?? kexer])),
    aliceToken: `alice-${randomBytes(16).toString('hex')}`,
    viewerToken: `viewer-${randomBytes(16).toString('hex')}`,
  };
  for (const [name, value] of Object.entries(credentials)) {
    if (typeof value === 'string') tellSecret(`the sandbox's ${name}`, value);
    else if ('key' in value) tellSecret(`the private key of the sandbox's ${name}`, value.key);
    else for (const { key } of value.values()) tellSecret("the private key of a sandbox's node", key);
  }
  return credentials;
}

/** PEM files of the credentials, by what they are for. */
export interface CredentialFiles {
  readonly servingCaFile: string;
  readonly clientCaFile: string;
  readonly frontProxyCaFile: string;
  readonly frontProxyCertFile: string;
  readonly frontProxyKeyFile: string;
  readonly kubeletCaFile: string;
  readonly kexerCertFile: string;
  readonly kexerKeyFile: string;
  readonly kexerKubeletCertFile: string;
  readonly kexerKubeletKeyFile: string;
  readonly adminCertFile: string;
  readonly adminKeyFile: string;
}

/** Writes what somebody outside the process needs; the authorities' keys stay in memory. */
export async function writeCredentials(folder: string, credentials: Credentials): Promise<CredentialFiles> {
  await mkdir(folder, { recursive: true });
  const write = async (name: string, text: string): Promise<string> => {
    const file = join(folder, name);
    await writeFile(file, text, { mode: 0o600 });
    return file;
  };
  return {
    servingCaFile: await write('serving-ca.crt', credentials.servingCa.cert),
    clientCaFile: await write('client-ca.crt', credentials.clientCa.cert),
    frontProxyCaFile: await write('front-proxy-ca.crt', credentials.frontProxyCa.cert),
    frontProxyCertFile: await write('front-proxy.crt', credentials.frontProxy.cert),
    frontProxyKeyFile: await write('front-proxy.key', credentials.frontProxy.key),
    kubeletCaFile: await write('kubelet-ca.crt', credentials.kubeletCa.cert),
    kexerCertFile: await write('kexer.crt', credentials.kexer.cert),
    kexerKeyFile: await write('kexer.key', credentials.kexer.key),
    kexerKubeletCertFile: await write('kexer-kubelet.crt', credentials.kexerKubelet.cert),
    kexerKubeletKeyFile: await write('kexer-kubelet.key', credentials.kexerKubelet.key),
    adminCertFile: await write('admin.crt', credentials.admin.cert),
    adminKeyFile: await write('admin.key', credentials.admin.key),
  };
}
