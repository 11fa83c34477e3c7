// The files people and kexer start from: kubeconfigs of the users and of kexer's accounts, and kexer's own config.

import { writeFile } from 'node:fs/promises';

import type { CredentialFiles, Credentials } from './credentials.ts';
import { kexerNamespace } from './seed.ts';

/** The path of kexer's local cluster below any server that has it. */
const kexerPath = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';

interface ClusterEntry {
  readonly server: string;
  readonly caPem: string;
}

type UserEntry = { readonly token: string } | { readonly certificate: { readonly cert: string; readonly key: string } };

export interface KubeconfigPlan {
  readonly clusters: Readonly<Record<string, ClusterEntry>>;
  readonly users: Readonly<Record<string, UserEntry>>;
  /** Context name → cluster and user. */
  readonly contexts: Readonly<Record<string, { readonly cluster: string; readonly user: string }>>;
  readonly current: string;
}

/** The contexts of the sandbox; those through kexer only once its port is known. */
export function sandboxKubeconfig(
  credentials: Credentials,
  options: { apiserverUrl: string; kexer?: { port: number; caPem: string } },
): KubeconfigPlan {
  const { apiserverUrl, kexer } = options;
  const servingCa = credentials.servingCa.cert;
  const users = {
    admin: { certificate: credentials.admin },
    alice: { token: credentials.aliceToken },
    viewer: { token: credentials.viewerToken },
  };
  const clusters: Record<string, ClusterEntry> = { cluster: { server: apiserverUrl, caPem: servingCa } };
  if (kexer !== undefined) {
    clusters['kexer'] = { server: `https://127.0.0.1:${kexer.port}${kexerPath}`, caPem: kexer.caPem };
    clusters['kexer-aggregated'] = { server: `${apiserverUrl}${kexerPath}`, caPem: servingCa };
  }
  const contexts: Record<string, { cluster: string; user: string }> = {};
  for (const cluster of Object.keys(clusters)) {
    for (const user of Object.keys(users))
      contexts[user === 'admin' ? cluster : `${cluster}-${user}`] = { cluster, user };
  }
  return { clusters, users, contexts, current: kexer === undefined ? 'cluster' : 'kexer' };
}

/** A kubeconfig of one user of the cluster itself. */
export function accountKubeconfig(credentials: Credentials, apiserverUrl: string, user: UserEntry): KubeconfigPlan {
  return {
    clusters: { cluster: { server: apiserverUrl, caPem: credentials.servingCa.cert } },
    users: { account: user },
    contexts: { cluster: { cluster: 'cluster', user: 'account' } },
    current: 'cluster',
  };
}

export async function writeKubeconfig(file: string, plan: KubeconfigPlan): Promise<void> {
  await writeYaml(file, {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': plan.current,
    clusters: Object.entries(plan.clusters).map(([name, { server, caPem }]) => ({
      name,
      cluster: { server, 'certificate-authority-data': base64(caPem) },
    })),
    contexts: Object.entries(plan.contexts).map(([name, { cluster, user }]) => ({
      name,
      context: { cluster, user, namespace: 'default' },
    })),
    users: Object.entries(plan.users).map(([name, user]) => ({
      name,
      user:
        'token' in user
          ? { token: user.token }
          : {
              'client-certificate-data': base64(user.certificate.cert),
              'client-key-data': base64(user.certificate.key),
            },
    })),
  });
}

/** What `kexer serve --config` starts with in front of this sandbox. */
export async function writeKexerConfig(
  file: string,
  files: CredentialFiles & { kexerKubeconfig: string },
): Promise<void> {
  await writeYaml(file, {
    kubeconfig: files.kexerKubeconfig,
    server: {
      bindAddress: '127.0.0.1',
      securePort: 0,
      tlsCertFile: files.kexerCertFile,
      tlsPrivateKeyFile: files.kexerKeyFile,
      // Nobody else routes to it, and who presses Ctrl-C waits for the prompt.
      shutdownDelay: '0s',
      shutdownGracePeriod: '0s',
    },
    kubelet: {
      certificateAuthority: files.kubeletCaFile,
      clientCertificate: files.kexerKubeletCertFile,
      clientKey: files.kexerKubeletKeyFile,
    },
    identity: {
      impersonation: true,
      allowPrivileged: true,
      impersonator: { serviceAccount: `${kexerNamespace}/kexer-impersonator` },
    },
    // Its thread is the cluster's and its pods' machine is one that other work shares: how late it is says nothing of kexer's load.
    limits: { eventLoopDelay: '0s' },
  });
}

async function writeYaml(file: string, value: unknown): Promise<void> {
  // Loaded here and not above: whoever imports the sandbox's types needs no YAML.
  const { stringify } = await import('yaml');
  await writeFile(file, stringify(value, { lineWidth: 0 }), { mode: 0o600 });
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
