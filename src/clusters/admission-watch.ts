// Local copies of all configurations of mutating admission, reduced to which CONNECTs they may touch. An API that is not served (404) has no
// objects; a copy that never was, or is no longer current, counts as one that may touch everything.

import type { Clock } from '../base/clock.ts';
import { bindingMatches, type ConnectKind, policyMatches, webhookMatches } from '../kube/admission-rules.ts';
import type { KubeClient } from '../kube/client.ts';
import { Informer, type KubeObject } from '../kube/informer.ts';
import type { Detour } from './detour.ts';

const group = '/apis/admissionregistration.k8s.io';

/**
 * MutatingAdmissionPolicy is alpha since 1.32, beta since 1.34 and v1 since 1.36; clusters serve any of them, or none. Each version that is
 * served gives all objects, so one that gives them twice does no harm.
 */
const policyVersions = ['v1', 'v1beta1', 'v1alpha1'] as const;

interface Named<T> {
  readonly name: string;
  readonly matches: T;
}

type Binding = ReturnType<typeof bindingMatches>;

/** What all copies have, whatever they hold. */
type Copy = Pick<Informer<unknown>, 'start' | 'stop' | 'isCurrent' | 'hasTried' | 'whenTried'>;

/** One version of policies and their bindings. */
interface PolicyCopies {
  readonly policies: Informer<Named<ReadonlySet<ConnectKind>>>;
  readonly bindings: Informer<Named<Binding>>;
}

export interface AdmissionWatchDeps {
  readonly client: Pick<KubeClient, 'json' | 'stream' | 'userAgent'>;
  readonly clock: Clock;
  /** @param informer the collection's path. */
  readonly onError?: (informer: string, error: unknown) => void;
}

export class AdmissionWatch {
  readonly #webhooks: Informer<Named<ReadonlyMap<ConnectKind, string>>>;
  readonly #policies: readonly PolicyCopies[];
  readonly #all: readonly (readonly [path: string, informer: Copy])[];

  constructor(deps: AdmissionWatchDeps) {
    const all: [string, Copy][] = [];
    const make = <T>(path: string, read: (object: KubeObject) => T): Informer<Named<T>> => {
      const informer = new Informer<Named<T>>(deps, {
        path,
        project: (object) => ({ name: object.metadata.name, matches: read(object) }),
        onError: (error) => deps.onError?.(path, error),
      });
      all.push([path, informer]);
      return informer;
    };
    this.#webhooks = make(`${group}/v1/mutatingwebhookconfigurations`, webhookMatches);
    this.#policies = policyVersions.map((version) => ({
      policies: make(`${group}/${version}/mutatingadmissionpolicies`, policyMatches),
      bindings: make(`${group}/${version}/mutatingadmissionpolicybindings`, bindingMatches),
    }));
    this.#all = all;
  }

  start(): void {
    for (const [, informer] of this.#all) informer.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#all.map(([, informer]) => informer.stop()));
  }

  /** Every list has succeeded or failed once: from now on `mutationOf` says what is known, and not only that nothing is known yet. */
  get hasTried(): boolean {
    return this.#all.every(([, informer]) => informer.hasTried);
  }

  /** Resolves when `hasTried`; rejects when `signal` aborts. */
  async whenTried(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#all.map(([, informer]) => informer.whenTried(signal)));
  }

  /** What may mutate a CONNECT of this kind; undefined: nothing does. */
  mutationOf(kind: ConnectKind): Detour | undefined {
    for (const { name, matches } of this.#webhooks.list()) {
      const webhook = matches.get(kind);
      if (webhook !== undefined) return { reason: 'mutatingWebhook', detail: `${name}/${webhook}` };
    }
    for (const copies of this.#policies) {
      const policy = boundPolicy(copies, kind);
      if (policy !== undefined) return { reason: 'mutatingPolicy', detail: policy };
    }
    for (const [path, informer] of this.#all) {
      if (!informer.isCurrent) return { reason: 'notSynced', detail: path };
    }
    return undefined;
  }
}

/** A policy does nothing without a binding. */
function boundPolicy({ policies, bindings }: PolicyCopies, kind: ConnectKind): string | undefined {
  for (const { matches } of bindings.list()) {
    if (matches.kinds.has(kind) && policies.get(matches.policyName)?.matches.has(kind) === true) {
      return matches.policyName;
    }
  }
  return undefined;
}
