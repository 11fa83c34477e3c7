// Keeps as many pods of each ReplicaSet as it asks for, and says how many there are.

import { at, integer, records, stringMap } from '../apiserver/objects/fields.ts';
import { isJsonEqual } from '../apiserver/objects/object.ts';
import type { KubeObject } from '../apiserver/store.ts';
import { type ClusterClient, controllerReference, isControlledBy, isGone, keyOf } from './cluster-client.ts';
import { EventRecorder } from './event-recorder.ts';
import { OwnerQueue } from './owner-queue.ts';
import { splitKey } from './work-queue.ts';

export const podResource = { group: '', resource: 'pods' } as const;
export const replicaSetResource = { group: 'apps', resource: 'replicasets' } as const;

/** Counts as a replica: neither ended nor on its way out. */
export function isActive(pod: KubeObject): boolean {
  const phase = at(pod, 'status', 'phase');
  return phase !== 'Succeeded' && phase !== 'Failed' && pod.metadata.deletionTimestamp === undefined;
}

export function isReady(pod: KubeObject): boolean {
  return records(at(pod, 'status', 'conditions')).some(
    (condition) => condition['type'] === 'Ready' && condition['status'] === 'True',
  );
}

/** A pod from a controller's template. */
export function podFromTemplate(owner: KubeObject): KubeObject {
  const template = at(owner, 'spec', 'template');
  const labels = stringMap(at(template, 'metadata', 'labels'));
  const annotations = stringMap(at(template, 'metadata', 'annotations'));
  const spec = at(template, 'spec');
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: '',
      generateName: `${owner.metadata.name}-`,
      namespace: owner.metadata.namespace ?? '',
      ...(Object.keys(labels).length === 0 ? {} : { labels }),
      ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
      ownerReferences: [controllerReference(owner)],
    },
    spec: structuredClone(spec),
  };
}

/** Those that are deleted first when there are too many: not ready ones, then the newest. */
function byExpendability(a: KubeObject, b: KubeObject): number {
  if (isReady(a) !== isReady(b)) return isReady(a) ? 1 : -1;
  return (b.metadata.creationTimestamp ?? '').localeCompare(a.metadata.creationTimestamp ?? '');
}

export class ReplicaSets {
  readonly #cluster: ClusterClient;
  readonly #events: EventRecorder;
  readonly #queue: OwnerQueue;

  constructor(cluster: ClusterClient) {
    this.#cluster = cluster;
    this.#events = new EventRecorder(cluster, { component: 'replicaset-controller' });
    const options = { owners: replicaSetResource, kind: 'ReplicaSet', controlled: podResource };
    this.#queue = new OwnerQueue(cluster, options, (key) => this.#reconcile(key));
  }

  start(): void {
    this.#queue.start();
  }

  stop(): Promise<void> {
    return this.#queue.stop();
  }

  async #reconcile(key: string): Promise<void> {
    const { store } = this.#cluster;
    const set = store.get({ ...replicaSetResource, ...splitKey(key) });
    if (set === undefined) return;
    const wanted = integer(at(set, 'spec', 'replicas'), 1);
    const active = this.#podsOf(set).filter(isActive);
    if (set.metadata.deletionTimestamp === undefined) {
      for (let count = active.length; count < wanted; count += 1) await this.#createPod(set);
      const excess = active.toSorted(byExpendability).slice(0, Math.max(0, active.length - wanted));
      for (const pod of excess) this.#deletePod(set, pod);
    }
    await this.#writeStatus(set);
  }

  #podsOf(set: KubeObject): KubeObject[] {
    return this.#cluster.store.list(podResource, set.metadata.namespace).filter((pod) => isControlledBy(pod, set));
  }

  async #createPod(set: KubeObject): Promise<void> {
    try {
      const { name } = (await this.#cluster.create(podResource, podFromTemplate(set))).metadata;
      this.#events.record(set, { type: 'Normal', reason: 'SuccessfulCreate', message: `Created pod: ${name}` });
    } catch (error) {
      const message = `Error creating: ${error instanceof Error ? error.message : String(error)}`;
      this.#events.record(set, { type: 'Warning', reason: 'FailedCreate', message });
      throw error;
    }
  }

  #deletePod(set: KubeObject, pod: KubeObject): void {
    this.#cluster.delete(keyOf(podResource, pod));
    const message = `Deleted pod: ${pod.metadata.name}`;
    this.#events.record(set, { type: 'Normal', reason: 'SuccessfulDelete', message });
  }

  async #writeStatus(set: KubeObject): Promise<void> {
    const active = this.#podsOf(set).filter(isActive);
    const ready = active.filter(isReady).length;
    const labels = Object.entries(stringMap(at(set, 'spec', 'template', 'metadata', 'labels')));
    const labeled = active.filter((pod) => labels.every(([name, value]) => pod.metadata.labels?.[name] === value));
    const status = {
      replicas: active.length,
      ...(labeled.length === 0 ? {} : { fullyLabeledReplicas: labeled.length }),
      ...(ready === 0 ? {} : { readyReplicas: ready, availableReplicas: ready }),
      observedGeneration: set.metadata.generation ?? 0,
    };
    if (isJsonEqual(status, set['status'])) return;
    try {
      await this.#cluster.updateStatus(keyOf(replicaSetResource, set), (draft) => (draft['status'] = status));
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
}
