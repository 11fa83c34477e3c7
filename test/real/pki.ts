// The certificates of a real cluster, each authority for one purpose as in kubeadm, and the kubeconfigs of its components. Made by kexer's own
// src/certs, so that Go's verification of what that makes is tested too.

import { generateKeyPairSync } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { generateAuthority, generateClient, generateServing, type KeyPairPem } from '../../src/certs/generate.ts';

/** The files of a pair. */
export interface PairFiles {
  readonly cert: string;
  readonly key: string;
}

export interface Pki {
  readonly dir: string;
  /** Signs the serving certificates of kube-apiserver and kubelets. */
  readonly servingCa: PairFiles;
  /** `--client-ca-file`. */
  readonly clientCa: PairFiles;
  readonly clientAuthority: KeyPairPem;
  readonly frontProxyCa: PairFiles;
  readonly frontProxy: PairFiles;
  readonly apiserver: PairFiles;
  readonly kubelet: PairFiles;
  /** kube-apiserver's own towards kubelets. */
  readonly kubeletClient: PairFiles;
  readonly serviceAccounts: PairFiles;
  /** A kubeconfig of a new certificate user of the client CA. @returns its file */
  kubeconfig(file: string, user: { name: string; groups?: readonly string[] }, server: string): Promise<string>;
}

export async function makePki(dir: string, names: { node: string; address: string }): Promise<Pki> {
  await mkdir(dir, { recursive: true });
  const write = async (name: string, pair: KeyPairPem): Promise<PairFiles> => {
    const files = { cert: join(dir, `${name}.crt`), key: join(dir, `${name}.key`) };
    await writeFile(files.cert, pair.cert);
    await writeFile(files.key, pair.key, { mode: 0o600 });
    return files;
  };
  const [serving, clients, proxies] = await Promise.all(
    ['serving', 'clients', 'front-proxy'].map((commonName) => generateAuthority({ commonName })),
  );
  if (serving === undefined || clients === undefined || proxies === undefined) throw new Error('no authorities');
  const [apiserver, kubelet, kubeletClient, frontProxy] = await Promise.all([
    generateServing(serving, {
      commonName: 'kube-apiserver',
      dnsNames: ['localhost', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc'],
      ipAddresses: ['127.0.0.1', names.address, '10.96.0.1'],
    }),
    generateServing(serving, {
      commonName: `system:node:${names.node}`,
      dnsNames: [names.node],
      ipAddresses: [names.address],
    }),
    generateClient(clients, { commonName: 'kube-apiserver-kubelet-client', organizations: ['system:masters'] }),
    generateClient(proxies, { commonName: 'front-proxy-client' }),
  ]);
  const accounts = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const servingCa = await write('serving-ca', serving);
  return {
    dir,
    servingCa,
    clientCa: await write('client-ca', clients),
    clientAuthority: clients,
    frontProxyCa: await write('front-proxy-ca', proxies),
    frontProxy: await write('front-proxy', frontProxy),
    apiserver: await write('apiserver', apiserver),
    kubelet: await write('kubelet', kubelet),
    kubeletClient: await write('kubelet-client', kubeletClient),
    serviceAccounts: await write('service-accounts', {
      cert: accounts.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
      key: accounts.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    }),
    async kubeconfig(name, user, server) {
      const pair = await generateClient(clients, { commonName: user.name, organizations: user.groups ?? [] });
      const file = join(dir, name);
      await writeFile(file, kubeconfigText({ server, ca: serving.cert, certificate: pair }), { mode: 0o600 });
      return file;
    },
  };
}

/** A kubeconfig with one context, `cluster`. YAML is JSON's superset, and kubectl reads JSON. */
export function kubeconfigText(options: {
  server: string;
  ca: string;
  certificate?: KeyPairPem;
  token?: string;
}): string {
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  const { certificate, token } = options;
  const user = {
    ...(token === undefined ? {} : { token }),
    ...(certificate === undefined
      ? {}
      : { 'client-certificate-data': base64(certificate.cert), 'client-key-data': base64(certificate.key) }),
  };
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'cluster',
    clusters: [
      { name: 'cluster', cluster: { server: options.server, 'certificate-authority-data': base64(options.ca) } },
    ],
    contexts: [{ name: 'cluster', context: { cluster: 'cluster', user: 'user', namespace: 'default' } }],
    users: [{ name: 'user', user }],
  });
}
