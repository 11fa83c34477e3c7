// What the controllers do to the cluster: writes go through the apiserver's registry, with its defaults, validation and generations,
// as a real controller's do; reads come straight from the store.

import type { Clock } from '../../base/clock.ts';
import { StatusError } from '../../kube/status.ts';
import type { GroupResource } from '../../kube/status.ts';
import { Deleter } from '../apiserver/lifecycle/deletion.ts';
import { Registry, type WriteContext } from '../apiserver/lifecycle/registry.ts';
import { findGroupResource, type ResourceDefinition } from '../apiserver/resources/catalog.ts';
import type { KubeObject, ObjectKey, Store } from '../apiserver/store.ts';

const maxTries = 5;

/** A reference of an object by its controller. */
export function controllerReference(owner: KubeObject): NonNullable<KubeObject['metadata']['ownerReferences']>[number] {
  return {
    apiVersion: owner.apiVersion,
    kind: owner.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid ?? '',
    controller: true,
    blockOwnerDeletion: true,
  };
}

export function isControlledBy(object: KubeObject, owner: KubeObject): boolean {
  return (object.metadata.ownerReferences ?? []).some(
    ({ controller, uid }) => controller === true && uid === owner.metadata.uid,
  );
}

export class ClusterClient {
  readonly store: Store;
  readonly clock: Clock;
  readonly #registry: Registry;
  readonly #deleter: Deleter;
  readonly #manager: string;

  constructor(deps: { store: Store; clock: Clock }, manager: string) {
    this.store = deps.store;
    this.clock = deps.clock;
    this.#registry = new Registry(deps);
    this.#deleter = new Deleter(deps);
    this.#manager = manager;
  }

  create(resource: GroupResource, object: KubeObject): Promise<KubeObject> {
    const namespace = object.metadata.namespace ?? '';
    return this.#registry.create(definitionOf(resource), object, namespace, this.#context(''));
  }

  /** @throws StatusError 404 if it is gone. */
  update(key: ObjectKey, change: (draft: KubeObject) => void): Promise<KubeObject> {
    return this.#write(key, '', change);
  }

  updateStatus(key: ObjectKey, change: (draft: KubeObject) => void): Promise<KubeObject> {
    return this.#write(key, 'status', change);
  }

  /** Deletes with the kind's own grace; nothing happens if it is gone. */
  delete(key: ObjectKey): void {
    try {
      this.#deleter.delete(definitionOf(key), key);
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  /** Another writer's change in between makes another try: `change` is made anew on what is there then. */
  async #write(key: ObjectKey, subresource: string, change: (draft: KubeObject) => void): Promise<KubeObject> {
    const edit = (current: KubeObject): KubeObject => {
      change(current);
      return current;
    };
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#registry.update(definitionOf(key), key, edit, this.#context(subresource));
      } catch (error) {
        const isConflict = error instanceof StatusError && error.status.reason === 'Conflict';
        if (!isConflict || tries === maxTries) throw error;
      }
    }
  }

  #context(subresource: string): WriteContext {
    return {
      manager: this.#manager,
      isDryRun: false,
      subresource,
      admit: (_operation, object) => Promise.resolve(object),
    };
  }
}

export function isGone(error: unknown): boolean {
  return error instanceof StatusError && error.status.code === 404;
}

function definitionOf(resource: GroupResource): ResourceDefinition {
  const definition = findGroupResource(resource);
  if (definition === undefined) throw new TypeError(`no resource ${resource.group}/${resource.resource}`);
  return definition;
}

export function keyOf(resource: GroupResource, object: KubeObject): ObjectKey {
  const { group, resource: name } = resource;
  return { group, resource: name, namespace: object.metadata.namespace ?? '', name: object.metadata.name };
}
