// The sandbox cluster's memory: an in-process, synchronous object store with one global resourceVersion counter, optimistic
// locking and a bounded watch history for each resource. Objects are cloned and deep-frozen on the way in and handed out as they
// are. It knows nothing of HTTP, users, defaults or validation (see resource-server.ts): kubelets, controllers and RBAC use it
// directly, as what they are in a real cluster, trusted.
//
// Deleting pods (the kubelet's part): `DELETE` of a pod bound to a node does not remove it. The resource server sets
// `metadata.deletionTimestamp` and `metadata.deletionGracePeriodSeconds`, which watchers see as MODIFIED. The pod's kubelet
// stops the containers within that many seconds and then calls `store.delete(key)`, which is a delete with grace 0: it
// removes the object (DELETED), or, if it has finalizers, leaves it until the last one is taken off. An unbound pod, or
// one deleted with grace 0, vanishes at once; the kubelet sees DELETED and kills what still runs.

import { randomUUID } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { alreadyExists, conflict, expired, type GroupResource, notFound, StatusError } from '../../kube/status.ts';
import { tellSecretData } from '../made-secrets.ts';
import { EventHistory, type StoreEvent } from './objects/event-history.ts';
import { deepFreeze, isJsonEqual, type KubeObject, kubeTime, type ObjectKey } from './objects/object.ts';

export type { StoreEvent } from './objects/event-history.ts';
export type { KubeObject, ObjectKey, ObjectMeta, OwnerReference } from './objects/object.ts';

/** Called once for each change, in order, synchronously within the write that made it; must not throw. */
export type WatchHandler = (event: StoreEvent) => void;

export interface StoreOptions {
  /** Events kept for each resource; at least this many, at most twice as many. */
  readonly maxHistoryEvents?: number;
  /** Where the counter starts; watches from below it are 410, as in a cluster that has lived and compacted. */
  readonly startRevision?: number;
}

export interface Preconditions {
  readonly uid?: string;
  readonly resourceVersion?: string;
}

/** What a delete did: the object is gone, or waits for its finalizers (then `object` is as stored now). */
export interface Deletion {
  readonly object: KubeObject;
  readonly isGone: boolean;
}

const optimisticLockMessage =
  'the object has been modified; please apply your changes to the latest version and try again';

class Collection {
  readonly objects = new Map<string, KubeObject>();
  /** With the revision each one has seen: one that starts inside a delivery must not get what its snapshot holds already. */
  readonly handlers = new Map<WatchHandler, number>();
  readonly history: EventHistory;
  /** Keys in etcd's order; undefined after an addition or removal, made again by the next list. */
  sortedKeys: string[] | undefined;

  constructor(history: EventHistory) {
    this.history = history;
  }
}

/** Joins namespace and name so that keys sort as etcd's do: by namespace, then name. */
function keyText(namespace: string, name: string): string {
  return namespace === '' ? name : `${namespace}/${name}`;
}

/** Namespaces have finalizers of their own in the spec: they go when the last one is off. */
function hasSpecFinalizers({ spec }: KubeObject): boolean {
  if (typeof spec !== 'object' || spec === null || !('finalizers' in spec)) return false;
  return Array.isArray(spec.finalizers) && spec.finalizers.length > 0;
}

export class Store {
  readonly #clock: Clock;
  readonly #maxHistoryEvents: number;
  readonly #startRevision: number;
  readonly #collections = new Map<string, Collection>();
  readonly #undelivered: { collection: Collection; event: StoreEvent }[] = [];
  #isDelivering = false;
  #revision: number;

  constructor(deps: { clock: Clock }, options: StoreOptions = {}) {
    this.#clock = deps.clock;
    this.#maxHistoryEvents = options.maxHistoryEvents ?? 5000;
    this.#startRevision = options.startRevision ?? 1000;
    this.#revision = this.#startRevision;
  }

