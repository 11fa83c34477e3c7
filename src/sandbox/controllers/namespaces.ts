// What every namespace gets (the service account `default` and the ConfigMap `kube-root-ca.crt`), and its end: a namespace that is
// Terminating is emptied, and gone when nothing is left in it.

import { at, child } from '../apiserver/objects/fields.ts';
import { resourceDefinitions } from '../apiserver/resources/catalog.ts';
import type { KubeObject } from '../apiserver/store.ts';
import { type ClusterClient, keyOf } from './cluster-client.ts';
import { WorkQueue } from './work-queue.ts';

const namespaceResource = { group: '', resource: 'namespaces' } as const;
const accountResource = { group: '', resource: 'serviceaccounts' } as const;
const configMapResource = { group: '', resource: 'configmaps' } as const;

const rootCaName = 'kube-root-ca.crt';

/** Kinds that live in namespaces, events last: what is deleted before may still write some. */
const namespacedKinds = resourceDefinitions
  .filter(({ isNamespaced, isStored }) => isNamespaced && isStored)
  .toSorted((a, b) => Number(a.resource === 'events') - Number(b.resource === 'events'));

/** How often a namespace that is not empty yet (pods with a grace) is looked at again. */
const emptyRetryMs = 200;

export class Namespaces {
  readonly #cluster: ClusterClient;
  readonly #rootCa: string;
  readonly #queue: WorkQueue;
  readonly #unwatch: (() => void)[] = [];

  constructor(cluster: ClusterClient, options: { rootCa: string }) {
    this.#cluster = cluster;
    this.#rootCa = options.rootCa;
    this.#queue = new WorkQueue(cluster, (name) => this.#reconcile(name));
  }

  start(): void {
    const { store } = this.#cluster;
    const from = store.resourceVersion;
    for (const { metadata } of store.list(namespaceResource)) this.#queue.add(metadata.name);
    this.#unwatch.push(store.watch(namespaceResource, from, ({ object }) => this.#queue.add(object.metadata.name)));
    // Somebody deleted or changed what every namespace must have.
    for (const [resource, name] of [
      [accountResource, 'default'],
      [configMapResource, rootCaName],
    ] as const) {
      const again = store.watch(resource, from, ({ object, type }) => {
        if (type !== 'ADDED' && object.metadata.name === name) this.#queue.add(object.metadata.namespace ?? '');
      });
      this.#unwatch.push(again);
    }
  }

  stop(): Promise<void> {
    for (const unwatch of this.#unwatch) unwatch();
    return this.#queue.stop();
  }

  async #reconcile(name: string): Promise<void> {
    const namespace = this.#cluster.store.get({ ...namespaceResource, namespace: '', name });
    if (namespace === undefined) return;
    if (namespace.metadata.deletionTimestamp !== undefined) this.#empty(namespace);
    else await this.#provide(name);
  }

  async #provide(namespace: string): Promise<void> {
    const { store } = this.#cluster;
    if (store.get({ ...accountResource, namespace, name: 'default' }) === undefined) {
      const metadata = { name: 'default', namespace };
      await this.#cluster.create(accountResource, { apiVersion: 'v1', kind: 'ServiceAccount', metadata });
    }
    const data = { 'ca.crt': this.#rootCa };
    const key = { ...configMapResource, namespace, name: rootCaName };
    const existing = store.get(key);
    if (existing === undefined) {
      const description =
        'Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.';
      const metadata = { name: rootCaName, namespace, annotations: { 'kubernetes.io/description': description } };
      await this.#cluster.create(configMapResource, { apiVersion: 'v1', kind: 'ConfigMap', metadata, data });
    } else if (at(existing, 'data', 'ca.crt') !== this.#rootCa) {
      await this.#cluster.update(key, (draft) => (draft['data'] = data));
    }
  }

  #empty(namespace: KubeObject): void {
    const { store } = this.#cluster;
    const { name } = namespace.metadata;
    for (const definition of namespacedKinds) {
      for (const object of store.list(definition, name)) {
        if (object.metadata.deletionTimestamp === undefined) this.#cluster.delete(keyOf(definition, object));
      }
    }
    if (namespacedKinds.some((definition) => store.list(definition, name).length > 0)) {
      this.#queue.addAfter(emptyRetryMs, name);
      return;
    }
    const key = keyOf(namespaceResource, namespace);
    store.mutate(key, (draft) => {
      child(draft, 'spec')['finalizers'] = [];
    });
    if (store.get(key) !== undefined) store.delete(key);
  }
}
