// Runs Jobs: as many pods at a time as parallelism allows until enough have succeeded, or more have failed than backoffLimit.

import { at, integer, records, stringMap } from '../apiserver/objects/fields.ts';
import { isJsonEqual, kubeTime } from '../apiserver/objects/object.ts';
import type { KubeObject } from '../apiserver/store.ts';
import { type ClusterClient, isControlledBy, isGone, keyOf } from './cluster-client.ts';
import { EventRecorder } from './event-recorder.ts';
import { OwnerQueue } from './owner-queue.ts';
import { isActive, podFromTemplate, podResource } from './replica-sets.ts';
import { splitKey } from './work-queue.ts';

const jobResource = { group: 'batch', resource: 'jobs' } as const;

function isFinished(job: KubeObject): boolean {
  return records(at(job, 'status', 'conditions')).some(
    ({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True',
  );
}

interface Counts {
  readonly active: readonly KubeObject[];
  readonly succeeded: number;
  readonly failed: number;
}

export class Jobs {
  readonly #cluster: ClusterClient;
  readonly #events: EventRecorder;
  readonly #queue: OwnerQueue;

  constructor(cluster: ClusterClient) {
    this.#cluster = cluster;
    this.#events = new EventRecorder(cluster, { component: 'job-controller' });
    const options = { owners: jobResource, kind: 'Job', controlled: podResource };
    this.#queue = new OwnerQueue(cluster, options, (key) => this.#reconcile(key));
  }

  start(): void {
    this.#queue.start();
  }

  stop(): Promise<void> {
    return this.#queue.stop();
  }

  #count(job: KubeObject): Counts {
    const pods = this.#cluster.store
      .list(podResource, job.metadata.namespace)
      .filter((pod) => isControlledBy(pod, job));
    const inPhase = (phase: string): number => pods.filter((pod) => at(pod, 'status', 'phase') === phase).length;
    return { active: pods.filter(isActive), succeeded: inPhase('Succeeded'), failed: inPhase('Failed') };
  }

  async #reconcile(key: string): Promise<void> {
    const job = this.#cluster.store.get({ ...jobResource, ...splitKey(key) });
    if (job === undefined || job.metadata.deletionTimestamp !== undefined || isFinished(job)) return;
    if (at(job, 'spec', 'suspend') === true) return;
    const counts = this.#count(job);
    const parallelism = integer(at(job, 'spec', 'parallelism'), 1);
    const completions = integer(at(job, 'spec', 'completions'), 1);
    const hasFailed = counts.failed > integer(at(job, 'spec', 'backoffLimit'), 6);
    const missing = Math.min(parallelism, completions - counts.succeeded) - counts.active.length;
    if (!hasFailed) for (let made = 0; made < missing; made += 1) await this.#createPod(job);
    else for (const pod of counts.active) this.#cluster.delete(keyOf(podResource, pod));
    await this.#writeStatus(job, hasFailed ? 'Failed' : counts.succeeded >= completions ? 'Complete' : '');
  }

  async #createPod(job: KubeObject): Promise<void> {
    const pod = podFromTemplate(job);
    const labels = { 'batch.kubernetes.io/job-name': job.metadata.name, 'job-name': job.metadata.name };
    pod.metadata.labels = {
      ...labels,
      ...stringMap(at(job, 'spec', 'selector', 'matchLabels')),
      ...pod.metadata.labels,
    };
    const { name } = (await this.#cluster.create(podResource, pod)).metadata;
    this.#events.record(job, { type: 'Normal', reason: 'SuccessfulCreate', message: `Created pod: ${name}` });
  }

  async #writeStatus(job: KubeObject, end: '' | 'Failed' | 'Complete'): Promise<void> {
    const { active, succeeded, failed } = this.#count(job);
    const now = kubeTime(this.#cluster.clock.now());
    const times = { lastProbeTime: now, lastTransitionTime: now };
    const complete = {
      status: 'True',
      ...times,
      reason: 'CompletionsReached',
      message: 'Reached expected number of succeeded pods',
    };
    const exceeded = {
      status: 'True',
      ...times,
      reason: 'BackoffLimitExceeded',
      message: 'Job has reached the specified backoff limit',
    };
    const conditions =
      end === 'Complete'
        ? [
            { type: 'SuccessCriteriaMet', ...complete },
            { type: 'Complete', ...complete },
          ]
        : [
            { type: 'FailureTarget', ...exceeded },
            { type: 'Failed', ...exceeded },
          ];
    const status = {
      ...(end === '' ? {} : { conditions }),
      startTime: at(job, 'status', 'startTime') ?? now,
      ...(end === 'Complete' ? { completionTime: now } : {}),
      ...(active.length === 0 ? {} : { active: active.length }),
      ...(succeeded === 0 ? {} : { succeeded }),
      ...(failed === 0 ? {} : { failed }),
      terminating: 0,
      uncountedTerminatedPods: {},
      ready: 0,
    };
    if (isJsonEqual(status, job['status'])) return;
    try {
      await this.#cluster.updateStatus(keyOf(jobResource, job), (draft) => (draft['status'] = status));
    } catch (error) {
      if (!isGone(error)) throw error;
      return;
    }
    if (end === 'Complete') this.#events.record(job, { type: 'Normal', reason: 'Completed', message: 'Job completed' });
    if (end === 'Failed') {
      const message = 'Job has reached the specified backoff limit';
      this.#events.record(job, { type: 'Warning', reason: 'BackoffLimitExceeded', message });
    }
  }
}
