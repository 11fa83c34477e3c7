// Kubeconfigs as a user of the installed kexer has them: straight to a pod of it, verified by the authority it made, or through
// kube-apiserver's aggregation layer.

import { readFileSync, writeFileSync } from 'node:fs';

import { stringify } from 'yaml';

import type { TestCluster } from './cluster.ts';

/** The path of the local cluster, in the namespace where users may use kexer. */
export const kexerPath = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';

/** The authority of kexer's certificate, PEM in base64, as the Secret has it. */
export async function servingAuthority(cluster: TestCluster): Promise<string> {
  const words = ['get', 'secret', 'kexer-serving-cert', '-o', String.raw`jsonpath={.data.ca\.crt}`];
  return cluster.mustKubectl(['-n', 'kexec-system', ...words]);
}

/** A kubeconfig of alice's that leads to a pod itself, as a NodePort or a load balancer would. */
export async function directKubeconfig(cluster: TestCluster): Promise<string> {
  const [pod] = cluster.node.pods;
  if (pod === undefined) throw new Error('no pod of kexer runs');
  return write(cluster, 'direct', {
    server: `https://${pod.address}:${pod.port}${kexerPath}`,
    'certificate-authority-data': await servingAuthority(cluster),
    'tls-server-name': 'kexer.kexec-system.svc',
  });
}

/** A kubeconfig of alice's that leads through kube-apiserver. */
export function aggregatedKubeconfig(cluster: TestCluster): string {
  const { files, apiserver } = cluster.sandbox;
  return write(cluster, 'aggregated', {
    server: `${apiserver.url}${kexerPath}`,
    'certificate-authority-data': readFileSync(files.servingCaFile).toString('base64'),
  });
}

/** Who may use kexer is for the operator to say: docs/install.md. */
export async function letUse(cluster: TestCluster, user: string): Promise<void> {
  const words = ['create', 'rolebinding', `kexer-${user}`, '--clusterrole=kexer-user', `--user=${user}`];
  await cluster.mustKubectl(['-n', 'default', ...words]);
}

function write(cluster: TestCluster, name: string, server: Readonly<Record<string, string>>): string {
  const file = cluster.path(`${name}.kubeconfig`);
  const entry = { cluster: 'kexer', user: 'alice', namespace: 'default' };
  const content = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'kexer',
    contexts: [{ name: 'kexer', context: entry }],
    clusters: [{ name: 'kexer', cluster: server }],
    users: [{ name: 'alice', user: { token: cluster.sandbox.tokens.alice } }],
  };
  writeFileSync(file, stringify(content), { mode: 0o600 });
  return file;
}
