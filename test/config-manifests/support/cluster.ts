// A cluster that has never heard of kexer, kubectl as its administrator, and the node that runs kexer's pods: what an installation starts
// from. `serving` waits for what an operator waits for: every pod Ready and the APIService Available.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

import { Scope } from '../../../src/base/scope.ts';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../../src/sandbox/sandbox.ts';
import { KexerNode } from './kexer-node.ts';
import { root } from './manifests.ts';

const run = promisify(execFile);
const lookAgainMs = 50;

export interface KubectlAnswer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class TestCluster {
  readonly sandbox: Sandbox;
  readonly node: KexerNode;
  readonly #scope: Scope;

  private constructor(sandbox: Sandbox, node: KexerNode, scope: Scope) {
    this.sandbox = sandbox;
    this.node = node;
    this.#scope = scope;
  }

  /** @param environment of kexer's pods besides what the manifests say. */
  static async start(options: SandboxOptions & { environment?: Record<string, string> } = {}): Promise<TestCluster> {
    const { environment = {}, ...rest } = options;
    const scope = new Scope();
    try {
      const wanted = { hasKexer: false, hasClusterCaOnKubelets: true, foreignImages: ['kexer'], ...rest };
      const sandbox = await startSandbox(wanted);
      scope.add(() => sandbox.stop());
      const node = await KexerNode.start(sandbox, environment);
      scope.add(() => node.stop());
      await sandbox.ready();
      return new TestCluster(sandbox, node, scope);
    } catch (error) {
      await scope.close();
      throw error;
    }
  }

  stop(): Promise<void> {
    return this.#scope.close();
  }

  /** As the administrator, unless the words name another kubeconfig or context. */
  async kubectl(words: readonly string[], options: { stdin?: string; cwd?: string } = {}): Promise<KubectlAnswer> {
    const running = run('kubectl', [...words], {
      cwd: options.cwd ?? root,
      env: { PATH: process.env['PATH'] ?? '', HOME: this.sandbox.dir, KUBECONFIG: this.sandbox.files.kubeconfig },
      maxBuffer: 64 * 1024 * 1024,
    });
    running.child.stdin?.on('error', () => {});
    running.child.stdin?.end(options.stdin ?? '');
    try {
      return { code: 0, ...(await running) };
    } catch (error) {
      const { code, stdout, stderr } = error as KubectlAnswer;
      return { code, stdout, stderr };
    }
  }

  /** @throws with kubectl's words if it fails. */
  async mustKubectl(words: readonly string[], options: { stdin?: string; cwd?: string } = {}): Promise<string> {
    const { code, stdout, stderr } = await this.kubectl(words, options);
    if (code !== 0) throw new Error(`kubectl ${words.join(' ')}: exit code ${code}: ${stderr}`);
    return stdout;
  }

  /** Until all replicas are Ready and, if there is one, the APIService is Available. @throws if a pod ended by itself. */
  async serving(replicas: number): Promise<void> {
    const service = (): object | undefined =>
      this.sandbox.store.get({
        group: 'apiregistration.k8s.io',
        resource: 'apiservices',
        namespace: '',
        name: 'v1.backup.cv.io',
      });
    await this.until(() => {
      const deployment = this.#status('apps', 'deployments', 'kexer');
      const { readyReplicas, updatedReplicas, replicas: all } = deployment as Record<string, number | undefined>;
      if (readyReplicas !== replicas || updatedReplicas !== replicas || all !== replicas) return false;
      return service() === undefined || conditionOf(service(), 'Available') === 'True';
    });
  }

  /** @throws if one of kexer's pods ended by itself; the test's time limit ends it otherwise. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      const [failure] = this.node.failures;
      if (failure !== undefined) throw failure;
      await pause(lookAgainMs);
    }
  }

  /** Names of kexer's pods that are Ready and are not on their way out. */
  readyPods(): string[] {
    return this.sandbox.store
      .list({ group: '', resource: 'pods' }, 'kexec-system')
      .filter((pod) => pod.metadata.deletionTimestamp === undefined && conditionOf(pod, 'Ready') === 'True')
      .map((pod) => pod.metadata.name);
  }

  /** A file in the sandbox's folder. */
  path(...names: string[]): string {
    return join(this.sandbox.dir, ...names);
  }

  #status(group: string, resource: string, name: string): object {
    const object = this.sandbox.store.get({ group, resource, namespace: 'kexec-system', name });
    const status = object?.['status'];
    return typeof status === 'object' && status !== null ? status : {};
  }
}

function conditionOf(object: object | undefined, type: string): string | undefined {
  const { status } = (object ?? {}) as { status?: { conditions?: readonly { type: string; status: string }[] } };
  return status?.conditions?.find((condition) => condition.type === type)?.status;
}
