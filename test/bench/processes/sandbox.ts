// The sandbox's kube-apiserver for kexer's reviews and preflights. Its node1 is given the bench's kubelet, so that every stream of the pod
// `demo` goes there; the sandbox's own kubelet goes on saying that the pod runs.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { parse } from 'yaml';

import { startSandbox } from '../../../src/sandbox/sandbox.ts';
import { offer } from '../support/child.ts';

export interface SandboxFacts {
  readonly kexerFlags: readonly string[];
  readonly apiserverPort: number;
  readonly token: string;
}

const sandbox = await startSandbox();

/** As a Deployment starts it: by flags, and with an account that takes no YAML to read. */
async function kexerFlags(): Promise<string[]> {
  const { files, dir } = sandbox;
  const kubeconfig = join(dir, 'kexer.json');
  await writeFile(kubeconfig, JSON.stringify(parse(await readFile(files.kexerKubeconfig, 'utf8'))), { mode: 0o600 });
  return Object.entries({
    kubeconfig,
    'bind-address': '127.0.0.1',
    'tls-cert-file': files.kexerCertFile,
    'tls-private-key-file': files.kexerKeyFile,
    'kubelet-client-certificate': files.kexerKubeletCertFile,
    'kubelet-client-key': files.kexerKubeletKeyFile,
    'impersonator-service-account': 'kexec-system/kexer-impersonator',
  })
    .flatMap(([flag, value]) => [`--${flag}`, value])
    .concat('--identity-impersonation', '--identity-allow-privileged');
}

const offers = {
  /** @param input.kubeletPorts of node1 and node2. */
  async start({ kubeletPorts }: { kubeletPorts: readonly number[] }): Promise<SandboxFacts> {
    await sandbox.ready();
    for (const [index, port] of kubeletPorts.entries()) {
      sandbox.store.mutate({ group: '', resource: 'nodes', namespace: '', name: `node${index + 1}` }, (draft) => {
        const status = draft['status'] as { daemonEndpoints: { kubeletEndpoint: { Port: number } } };
        status.daemonEndpoints.kubeletEndpoint.Port = port;
      });
    }
    return { kexerFlags: await kexerFlags(), apiserverPort: sandbox.apiserver.port, token: sandbox.tokens.alice };
  },
  /** Config maps of together so many MiB, in the namespace `default`. */
  async fill({ mebibytes }: { mebibytes: number }): Promise<void> {
    const text = 'a'.repeat(256 * 1024);
    for (let index = 0; index < mebibytes * 4; index += 1) {
      sandbox.store.create(
        { group: '', resource: 'configmaps' },
        {
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: { name: `bulk-${index}`, namespace: 'default' },
          data: { text },
        },
      );
    }
  },
  async empty(): Promise<void> {
    const resource = { group: '', resource: 'configmaps' };
    for (const { metadata } of sandbox.store.list(resource, 'default')) {
      if (metadata.name.startsWith('bulk-'))
        sandbox.store.delete({ ...resource, namespace: 'default', name: metadata.name });
    }
  },
};

export type SandboxOffers = typeof offers;

offer(offers, () => sandbox.stop());
