// Rolls each Deployment's template out by ReplicaSets: one for the current template, found by the template's hash, scaled up as the
// older ones are scaled down within maxSurge and maxUnavailable. Revisions, conditions and events are those kubectl rollout reads.

import { createHash } from 'node:crypto';
import { at, child, integer, record, records, stringMap, text } from '../apiserver/objects/fields.ts';
import { isJsonEqual, kubeTime } from '../apiserver/objects/object.ts';
import type { KubeObject } from '../apiserver/store.ts';
import { type ClusterClient, controllerReference, isControlledBy, isGone, keyOf } from './cluster-client.ts';
import { EventRecorder } from './event-recorder.ts';
import { OwnerQueue } from './owner-queue.ts';
import { replicaSetResource } from './replica-sets.ts';
import { splitKey } from './work-queue.ts';

const deploymentResource = { group: 'apps', resource: 'deployments' } as const;

const hashLabel = 'pod-template-hash';
const revisionAnnotation = 'deployment.kubernetes.io/revision';

/** Kubernetes' alphabet for generated names: no vowels, no digits that look like letters. */
const safeLetters = 'bcdfghjklmnpqrstvwxz2456789';

/** JSON with sorted keys: the same template gives the same text however a client ordered it. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

/** Ten letters for a template, as pod-template-hash has. */
export function templateHash(template: unknown): string {
  const digest = createHash('sha256').update(canonical(template)).digest();
  return [...digest.subarray(0, 10)].map((byte) => safeLetters[byte % safeLetters.length]).join('');
}

/** A number or a percentage of `total`, rounded up or down. */
function share(value: unknown, total: number, round: (n: number) => number, fallback: string): number {
  const given = value ?? fallback;
  if (typeof given === 'number') return given;
  const percent = /^(\d+)%$/.exec(text(given))?.[1];
  return percent === undefined ? 0 : round((Number(percent) * total) / 100);
}

function replicasOf(object: KubeObject): number {
  return integer(at(object, 'spec', 'replicas'), 1);
}

function statusCount(object: KubeObject, field: string): number {
  return integer(at(object, 'status', field));
}

function sum(sets: readonly KubeObject[], count: (set: KubeObject) => number): number {
  return sets.reduce((total, set) => total + count(set), 0);
}

function revisionOf(object: KubeObject): number {
  return Number(object.metadata.annotations?.[revisionAnnotation] ?? 0);
}

export class Deployments {
  readonly #cluster: ClusterClient;
  readonly #events: EventRecorder;
  readonly #queue: OwnerQueue;

  constructor(cluster: ClusterClient) {
    this.#cluster = cluster;
    this.#events = new EventRecorder(cluster, { component: 'deployment-controller' });
    const options = { owners: deploymentResource, kind: 'Deployment', controlled: replicaSetResource };
    this.#queue = new OwnerQueue(cluster, options, (key) => this.#reconcile(key));
  }

  start(): void {
    this.#queue.start();
  }

  stop(): Promise<void> {
    return this.#queue.stop();
  }

