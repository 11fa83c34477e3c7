// Gives each pod without a node one: of the Ready, schedulable nodes that its selector matches the one with the fewest pods. Nothing
// else is weighed, since local processes have no resources to run out of.

import { kubeTime } from '../apiserver/objects/object.ts';
import { array, at, records, stringMap, text } from '../apiserver/objects/fields.ts';
import type { KubeObject } from '../apiserver/store.ts';
import { type ClusterClient, isGone, keyOf } from './cluster-client.ts';
import { EventRecorder } from './event-recorder.ts';
import { joinKey, splitKey, WorkQueue } from './work-queue.ts';

const pods = { group: '', resource: 'pods' } as const;
const nodes = { group: '', resource: 'nodes' } as const;

function isUsable(node: KubeObject): boolean {
  const isReady = records(at(node, 'status', 'conditions')).some(
    (condition) => condition['type'] === 'Ready' && condition['status'] === 'True',
  );
  return isReady && at(node, 'spec', 'unschedulable') !== true;
}

function isMatching(node: KubeObject, selector: Readonly<Record<string, string>>): boolean {
  const labels = node.metadata.labels ?? {};
  return Object.entries(selector).every(([name, value]) => labels[name] === value);
}

function isWaiting(pod: KubeObject): boolean {
  const scheduler = text(at(pod, 'spec', 'schedulerName'));
  return (
    text(at(pod, 'spec', 'nodeName')) === '' &&
    (scheduler === '' || scheduler === 'default-scheduler') &&
    pod.metadata.deletionTimestamp === undefined
  );
}

export class Scheduler {
  readonly #cluster: ClusterClient;
  readonly #events: EventRecorder;
  readonly #queue: WorkQueue;
  readonly #unwatch: (() => void)[] = [];

  constructor(cluster: ClusterClient) {
    this.#cluster = cluster;
    this.#events = new EventRecorder(cluster, { component: 'default-scheduler' });
    this.#queue = new WorkQueue(cluster, (key) => this.#schedule(key));
  }

  start(): void {
    const { store } = this.#cluster;
    const from = store.resourceVersion;
    this.#addWaiting();
    this.#unwatch.push(
      store.watch(pods, from, ({ type, object }) => {
        if (type !== 'DELETED' && isWaiting(object)) this.#add(object);
      }),
      // A node that comes may be what a pod waits for; a heartbeat changes nothing.
      store.watch(nodes, from, ({ object, previous }) => {
        if (previous === undefined || isUsable(object) !== isUsable(previous)) this.#addWaiting();
      }),
    );
  }

  stop(): Promise<void> {
    for (const unwatch of this.#unwatch) unwatch();
    return this.#queue.stop();
  }

  #addWaiting(): void {
    for (const pod of this.#cluster.store.list(pods)) if (isWaiting(pod)) this.#add(pod);
  }

  #add(pod: KubeObject): void {
    this.#queue.add(joinKey(pod.metadata.namespace ?? '', pod.metadata.name));
  }

  #schedule(key: string): void {
    const { store } = this.#cluster;
    const pod = store.get({ ...pods, ...splitKey(key) });
    if (pod === undefined || !isWaiting(pod)) return;
    const all = store.list(nodes);
    const selector = stringMap(at(pod, 'spec', 'nodeSelector'));
    const fitting = all.filter((node) => isUsable(node) && isMatching(node, selector));
    const [first, ...others] = fitting;
    if (first === undefined) {
      this.#refuse(pod, all);
      return;
    }
    const load = new Map(fitting.map((node) => [node.metadata.name, 0]));
    for (const other of store.list(pods)) {
      const name = text(at(other, 'spec', 'nodeName'));
      const count = load.get(name);
      if (count !== undefined) load.set(name, count + 1);
    }
    const loadOf = (node: KubeObject): number => load.get(node.metadata.name) ?? 0;
    const best = others.reduce((chosen, node) => (loadOf(node) < loadOf(chosen) ? node : chosen), first);
    this.#bind(pod, best.metadata.name);
  }

  #bind(pod: KubeObject, nodeName: string): void {
    const { namespace = '', name } = pod.metadata;
    // Before the kubelet's first event, which the binding causes.
    this.#events.record(pod, {
      type: 'Normal',
      reason: 'Scheduled',
      message: `Successfully assigned ${namespace}/${name} to ${nodeName}`,
    });
    this.#change(pod, (draft) => {
      const { spec } = draft;
      if (typeof spec === 'object' && spec !== null) Object.assign(spec, { nodeName });
      setCondition(draft, { type: 'PodScheduled', status: 'True' }, this.#now());
    });
  }

  #refuse(pod: KubeObject, all: readonly KubeObject[]): void {
    const why =
      all.length === 0
        ? 'no nodes available to schedule pods'
        : `0/${all.length} nodes are available: ${all.length} node(s) didn't match Pod's node affinity/selector. preemption: 0/${all.length} nodes are available: ${all.length} Preemption is not helpful for scheduling.`;
    this.#events.record(pod, { type: 'Warning', reason: 'FailedScheduling', message: why });
    this.#change(pod, (draft) => {
      const refused = { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: why };
      setCondition(draft, refused, this.#now());
    });
  }

  #change(pod: KubeObject, change: (draft: KubeObject) => void): void {
    try {
      this.#cluster.store.mutate(keyOf(pods, pod), change);
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  #now(): string {
    return kubeTime(this.#cluster.clock.now());
  }
}

function setCondition(pod: KubeObject, condition: { type: string; status: string }, now: string): void {
  const status = typeof pod['status'] === 'object' && pod['status'] !== null ? pod['status'] : { phase: 'Pending' };
  const others = array(at(status, 'conditions')).filter((other) => text(at(other, 'type')) !== condition.type);
  const previous = records(at(status, 'conditions')).find((other) => other['type'] === condition.type);
  const isSame = previous?.['status'] === condition.status;
  const lastTransitionTime = isSame ? previous?.['lastTransitionTime'] : now;
  const { generation } = pod.metadata;
  const { type, ...rest } = condition;
  const observed = generation === undefined ? {} : { observedGeneration: generation };
  const made = { type, ...observed, lastProbeTime: null, lastTransitionTime, ...rest };
  pod['status'] = { ...status, conditions: [...others, made] };
}
