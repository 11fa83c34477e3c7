// Deleting an object, as the generic registry does it: at once, or gracefully (pods on a node), or held by finalizers. Namespaces go
// through phase Terminating; who empties and finalizes them is controllers.ts.

import type { Clock } from '../../../base/clock.ts';
import { forbidden, StatusError } from '../../../kube/status.ts';
import type { ResourceDefinition } from '../resources/catalog.ts';
import { array, at, child, integer, text } from '../objects/fields.ts';
import { type KubeObject, kubeTime, type ObjectKey } from '../objects/object.ts';
import type { Deletion, Preconditions, Store } from '../store.ts';
import type { PropagationPolicy } from './delete-options.ts';

const immortalNamespaces = new Set(['default', 'kube-system', 'kube-public']);

export interface DeletionRequest {
  readonly graceSeconds?: number | undefined;
  readonly policy?: PropagationPolicy;
  readonly preconditions?: Preconditions;
}

/** The finalizers that make the garbage collector act before an object goes. */
export const foregroundFinalizer = 'foregroundDeletion';
export const orphanFinalizer = 'orphan';

/** Seconds a pod gets: nothing where no kubelet runs it. */
function podGrace(pod: KubeObject, wanted: number | undefined): number {
  const phase = text(at(pod, 'status', 'phase'));
  if (text(at(pod, 'spec', 'nodeName')) === '' || phase === 'Succeeded' || phase === 'Failed') return 0;
  return wanted ?? integer(at(pod, 'spec', 'terminationGracePeriodSeconds'), 30);
}

export class Deleter {
  readonly #store: Store;
  readonly #clock: Clock;

  constructor(deps: { store: Store; clock: Clock }) {
    this.#store = deps.store;
    this.#clock = deps.clock;
  }

  /** @throws StatusError 404, 409 for a precondition, 403 for a namespace that may not go. */
  delete(definition: ResourceDefinition, key: ObjectKey, request: DeletionRequest = {}): Deletion {
    const current = this.#store.mustGet(key);
    if (definition.group === '' && definition.resource === 'namespaces') return this.#deleteNamespace(key, current);
    this.#markForCollector(key, current, request.policy ?? 'Background');
    if (definition.group === '' && definition.resource === 'pods') return this.#deletePod(key, request);
    return this.#store.delete(key, request.preconditions);
  }

  #deletePod(key: ObjectKey, request: DeletionRequest): Deletion {
    const pod = this.#store.mustGet(key);
    const grace = podGrace(pod, request.graceSeconds);
    if (grace === 0) return this.#store.delete(key, request.preconditions);
    const isDeleting = pod.metadata.deletionTimestamp !== undefined;
    // A second delete can only shorten the grace.
    if (isDeleting && grace >= (pod.metadata.deletionGracePeriodSeconds ?? 0)) return { object: pod, isGone: false };
    const object = this.#store.mutate(key, (draft) => {
      const startMs = isDeleting
        ? Date.parse(draft.metadata.deletionTimestamp ?? '') - (draft.metadata.deletionGracePeriodSeconds ?? 0) * 1000
        : this.#clock.now();
      draft.metadata.deletionTimestamp = kubeTime(startMs + grace * 1000);
      draft.metadata.deletionGracePeriodSeconds = grace;
      if (!isDeleting && draft.metadata.generation !== undefined) draft.metadata.generation += 1;
    });
    return { object, isGone: false };
  }

  #deleteNamespace(key: ObjectKey, current: KubeObject): Deletion {
    if (immortalNamespaces.has(key.name)) {
      throw new StatusError(forbidden(key, key.name, 'this namespace may not be deleted'));
    }
    if (current.metadata.deletionTimestamp !== undefined) return { object: current, isGone: false };
    if (array(at(current, 'spec', 'finalizers')).length === 0) return this.#store.delete(key);
    const object = this.#store.mutate(key, (draft) => {
      draft.metadata.deletionTimestamp = kubeTime(this.#clock.now());
      child(draft, 'status')['phase'] = 'Terminating';
    });
    return { object, isGone: false };
  }

  #markForCollector(key: ObjectKey, current: KubeObject, policy: PropagationPolicy): void {
    const finalizer = policy === 'Foreground' ? foregroundFinalizer : policy === 'Orphan' ? orphanFinalizer : '';
    if (finalizer === '' || current.metadata.finalizers?.includes(finalizer) === true) return;
    this.#store.mutate(key, (draft) => {
      draft.metadata.finalizers = [...(draft.metadata.finalizers ?? []), finalizer];
    });
  }
}
