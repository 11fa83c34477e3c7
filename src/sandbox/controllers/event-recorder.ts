// Writes core/v1 Events as kubelets and controllers do: a repeated event raises the count of the one that is there. What cannot be
// written (the namespace is gone) is dropped: an event is never worth a failure.

import type { Clock } from '../../base/clock.ts';
import { StatusError } from '../../kube/status.ts';
import type { KubeObject, Store } from '../apiserver/store.ts';
import { kubeMicroTime, kubeTime } from '../apiserver/objects/object.ts';

export interface EventSource {
  readonly component: string;
  /** Node name, for kubelets. */
  readonly host?: string;
}

export interface EventText {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
  /** `spec.containers{NAME}`, where the event is about a part of the object. */
  readonly fieldPath?: string;
}

const eventResource = { group: '', resource: 'events' } as const;

/** Events kept for each recorder; what is older is not found again and starts a new count. */
const maxRemembered = 500;

export class EventRecorder {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #source: EventSource;
  readonly #names = new Map<string, { namespace: string; name: string }>();
  #sequence = 0;

  constructor(deps: { store: Store; clock: Clock }, source: EventSource) {
    this.#store = deps.store;
    this.#clock = deps.clock;
    this.#source = source;
  }

  record(about: KubeObject, text: EventText): void {
    try {
      this.#record(about, text);
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
    }
  }

  #record(about: KubeObject, text: EventText): void {
    const key = JSON.stringify([about.metadata.uid, text.type, text.reason, text.message, text.fieldPath]);
    const known = this.#names.get(key);
    const now = kubeTime(this.#clock.now());
    if (known !== undefined && this.#store.get({ ...eventResource, ...known }) !== undefined) {
      this.#store.mutate({ ...eventResource, ...known }, (draft) => {
        draft['count'] = Number(draft['count'] ?? 1) + 1;
        draft['lastTimestamp'] = now;
      });
      return;
    }
    const event = this.#newEvent(about, text, now);
    this.#store.create(eventResource, event);
    if (this.#names.size >= maxRemembered) this.#names.clear();
    this.#names.set(key, { namespace: event.metadata.namespace ?? '', name: event.metadata.name });
  }

  #newEvent(about: KubeObject, text: EventText, now: string): KubeObject {
    this.#sequence += 1;
    const stamp = (BigInt(Math.floor(this.#clock.now())) * 1_000_000n + BigInt(this.#sequence)).toString(16);
    const namespace = about.metadata.namespace ?? 'default';
    // The scheduler speaks events.k8s.io, which shows as an eventTime, an action and no timestamps of the old kind.
    const isScheduler = this.#source.component === 'default-scheduler';
    return {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: `${about.metadata.name}.${stamp}`, namespace },
      involvedObject: {
        kind: about.kind,
        namespace,
        name: about.metadata.name,
        uid: about.metadata.uid,
        apiVersion: about.apiVersion,
        resourceVersion: about.metadata.resourceVersion,
        ...(text.fieldPath === undefined ? {} : { fieldPath: text.fieldPath }),
      },
      reason: text.reason,
      message: text.message,
      source: isScheduler
        ? {}
        : {
            component: this.#source.component,
            ...(this.#source.host === undefined ? {} : { host: this.#source.host }),
          },
      firstTimestamp: isScheduler ? null : now,
      lastTimestamp: isScheduler ? null : now,
      ...(isScheduler ? {} : { count: 1 }),
      type: text.type,
      eventTime: isScheduler ? kubeMicroTime(this.#clock.now()) : null,
      ...(isScheduler ? { action: 'Binding' } : {}),
      reportingComponent: this.#source.component,
      reportingInstance: this.#source.host ?? (isScheduler ? `${this.#source.component}-sandbox` : ''),
    };
  }
}
