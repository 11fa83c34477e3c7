// A local copy of one object or one collection, kept by list and watch as client-go's reflector does: resume by resourceVersion, relist
// after 410, back off with jitter while the apiserver is away. What was seen stays readable during an outage: `hasSynced` says that a
// list succeeded once, not that the copy is fresh.

import type { Clock } from '../base/clock.ts';
import type { KubeClient } from './client.ts';

/** An object as JSON gives it; the fields every informer needs are checked. */
export interface KubeObject {
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly resourceVersion?: string };
  readonly [field: string]: unknown;
}

export interface InformerChange<T> {
  readonly type: 'set' | 'delete';
  readonly key: string;
  readonly object: T;
}

export interface InformerOptions<T> {
  /** The collection's path: `/api/v1/nodes`, `/api/v1/namespaces/kube-system/configmaps`. */
  readonly path: string;
  /** One object of the collection only. */
  readonly name?: string;
  /** What is kept of each object; throw, and the object counts as absent (fail closed) and the error is reported. */
  readonly project: (object: KubeObject) => T;
  /** Called with each failure of list, watch or `project`; for logs. */
  readonly onError?: (error: unknown) => void;
}

export class Informer<T> {
  constructor(_deps: { client: KubeClient; clock: Clock; random?: () => number }, _options: InformerOptions<T>) {}

  /** Starts listing and watching; returns at once. */
  start(): void {
    throw new Error('not written yet');
  }

  async stop(): Promise<void> {}

  /** A list succeeded (or the API is not served) at least once. */
  get hasSynced(): boolean {
    return false;
  }

  /** The last list was answered 404: there is no such API, and no objects. Looked at again every few minutes. */
  get isNotServed(): boolean {
    return false;
  }

  /** Resolves when `hasSynced`; rejects when `signal` aborts. */
  whenSynced(_signal?: AbortSignal): Promise<void> {
    throw new Error('not written yet');
  }

  /** By `name`, or `namespace/name` for namespaced objects. */
  get(_key: string): T | undefined {
    return undefined;
  }

  list(): T[] {
    return [];
  }

  /** Called for each change, after the copy has it; returns a function that ends it. */
  onChange(_listener: (change: InformerChange<T>) => void): () => void {
    return () => {};
  }
}
