// The sandbox's scheduler and controller manager: every loop that makes the cluster do what its objects ask for.

import type { Clock } from '../../base/clock.ts';
import type { Store } from '../apiserver/store.ts';
import { ClusterClient } from './cluster-client.ts';
import { Deployments } from './deployments.ts';
import { EndpointsController } from './endpoints.ts';
import { GarbageCollector } from './garbage-collector.ts';
import { Jobs } from './jobs.ts';
import { Namespaces } from './namespaces.ts';
import { ReplicaSets } from './replica-sets.ts';
import { Scheduler } from './scheduler.ts';

export interface ControllersOptions {
  /** PEM of the CA that signed the apiserver's certificate: `ca.crt` in every namespace's kube-root-ca.crt. */
  readonly rootCa: string;
}

interface Controller {
  start(): void;
  stop(): Promise<void>;
}

export class Controllers {
  readonly #controllers: readonly Controller[];

  constructor(deps: { store: Store; clock: Clock }, options: ControllersOptions) {
    const manager = new ClusterClient(deps, 'kube-controller-manager');
    this.#controllers = [
      new Namespaces(manager, options),
      new Scheduler(new ClusterClient(deps, 'kube-scheduler')),
      new ReplicaSets(manager),
      new Deployments(manager),
      new Jobs(manager),
      new EndpointsController(manager),
      new GarbageCollector(manager),
    ];
  }

  start(): void {
    for (const controller of this.#controllers) controller.start();
  }

  /** Settles when nothing is being worked on; objects stay as they are. */
  async stop(): Promise<void> {
    await Promise.all(this.#controllers.map((controller) => controller.stop()));
  }
}
