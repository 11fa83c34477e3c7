// The resource `clusters` in kexer's group, to be looked at: get, list and watch. What Secrets say is there at once; whether a cluster answers is
// asked when somebody gets or lists it, and from time to time while somebody watches.

import type { Clock, Timer } from '../base/clock.ts';
import { ClusterHealth, type Health, type NamedProbe } from '../clusters/cluster-health.ts';
import type { Cluster } from '../clusters/cluster.ts';
import { localName } from '../clusters/secret-watch.ts';
import type { ClusterSecret } from '../clusters/cluster-secret.ts';

import type { Answer } from './answer.ts';
import { clusterKind, type ClusterObject, type ClusterState, localObject, secretObject } from './clusters-object.ts';
import {
  type OwnRequest,
  type OwnResource,
  ResourceAnswers,
  type ResourceScope,
  type WatchAnswer,
} from './resource-answers.ts';
import { ResourceFeed } from './resource-feed.ts';

/** Where the local cluster is shown in a list of all namespaces. */
const localNamespace = 'default';
/** How often clusters are asked while somebody watches. */
const watchedIntervalMs = 15_000;

/** What is told of sessions: how many. */
export interface ClusterSessions {
  /** As last known; those of the local cluster whatever the namespace. */
  countIn(clusterNamespace: string, cluster: string): number;
  /**
   * Asks other kexers for their sessions in a namespace, '' being all of them; within a second or so. Never rejects.
   * @returns a sentence about each one that could not be asked.
   */
  refresh(namespace: string): Promise<readonly string[]>;
}

export interface ClustersResourceDeps {
  readonly clock: Clock;
  readonly directory: {
    /** @throws StatusError */
    find(namespace: string, name: string): Cluster;
    secrets(): readonly ClusterSecret[];
    /** @returns what ends it. */
    onSecretChange(listener: (namespace: string, name: string, secret: ClusterSecret | undefined) => void): () => void;
  };
  readonly sessions: ClusterSessions;
}

export interface ClustersResourceOptions {
  /** Of the local cluster's kube-apiserver. */
  readonly endpoint: string;
  /** `streams.local` */
  readonly streams: string;
}

export class ClustersResource implements OwnResource {
  readonly #deps: ClustersResourceDeps;
  readonly #options: ClustersResourceOptions;
  readonly #startedAtMs: number;
  readonly #health: ClusterHealth;
  readonly #feed: ResourceFeed<ClusterObject>;
  readonly #answers: ResourceAnswers<ClusterObject>;
  #asking: Timer | undefined;

  constructor(deps: ClustersResourceDeps, options: ClustersResourceOptions) {
    const { clock } = deps;
    this.#deps = deps;
    this.#options = options;
    this.#startedAtMs = clock.now();
    this.#health = new ClusterHealth({ clock });
    this.#feed = new ResourceFeed({ clock });
    this.#asking = undefined;
    this.#answers = new ResourceAnswers(
      {
        clock,
        feed: this.#feed,
        refresh: async (scope) => ({ warnings: await this.#refresh(scope) }),
        onWatched: (isWatched) => this.#setWatched(isWatched),
      },
      clusterKind,
    );
    this.#showLocal(undefined);
    deps.directory.onSecretChange((namespace, name, secret) => {
      if (secret === undefined) this.#feed.delete(namespace, name);
      else this.#show(secret, undefined);
    });
  }

  answer(request: OwnRequest): Promise<Answer | WatchAnswer> {
    return this.#answers.answer(request);
  }

  /** Asks nothing any more. */
  stop(): void {
    this.#asking?.cancel();
    this.#asking = undefined;
    this.#health.stop();
  }

  /** @returns warnings. */
  async #refresh({ namespace, name }: ResourceScope): Promise<readonly string[]> {
    const { directory, sessions } = this.#deps;
    const isAsked = (secret: ClusterSecret): boolean =>
      (namespace === '' || secret.namespace === namespace) && (name === '' || secret.name === name);
    const secrets = directory.secrets().filter(isAsked);
    const hasLocal = name === '' || name === localName;
    const probes: NamedProbe[] = secrets
      .filter(({ spec }) => !('problem' in spec))
      .map((secret) => ({
        key: keyOf(secret),
        cluster: () => directory.find(secret.namespace, secret.name),
      }));
    if (hasLocal) probes.push({ key: localName, cluster: () => directory.find('', localName) });
    // Sessions of the local cluster are in their pods' namespaces, others in their Secret's. A cluster that is not there has none.
    const asked = hasLocal ? sessions.refresh('') : secrets.length > 0 ? sessions.refresh(namespace) : [];
    const [found, warnings] = await Promise.all([this.#health.look(probes), asked]);
    if (hasLocal) this.#showLocal(found.get(localName));
    // What changed meanwhile has been shown already, and was not asked about.
    const current = new Set(directory.secrets());
    for (const secret of secrets) {
      if (!current.has(secret)) continue;
      this.#show(secret, found.get(keyOf(secret)));
    }
    return warnings;
  }

  #show(secret: ClusterSecret, health: Health | undefined): void {
    this.#feed.set(secretObject(secret, this.#state(secret.namespace, secret.name, health)));
  }

  #showLocal(health: Health | undefined): void {
    const facts = { namespace: localNamespace, startedAtMs: this.#startedAtMs, ...this.#options };
    this.#feed.set(localObject(facts, this.#state(localNamespace, localName, health)));
  }

  #state(namespace: string, name: string, health: Health | undefined): ClusterState {
    const sessions = this.#deps.sessions.countIn(namespace, name);
    return { health, sessions, previous: this.#feed.get(namespace, name), nowMs: this.#deps.clock.now() };
  }

  #setWatched(isWatched: boolean): void {
    this.#asking?.cancel();
    this.#asking = isWatched ? this.#deps.clock.after(watchedIntervalMs, () => void this.#askAgain()) : undefined;
  }

  /** Never rejects. */
  async #askAgain(): Promise<void> {
    await this.#refresh({ namespace: '', name: '' });
    if (this.#asking !== undefined) this.#setWatched(true);
  }
}

function keyOf({ namespace, name }: ClusterSecret): string {
  return `${namespace}/${name}`;
}