  async #reconcile(key: string): Promise<void> {
    const deployment = this.#cluster.store.get({ ...deploymentResource, ...splitKey(key) });
    if (deployment === undefined || deployment.metadata.deletionTimestamp !== undefined) return;
    if (at(deployment, 'spec', 'paused') !== true) await this.#roll(deployment);
    await this.#writeStatus(deployment);
  }

  #setsOf(deployment: KubeObject): KubeObject[] {
    const { store } = this.#cluster;
    return store
      .list(replicaSetResource, deployment.metadata.namespace)
      .filter((set) => isControlledBy(set, deployment));
  }

  /** The set of the current template, and the others. */
  #split(deployment: KubeObject): { current: KubeObject | undefined; old: KubeObject[] } {
    const hash = templateHash(at(deployment, 'spec', 'template'));
    const sets = this.#setsOf(deployment);
    const isCurrent = (set: KubeObject): boolean => set.metadata.labels?.[hashLabel] === hash;
    return { current: sets.find(isCurrent), old: sets.filter((set) => !isCurrent(set)) };
  }

  async #roll(deployment: KubeObject): Promise<void> {
    const { current, old } = this.#split(deployment);
    const newest = Math.max(0, ...old.map(revisionOf));
    const revision = String(Math.max(newest + 1, current === undefined ? 1 : revisionOf(current)));
    const set = current ?? (await this.#createSet(deployment, revision));
    await this.#annotate(deployment, set, revision);
    const wanted = replicasOf(deployment);
    const strategy = at(deployment, 'spec', 'strategy');
    if (text(at(strategy, 'type')) === 'Recreate') {
      for (const other of old) await this.#scale(deployment, other, 0);
      if (sum(old, (other) => statusCount(other, 'replicas')) === 0) await this.#scale(deployment, set, wanted);
      return;
    }
    const limits = at(strategy, 'rollingUpdate');
    const surge = share(at(limits, 'maxSurge'), wanted, Math.ceil, '25%');
    let unavailable = share(at(limits, 'maxUnavailable'), wanted, Math.floor, '25%');
    if (surge === 0 && unavailable === 0) unavailable = 1;
    const total = replicasOf(set) + sum(old, replicasOf);
    if (replicasOf(set) > wanted) await this.#scale(deployment, set, wanted);
    else if (replicasOf(set) < wanted) {
      const room = wanted + surge - total;
      // Without older pods nothing limits how many may start at once.
      const target = total === replicasOf(set) ? wanted : Math.min(wanted, replicasOf(set) + Math.max(0, room));
      await this.#scale(deployment, set, target);
    }
    await this.#scaleDown(deployment, set, old, wanted - unavailable);
  }

  /** Takes from the older sets what is above `minimum` available pods; pods that are not ready go first. */
  async #scaleDown(
    deployment: KubeObject,
    set: KubeObject,
    old: readonly KubeObject[],
    minimum: number,
  ): Promise<void> {
    const available = (each: KubeObject): number => Math.min(replicasOf(each), statusCount(each, 'availableReplicas'));
    let spare = available(set) + sum(old, available) - minimum;
    for (const other of old.toSorted((a, b) => revisionOf(a) - revisionOf(b))) {
      const broken = replicasOf(other) - available(other);
      const take = Math.min(replicasOf(other), broken + Math.max(0, Math.min(available(other), spare)));
      spare -= Math.max(0, take - broken);
      await this.#scale(deployment, other, replicasOf(other) - take);
    }
  }

  async #createSet(deployment: KubeObject, revision: string): Promise<KubeObject> {
    const spec = record(deployment['spec']);
    const template = structuredClone(record(spec['template']));
    const hash = templateHash(spec['template']);
    const labels = { ...stringMap(at(template, 'metadata', 'labels')), [hashLabel]: hash };
    child(template, 'metadata')['labels'] = labels;
    const selector = structuredClone(record(spec['selector']));
    child(selector, 'matchLabels')[hashLabel] = hash;
    return this.#cluster.create(replicaSetResource, {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: {
        name: `${deployment.metadata.name}-${hash}`,
        namespace: deployment.metadata.namespace ?? '',
        labels,
        annotations: { [revisionAnnotation]: revision },
        ownerReferences: [controllerReference(deployment)],
      },
      spec: { replicas: 0, selector, template },
    });
  }

  /** Revision and counts stand on the set, the revision on the deployment as well: `rollout history` and `undo` read them. */
  async #annotate(deployment: KubeObject, set: KubeObject, revision: string): Promise<void> {
    const wanted = replicasOf(deployment);
    const surge = share(at(deployment, 'spec', 'strategy', 'rollingUpdate', 'maxSurge'), wanted, Math.ceil, '25%');
    const annotations = {
      'deployment.kubernetes.io/desired-replicas': String(wanted),
      'deployment.kubernetes.io/max-replicas': String(wanted + surge),
      [revisionAnnotation]: revision,
    };
    await this.#setAnnotations(keyOf(replicaSetResource, set), set, annotations);
    await this.#setAnnotations(keyOf(deploymentResource, deployment), deployment, { [revisionAnnotation]: revision });
  }

  async #setAnnotations(
    key: ReturnType<typeof keyOf>,
    object: KubeObject,
    wanted: Readonly<Record<string, string>>,
  ): Promise<void> {
    const have = object.metadata.annotations ?? {};
    if (Object.entries(wanted).every(([name, value]) => have[name] === value)) return;
    await this.#cluster.update(key, (draft) => {
      draft.metadata.annotations = { ...draft.metadata.annotations, ...wanted };
    });
  }

  async #scale(deployment: KubeObject, set: KubeObject, replicas: number): Promise<void> {
    const before = replicasOf(set);
    if (before === replicas) return;
    await this.#cluster.update(keyOf(replicaSetResource, set), (draft) => {
      child(draft, 'spec')['replicas'] = replicas;
    });
    const direction = replicas > before ? 'up' : 'down';
    const message = `Scaled ${direction} replica set ${set.metadata.name} from ${before} to ${replicas}`;
    this.#events.record(deployment, { type: 'Normal', reason: 'ScalingReplicaSet', message });
  }

  async #writeStatus(deployment: KubeObject): Promise<void> {
    const { current, old } = this.#split(deployment);
    const sets = current === undefined ? old : [current, ...old];
    const wanted = replicasOf(deployment);
    const replicas = sum(sets, (set) => statusCount(set, 'replicas'));
    const ready = sum(sets, (set) => statusCount(set, 'readyReplicas'));
    const updated = current === undefined ? 0 : statusCount(current, 'replicas');
    const unavailable = Math.max(0, wanted - ready);
    const isDone = updated === wanted && replicas === wanted && ready === wanted;
    const status = {
      observedGeneration: deployment.metadata.generation ?? 0,
      ...(replicas === 0 ? {} : { replicas }),
      ...(updated === 0 ? {} : { updatedReplicas: updated }),
      ...(ready === 0 ? {} : { readyReplicas: ready, availableReplicas: ready }),
      ...(unavailable === 0 ? {} : { unavailableReplicas: unavailable }),
      conditions: this.#conditions(deployment, current, { isAvailable: isEnough(deployment, ready), isDone }),
    };
    if (isJsonEqual(status, deployment['status'])) return;
    try {
      await this.#cluster.updateStatus(keyOf(deploymentResource, deployment), (draft) => (draft['status'] = status));
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  #conditions(
    deployment: KubeObject,
    current: KubeObject | undefined,
    facts: { isAvailable: boolean; isDone: boolean },
  ): object[] {
    const now = kubeTime(this.#cluster.clock.now());
    const before = records(at(deployment, 'status', 'conditions'));
    const setName = current?.metadata.name ?? '';
    const condition = (type: string, isTrue: boolean, reason: string, message: string): object => {
      const previous = before.find((other) => other['type'] === type);
      const status = isTrue ? 'True' : 'False';
      const isSame = previous?.['status'] === status;
      const isUnchanged = isSame && previous?.['reason'] === reason && previous['message'] === message;
      return {
        type,
        status,
        lastUpdateTime: isUnchanged ? previous['lastUpdateTime'] : now,
        lastTransitionTime: isSame ? previous['lastTransitionTime'] : now,
        reason,
        message,
      };
    };
    const available = facts.isAvailable
      ? condition('Available', true, 'MinimumReplicasAvailable', 'Deployment has minimum availability.')
      : condition('Available', false, 'MinimumReplicasUnavailable', 'Deployment does not have minimum availability.');
    const progressing = facts.isDone
      ? condition('Progressing', true, 'NewReplicaSetAvailable', `ReplicaSet "${setName}" has successfully progressed.`)
      : condition('Progressing', true, 'ReplicaSetUpdated', `ReplicaSet "${setName}" is progressing.`);
    return [available, progressing];
  }
}

function isEnough(deployment: KubeObject, ready: number): boolean {
  const wanted = replicasOf(deployment);
  const limit = at(deployment, 'spec', 'strategy', 'rollingUpdate', 'maxUnavailable');
  const isRecreate = text(at(deployment, 'spec', 'strategy', 'type')) === 'Recreate';
  return ready >= wanted - (isRecreate ? 0 : share(limit, wanted, Math.floor, '25%'));
}
