// What a controller of owners works on: each of its objects, once it or something that it controls has changed. Starts with all there are.

import type { GroupResource } from '../../kube/status.ts';
import type { ClusterClient } from './cluster-client.ts';
import { joinKey, WorkQueue } from './work-queue.ts';

export interface OwnerQueueOptions {
  readonly owners: GroupResource;
  /** Of the owners, as references to them name it. */
  readonly kind: string;
  /** What they control. */
  readonly controlled: GroupResource;
}

export class OwnerQueue {
  readonly #cluster: ClusterClient;
  readonly #options: OwnerQueueOptions;
  readonly #queue: WorkQueue;
  readonly #unwatch: (() => void)[];

  /** @param reconcile gets keys, of owners that may be gone. What fails is tried again. */
  constructor(cluster: ClusterClient, options: OwnerQueueOptions, reconcile: (key: string) => Promise<void>) {
    this.#cluster = cluster;
    this.#options = options;
    this.#queue = new WorkQueue(cluster, reconcile);
    this.#unwatch = [];
  }

  start(): void {
    const { store } = this.#cluster;
    const { owners, kind, controlled } = this.#options;
    const from = store.resourceVersion;
    for (const { metadata } of store.list(owners)) this.#add(metadata.namespace, metadata.name);
    this.#unwatch.push(
      store.watch(owners, from, ({ object }) => this.#add(object.metadata.namespace, object.metadata.name)),
      store.watch(controlled, from, ({ object: { metadata } }) => {
        for (const owner of metadata.ownerReferences ?? []) {
          if (owner.kind === kind && owner.controller === true) this.#add(metadata.namespace, owner.name);
        }
      }),
    );
  }

  /** Settles when what is being worked on is done. */
  stop(): Promise<void> {
    for (const unwatch of this.#unwatch) unwatch();
    return this.#queue.stop();
  }

  #add(namespace: string | undefined, name: string): void {
    this.#queue.add(joinKey(namespace ?? '', name));
  }
}