  /** The version of the newest change anywhere in the store. */
  get resourceVersion(): string {
    return String(this.#revision);
  }

  get(key: ObjectKey): KubeObject | undefined {
    return this.#collection(key).objects.get(keyText(key.namespace, key.name));
  }

  /** @throws StatusError 404. */
  mustGet(key: ObjectKey): KubeObject {
    const object = this.get(key);
    if (object === undefined) throw new StatusError(notFound(key, key.name));
    return object;
  }

  /** Sorted by namespace and name. Without `namespace` (or with ''): of all namespaces. */
  list(resource: GroupResource, namespace = ''): KubeObject[] {
    const collection = this.#collection(resource);
    collection.sortedKeys ??= [...collection.objects.keys()].sort();
    const prefix = namespace === '' ? '' : `${namespace}/`;
    const found: KubeObject[] = [];
    for (const key of collection.sortedKeys) {
      const object = key.startsWith(prefix) ? collection.objects.get(key) : undefined;
      if (object !== undefined) found.push(object);
    }
    return found;
  }

  count(resource: GroupResource): number {
    return this.#collection(resource).objects.size;
  }

  /**
   * Adds an object whose `metadata.name` is set; gives it uid, creationTimestamp and resourceVersion (a uid or timestamp that is
   * there already stays).
   * @throws StatusError 409 AlreadyExists.
   */
  create(resource: GroupResource, object: KubeObject): KubeObject {
    const collection = this.#collection(resource);
    const { namespace = '', name } = object.metadata;
    const key = keyText(namespace, name);
    if (collection.objects.has(key)) throw new StatusError(alreadyExists(resource, name));
    const draft = structuredClone(object);
    draft.metadata.uid ??= randomUUID();
    draft.metadata.creationTimestamp ??= kubeTime(this.#clock.now());
    if (resource.resource === 'secrets') tellSecretData(key, draft['data']);
    return this.#write(collection, key, 'ADDED', draft);
  }

  /**
   * Replaces an object. With `metadata.resourceVersion` set it must be the stored one; without, the update is unconditional. Nothing
   * is written and no version used if nothing changed. An object that is being deleted and has lost its last finalizer is removed
   * (`Deletion.isGone`), as the generic registry does.
   * @throws StatusError 404, or 409 Conflict.
   */
  update(resource: GroupResource, object: KubeObject): KubeObject {
    const { namespace = '', name, resourceVersion } = object.metadata;
    const key: ObjectKey = { group: resource.group, resource: resource.resource, namespace, name };
    const current = this.mustGet(key);
    if (resourceVersion !== undefined && resourceVersion !== current.metadata.resourceVersion) {
      throw new StatusError(conflict(resource, name, optimisticLockMessage));
    }
    const draft = structuredClone(object);
    draft.metadata.resourceVersion = current.metadata.resourceVersion ?? '';
    // Identity is the store's: an update can neither move nor revive an object.
    if (current.metadata.uid !== undefined) draft.metadata.uid = current.metadata.uid;
    if (current.metadata.creationTimestamp !== undefined) {
      draft.metadata.creationTimestamp = current.metadata.creationTimestamp;
    }
    const collection = this.#collection(resource);
    if (isJsonEqual(draft, current)) return current;
    if (resource.resource === 'secrets') tellSecretData(keyText(namespace, name), draft['data']);
    const isReleased =
      draft.metadata.deletionTimestamp !== undefined &&
      (draft.metadata.deletionGracePeriodSeconds ?? 0) === 0 &&
      (draft.metadata.finalizers?.length ?? 0) === 0 &&
      !hasSpecFinalizers(draft);
    return this.#write(collection, keyText(namespace, name), isReleased ? 'DELETED' : 'MODIFIED', draft);
  }

  /**
   * Reads, lets `change` edit a draft, writes. For controllers and kubelets; `change` runs once, synchronously, so no lock is needed.
   * @throws StatusError 404.
   */
  mutate(key: ObjectKey, change: (draft: KubeObject) => void): KubeObject {
    const draft = structuredClone(this.mustGet(key));
    change(draft);
    return this.update(key, draft);
  }

  /**
   * Deletes with grace 0. An object with finalizers stays, marked with deletionTimestamp and a grace of 0, until an update takes off
   * the last one.
   * @throws StatusError 404, or 409 if a precondition does not hold.
   */
  delete(key: ObjectKey, preconditions: Preconditions = {}): Deletion {
    const current = this.mustGet(key);
    this.#checkPreconditions(key, current, preconditions);
    if ((current.metadata.finalizers?.length ?? 0) > 0) {
      const object = this.mutate(key, (draft) => {
        draft.metadata.deletionTimestamp ??= kubeTime(this.#clock.now());
        draft.metadata.deletionGracePeriodSeconds = 0;
      });
      return { object, isGone: false };
    }
    const text = keyText(key.namespace, key.name);
    return { object: this.#write(this.#collection(key), text, 'DELETED', structuredClone(current)), isGone: true };
  }

  /**
   * Calls `handler` for every change of `resource` (all namespaces) after `from`: first, before this returns, for those in the
   * history, then for new ones. `from` undefined means from now on; a lister passes the `resourceVersion` it read before.
   * @returns a function that ends the watch.
   * @throws StatusError 410 Expired if the history does not reach back to `from`.
   */
  watch(resource: GroupResource, from: string | undefined, handler: WatchHandler): () => void {
    const collection = this.#collection(resource);
    if (from !== undefined) {
      const missed = collection.history.after(Number(from));
      if (missed === undefined) {
        throw new StatusError(expired(`too old resource version: ${from} (${collection.history.floor})`));
      }
      for (const event of missed) handler(event);
    }
    collection.handlers.set(handler, this.#revision);
    return () => collection.handlers.delete(handler);
  }

  /** Watches now going on, over all resources; tests assert that it returns to 0. */
  get watchCount(): number {
    let count = 0;
    for (const collection of this.#collections.values()) count += collection.handlers.size;
    return count;
  }

  /** Forgets all history up to now, so that every older version is 410 (for tests and for `compact` in the sandbox). */
  compact(): void {
    for (const collection of this.#collections.values()) collection.history.compact(this.#revision);
  }

  /** The texts of rest.BeforeDelete, which names the kind where others name the resource. */
  #checkPreconditions(key: ObjectKey, current: KubeObject, wanted: Preconditions): void {
    const { uid = '', resourceVersion = '' } = current.metadata;
    const refuse = (what: string, want: string, have: string, guess: string): never => {
      const reason = `the ${what} in the precondition (${want}) does not match the ${what} in record (${have}). The object might have been ${guess}`;
      throw new StatusError(conflict({ group: key.group, resource: current.kind }, key.name, reason));
    };
    if (wanted.uid !== undefined && wanted.uid !== uid) {
      refuse('UID', wanted.uid, uid, 'deleted and then recreated');
    }
    if (wanted.resourceVersion !== undefined && wanted.resourceVersion !== resourceVersion) {
      refuse('ResourceVersion', wanted.resourceVersion, resourceVersion, 'modified');
    }
  }

  #write(collection: Collection, key: string, type: StoreEvent['type'], draft: KubeObject): KubeObject {
    this.#revision += 1;
    draft.metadata.resourceVersion = String(this.#revision);
    const object = deepFreeze(draft);
    const previous = collection.objects.get(key);
    if (type === 'DELETED') collection.objects.delete(key);
    else collection.objects.set(key, object);
    if (type !== 'MODIFIED') collection.sortedKeys = undefined;
    const event: StoreEvent = { type, object, previous, revision: this.#revision };
    collection.history.push(event);
    this.#undelivered.push({ collection, event });
    this.#deliver();
    return object;
  }

  /** A handler may write; its event waits its turn here, so that every handler sees all events in order. */
  #deliver(): void {
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    try {
      for (let next = this.#undelivered.shift(); next !== undefined; next = this.#undelivered.shift()) {
        for (const [handler, since] of next.collection.handlers) if (next.event.revision > since) handler(next.event);
      }
    } finally {
      this.#isDelivering = false;
    }
  }

  #collection({ group, resource }: GroupResource): Collection {
    const key = `${group}/${resource}`;
    let collection = this.#collections.get(key);
    if (collection === undefined) {
      collection = new Collection(new EventHistory({ maxEvents: this.#maxHistoryEvents, floor: this.#startRevision }));
      this.#collections.set(key, collection);
    }
    return collection;
  }
}
