// Two sandboxes: a near one with kexer in front of it, and a far one that knows nothing of kexer but the account of sample/clusters/account.yaml. The
// near one has no pods, so that whatever is done to a pod is done in the far one. Secrets in the namespace `clusters` lead there.

import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { type Sandbox, startSandbox } from '../../../src/sandbox/sandbox.ts';
import { clusterPath, ClusterSecrets } from './cluster-secrets.ts';
import { kubectl } from './kubectl.ts';
import { type KubectlOptions, type KubectlResult, Stage } from './stage.ts';

const accountFile = fileURLToPath(new URL('../../../sample/clusters/account.yaml', import.meta.url));

export class TwoClusters {
  readonly near: Stage;
  readonly secrets: ClusterSecrets;
  readonly far: Sandbox;
  /** Of the account in the far cluster. */
  readonly token: string;
  /** The authorities of the far apiserver and of its kubelets. */
  readonly farCa: string;

  private constructor(near: Stage, far: Sandbox, token: string, farCa: string) {
    this.near = near;
    this.secrets = new ClusterSecrets(near);
    this.far = far;
    this.token = token;
    this.farCa = farCa;
  }

  /** @param flags further flags of `kexer serve`. */
  static async start(flags: readonly string[] = []): Promise<TwoClusters> {
    const far = await startSandbox();
    try {
      const near = await Stage.start({ hasSamplePods: false }, [
        '--cluster-namespaces=clusters',
        '--cluster-allowed-endpoints=127.0.0.1',
        ...flags,
      ]);
      const admin = { kubeconfig: far.files.kubeconfig, context: 'cluster', home: far.dir };
      const applied = await kubectl(['apply', '-f', accountFile], admin);
      if (applied.code !== 0) throw new Error(applied.stderr);
      // What shared calls may do there.
      const bound = await kubectl(
        ['create', 'rolebinding', 'kexer-remote', '--clusterrole=cluster-admin', '--serviceaccount=kexer-remote:kexer'],
        admin,
      );
      if (bound.code !== 0) throw new Error(bound.stderr);
      await far.ready();
      const token = far.serviceAccountToken('kexer-remote', 'kexer');
      const { servingCaFile, kubeletCaFile } = far.files;
      const farCa = `${await readFile(servingCaFile, 'utf8')}${await readFile(kubeletCaFile, 'utf8')}`;
      return new TwoClusters(near, far, token, farCa);
    } catch (error) {
      await far.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    await this.near.stop();
    await this.far.stop();
  }

  /** What a Secret that leads to the far cluster says. */
  secretData(parts: Readonly<Record<string, string | undefined>> = {}): Record<string, string> {
    const all = {
      endpointUrl: this.far.apiserver.url,
      caData: this.farCa,
      token: this.token,
      identity: 'impersonate',
      ...parts,
    };
    return Object.fromEntries(Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined));
  }

  /** kubectl through kexer into a cluster that a Secret names; alice unless said otherwise. */
  kubectl(cluster: string, args: readonly string[], options: KubectlOptions = {}): Promise<KubectlResult> {
    return this.near.kubectl([...this.args(cluster), ...args], { context: 'kexer-alice', ...options });
  }

  /** The flags that lead there. */
  args(cluster: string): string[] {
    return ['--server', `https://127.0.0.1:${this.near.port}${clusterPath(cluster)}`];
  }
}
