// Several kexers, each a process of its own, behind one Service of a sandbox: what a Deployment with replicas is.

import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { Scope } from '../../../src/base/scope.ts';
import { type Sandbox, startSandbox } from '../../../src/sandbox/sandbox.ts';
import { KexerProcess } from './kexer-process.ts';
import { kubectl, type KubectlRun } from './kubectl.ts';

const outerPath = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';
const slices = { group: 'discovery.k8s.io', resource: 'endpointslices' } as const;
const namespace = 'kexec-system';

/** An endpoint of a slice, as far as tests vary it. */
export interface EndpointEntry {
  readonly port: number;
  /** The pod's name; left out: the slice does not tell it. */
  readonly pod?: string;
  readonly conditions?: { readonly ready?: boolean; readonly serving?: boolean; readonly terminating?: boolean };
}

export class Replicas {
  readonly sandbox: Sandbox;
  readonly kexers: readonly KexerProcess[];
  readonly #scope: Scope;

  constructor(sandbox: Sandbox, kexers: readonly KexerProcess[], scope: Scope) {
    this.sandbox = sandbox;
    this.kexers = kexers;
    this.#scope = scope;
  }

  /** Two kexers, `kexer-0` and `kexer-1`, and slices that lead to both. */
  static async start(): Promise<Replicas> {
    const scope = new Scope();
    try {
      const sandbox = await startSandbox();
      scope.add(() => sandbox.stop());
      const tokenFile = await writePeerToken(sandbox, 'kexer');
      const kexers = await Promise.all(
        ['kexer-0', 'kexer-1'].map((name) => KexerProcess.start(sandbox, peerFlags(sandbox, name, tokenFile))),
      );
      for (const kexer of kexers) scope.add(() => kexer.stop().then(() => undefined));
      const replicas = new Replicas(sandbox, kexers, scope);
      replicas.placeAll();
      await sandbox.ready();
      return replicas;
    } catch (error) {
      await scope.close();
      throw error;
    }
  }

  stop(): Promise<void> {
    return this.#scope.close();
  }

  /** Each kexer in a slice, as it would be on a cluster. */
  placeAll(): void {
    this.place(this.kexers.map(({ port }, index) => ({ port, pod: `kexer-${index}` })));
  }

  /** Where the Service leads from now on. A slice has one list of ports, so that each entry is a slice here. */
  place(entries: readonly EndpointEntry[]): void {
    const { store } = this.sandbox;
    for (const slice of store.list(slices, namespace)) {
      store.delete({ ...slices, namespace, name: slice.metadata.name });
    }
    for (const [
      index,
      { port, pod, conditions = { ready: true, serving: true, terminating: false } },
    ] of entries.entries()) {
      store.create(slices, {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { name: `kexer-${index}`, namespace, labels: { 'kubernetes.io/service-name': 'kexer' } },
        addressType: 'IPv4',
        endpoints: [
          {
            addresses: ['127.0.0.1'],
            conditions,
            ...(pod === undefined ? {} : { targetRef: { kind: 'Pod', namespace, name: pod } }),
          },
        ],
        ports: [{ name: 'https', protocol: 'TCP', port }],
      });
    }
  }

  /** kubectl through one of them into the cluster: there kexer's own resources lead to whichever kexer is registered. */
  kubectl(index: number, args: readonly string[], context = 'kexer'): Promise<KubectlRun> {
    return this.#kubectl(index, outerPath, args, { context });
  }

  /** kubectl straight at one of them, for its own resources. */
  own(index: number, args: readonly string[], context = 'kexer'): Promise<KubectlRun> {
    return this.#kubectl(index, '', args, { context });
  }

  /** The same, until what it printed is enough. */
  ownUntil(index: number, args: readonly string[], isEnough: (stdout: string) => boolean): Promise<KubectlRun> {
    return this.#kubectl(index, '', args, { context: 'kexer', isEnough });
  }

  #kubectl(
    index: number,
    path: string,
    args: readonly string[],
    options: { context: string; isEnough?: (stdout: string) => boolean },
  ): Promise<KubectlRun> {
    const server = `https://127.0.0.1:${this.kexers[index]?.port ?? 0}${path}`;
    const { files, dir: home } = this.sandbox;
    return kubectl(['--server', server, ...args], { kubeconfig: files.kubeconfig, home, ...options });
  }
}

/** A token of the audience of peers; give its file to kexer. */
export async function writePeerToken(sandbox: Sandbox, account: string, audience = 'kexer-peer'): Promise<string> {
  const file = join(sandbox.dir, `peer-${account}-${audience}.token`);
  await rm(file, { force: true });
  await writeFile(file, sandbox.serviceAccountToken(namespace, account, { audiences: [audience] }));
  return file;
}

/** What makes a kexer one of several. */
export function peerFlags(sandbox: Sandbox, name: string, tokenFile: string): string[] {
  return [
    '--peer-service',
    `${namespace}/kexer`,
    '--peer-token-file',
    tokenFile,
    '--peer-ca-file',
    sandbox.files.servingCaFile,
    '--peer-name',
    name,
  ];
}
