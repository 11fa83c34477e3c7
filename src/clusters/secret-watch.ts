// The Secrets that name clusters, in the namespaces where they may: a copy of what kexer uses of each, kept by one informer a namespace. A copy
// that has not been read yet is not empty: it is unknown.

import type { Clock } from '../base/clock.ts';
import type { KubeClient } from '../kube/client.ts';
import { Informer } from '../kube/informer.ts';

import { type ClusterSecret, clusterSecretType, readClusterSecret } from './cluster-secret.ts';

/** The name of the cluster kexer runs in, which no Secret can take. */
export const localName = 'local';

export interface SecretChange {
  readonly namespace: string;
  readonly name: string;
  /** Undefined: there is no such Secret any more. */
  readonly secret: ClusterSecret | undefined;
}

export interface SecretWatchDeps {
  readonly client: Pick<KubeClient, 'json' | 'stream' | 'userAgent'>;
  readonly clock: Clock;
  readonly onError: (namespace: string, error: unknown) => void;
  /** A Secret would name the local cluster: it is ignored. */
  readonly onShadow: (namespace: string) => void;
}

/** Of other types there is nothing to keep: an apiserver that does not honour the selector gives them all. */
type Kept = ClusterSecret | { readonly name: string; readonly isOther: true };

export class SecretWatch {
  readonly #informers: ReadonlyMap<string, Informer<Kept>>;
  readonly #deps: SecretWatchDeps;

  constructor(deps: SecretWatchDeps, options: { namespaces: readonly string[] }) {
    this.#deps = deps;
    const { client, clock } = deps;
    this.#informers = new Map(
      options.namespaces.map((namespace) => [
        namespace,
        new Informer<Kept>(
          { client, clock },
          {
            path: `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets`,
            fieldSelector: `type=${clusterSecretType}`,
            project: (object) => readClusterSecret(object) ?? { name: object.metadata.name, isOther: true },
            onError: (error) => deps.onError(namespace, error),
          },
        ),
      ]),
    );
  }

  /** Told of each change, the first list's included. Must be called before {@link start}. */
  onChange(listener: (change: SecretChange) => void): void {
    for (const [namespace, informer] of this.#informers) {
      informer.onChange(({ type, object }) => {
        if ('isOther' in object) return;
        const { name } = object;
        if (name === localName) {
          if (type === 'set') this.#deps.onShadow(namespace);
          return;
        }
        listener({ namespace, name, secret: type === 'set' ? object : undefined });
      });
    }
  }

  start(): void {
    for (const informer of this.#informers.values()) informer.start();
  }

  async stop(): Promise<void> {
    await Promise.all(Array.from(this.#informers.values(), (informer) => informer.stop()));
  }

  /** Whether this namespace's Secrets count. */
  has(namespace: string): boolean {
    return this.#informers.has(namespace);
  }

  /** Whether they have been read; what is not in the copy is not there then. */
  hasSynced(namespace: string): boolean {
    return this.#informers.get(namespace)?.hasSynced === true;
  }
}
