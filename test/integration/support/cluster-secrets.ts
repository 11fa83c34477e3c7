// Secrets that name clusters, in a stage's sandbox: each change settles when kexer has seen it.

import type { Stage } from './stage.ts';

export const clustersNamespace = 'clusters';

const resource = { group: '', resource: 'secrets' };

/** The path of calls to a cluster. */
export function clusterPath(name: string): string {
  return `/apis/backup.cv.io/v1/namespaces/${clustersNamespace}/clusters/${name}/exec`;
}

export class ClusterSecrets {
  readonly #stage: Stage;
  #changes: number;

  constructor(stage: Stage) {
    this.#stage = stage;
    this.#changes = 0;
  }

  /** Creates or replaces it. */
  async put(name: string, data: Readonly<Record<string, string>>): Promise<void> {
    const { store } = this.#stage.sandbox;
    const encoded = Object.fromEntries(
      Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')]),
    );
    const key = { ...resource, namespace: clustersNamespace, name };
    // So that kexer is told even if nothing else changes.
    this.#changes += 1;
    const annotations = { changes: String(this.#changes) };
    await this.#seen(name, () => {
      if (store.get(key) === undefined) {
        store.create(resource, {
          apiVersion: 'v1',
          kind: 'Secret',
          type: 'backup.cv.io/cluster',
          metadata: { name, namespace: clustersNamespace, annotations },
          data: encoded,
        });
        return;
      }
      store.mutate(key, (draft) => {
        draft['data'] = encoded;
        draft.metadata.annotations = annotations;
      });
    });
  }

  async delete(name: string): Promise<void> {
    await this.#seen(name, () => {
      this.#stage.sandbox.store.delete({ ...resource, namespace: clustersNamespace, name });
    });
  }

  async #seen(name: string, change: () => void): Promise<void> {
    let forget = (): void => {};
    const seen = new Promise<void>((resolve) => {
      forget = this.#stage.kexer.clusters.onSecretChange((_namespace, changed) => {
        if (changed === name) resolve();
      });
    });
    change();
    await seen;
    forget();
  }
}
