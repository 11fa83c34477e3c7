// Deletes what was owned by something that is gone, and serves the two finalizers of DELETE's propagation policies: foreground (first
// the dependents, then the owner) and orphan (the dependents stay and forget their owner). Looks through the whole store each time:
// a sandbox is small.

import { foregroundFinalizer, orphanFinalizer } from '../apiserver/lifecycle/deletion.ts';
import { findKind, type ResourceDefinition, resourceDefinitions } from '../apiserver/resources/catalog.ts';
import type { KubeObject, ObjectKey, OwnerReference } from '../apiserver/store.ts';
import { type ClusterClient, isGone, keyOf } from './cluster-client.ts';
import { WorkQueue } from './work-queue.ts';

const storedKinds = resourceDefinitions.filter(({ isStored, resource }) => isStored && resource !== 'events');

interface Dependent {
  readonly definition: ResourceDefinition;
  readonly object: KubeObject;
}

/** What the queue's key says: an owner that has gone or waits for us. */
interface OwnerKey extends ObjectKey {
  readonly uid: string;
}

function encodeKey({ group, resource, namespace, name, uid }: OwnerKey): string {
  return [group, resource, namespace, name, uid].join('|');
}

function decodeKey(key: string): OwnerKey {
  const [group = '', resource = '', namespace = '', name = '', uid = ''] = key.split('|');
  return { group, resource, namespace, name, uid };
}

/** How often an owner in foreground deletion is looked at while dependents are still on their way out. */
const dependentsRetryMs = 200;

export class GarbageCollector {
  readonly #cluster: ClusterClient;
  readonly #queue: WorkQueue;
  readonly #unwatch: (() => void)[] = [];

  constructor(cluster: ClusterClient) {
    this.#cluster = cluster;
    this.#queue = new WorkQueue(cluster, (key) => this.#collect(decodeKey(key)));
  }

  start(): void {
    const { store } = this.#cluster;
    for (const definition of storedKinds) {
      const unwatch = store.watch(definition, undefined, ({ type, object }) => {
        const { uid = '', deletionTimestamp } = object.metadata;
        const key = encodeKey({ ...keyOf(definition, object), uid });
        if (type === 'DELETED' || deletionTimestamp !== undefined) this.#queue.add(key);
        // Made for an owner that has gone meanwhile.
        if (type === 'ADDED') this.#checkOwners(object);
      });
      this.#unwatch.push(unwatch);
    }
  }

  stop(): Promise<void> {
    for (const unwatch of this.#unwatch) unwatch();
    return this.#queue.stop();
  }

  #checkOwners(object: KubeObject): void {
    for (const reference of object.metadata.ownerReferences ?? []) {
      const definition = findKind(reference.apiVersion, reference.kind);
      if (definition === undefined || this.#owner(object, reference) !== undefined) continue;
      const namespace = definition.isNamespaced ? (object.metadata.namespace ?? '') : '';
      const { group, resource } = definition;
      this.#queue.add(encodeKey({ group, resource, namespace, name: reference.name, uid: reference.uid }));
    }
  }

  /** The owner that a reference names, if it is there; one of a kind the sandbox does not serve is taken to be there. */
  #owner(object: KubeObject, reference: OwnerReference): KubeObject | undefined {
    const definition = findKind(reference.apiVersion, reference.kind);
    if (definition === undefined) return object;
    const namespace = definition.isNamespaced ? (object.metadata.namespace ?? '') : '';
    const owner = this.#cluster.store.get({
      group: definition.group,
      resource: definition.resource,
      namespace,
      name: reference.name,
    });
    return owner?.metadata.uid === reference.uid ? owner : undefined;
  }

  #dependentsOf(uid: string): Dependent[] {
    const { store } = this.#cluster;
    return storedKinds.flatMap((definition) =>
      store
        .list(definition)
        .filter((object) => (object.metadata.ownerReferences ?? []).some((reference) => reference.uid === uid))
        .map((object) => ({ definition, object })),
    );
  }

  #collect(key: OwnerKey): void {
    const owner = this.#cluster.store.get(key);
    const isThere = owner?.metadata.uid === key.uid;
    const finalizers = isThere ? (owner?.metadata.finalizers ?? []) : [];
    const dependents = this.#dependentsOf(key.uid);
    if (finalizers.includes(orphanFinalizer)) {
      for (const dependent of dependents) this.#release(dependent, key.uid);
      this.#finalize(key, orphanFinalizer);
    } else if (finalizers.includes(foregroundFinalizer)) {
      for (const dependent of dependents) this.#deleteDependent(dependent, key.uid);
      // Only those that say so hold the owner back.
      const blocking = this.#dependentsOf(key.uid).filter(({ object }) =>
        (object.metadata.ownerReferences ?? []).some(
          (reference) => reference.uid === key.uid && reference.blockOwnerDeletion === true,
        ),
      );
      if (blocking.length === 0) this.#finalize(key, foregroundFinalizer);
      else this.#queue.addAfter(dependentsRetryMs, encodeKey(key));
    } else if (!isThere) {
      for (const dependent of dependents) this.#deleteDependent(dependent, key.uid);
    }
  }

  /** A dependent with another living owner only forgets this one. */
  #deleteDependent(dependent: Dependent, uid: string): void {
    const { definition, object } = dependent;
    const others = (object.metadata.ownerReferences ?? []).filter((reference) => reference.uid !== uid);
    if (others.some((reference) => this.#owner(object, reference) !== undefined)) this.#release(dependent, uid);
    else if (object.metadata.deletionTimestamp === undefined) this.#cluster.delete(keyOf(definition, object));
  }

  #release({ definition, object }: Dependent, uid: string): void {
    this.#mutate(keyOf(definition, object), (draft) => {
      const left = (draft.metadata.ownerReferences ?? []).filter((reference) => reference.uid !== uid);
      if (left.length === 0) delete draft.metadata.ownerReferences;
      else draft.metadata.ownerReferences = left;
    });
  }

  #finalize(key: ObjectKey, finalizer: string): void {
    this.#mutate(key, (draft) => {
      const left = (draft.metadata.finalizers ?? []).filter((name) => name !== finalizer);
      if (left.length === 0) delete draft.metadata.finalizers;
      else draft.metadata.finalizers = left;
    });
  }

  #mutate(key: ObjectKey, change: (draft: KubeObject) => void): void {
    try {
      this.#cluster.store.mutate(key, change);
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
}
