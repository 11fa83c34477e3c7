// What a cluster name means. `local` is the cluster kexer runs in, under every namespace. Any other name is a Secret of that name in the
// namespace of the URL, where that namespace's Secrets count; an unknown name is never the local cluster.

import { isDeepStrictEqual } from 'node:util';

import { badGateway, notFound, serviceUnavailable, StatusError } from '../kube/status.ts';

import type { ClusterSecret, ClusterSpec } from './cluster-secret.ts';
import type { Cluster } from './cluster.ts';
import { localName, type SecretChange, type SecretWatch } from './secret-watch.ts';

/** The resource of clusters in kexer's own API group. */
export const clustersResource = { group: 'backup.cv.io', version: 'v1', resource: 'clusters' } as const;

/** Of a cluster that a Secret names. */
export interface NamedCluster extends Cluster {
  /** Another content has taken its place: no new call comes. */
  retire(): Promise<void>;
  /** Its Secret is gone. */
  close(): Promise<void>;
}

export interface ClusterDirectoryDeps {
  readonly local: Cluster;
  /** Left out: there are no other clusters. */
  readonly remote?: {
    readonly secrets: Pick<SecretWatch, 'has' | 'hasSynced' | 'onChange'>;
    /** For one content of a Secret, made with the first call there. */
    readonly make: (secret: ClusterSecret, spec: ClusterSpec) => NamedCluster;
    /** A cluster is no more: its Secret was deleted, or replaced by another one of its name. */
    readonly onGone: (namespace: string, name: string) => void;
  };
}

/** @param secret undefined: it is gone. */
export type SecretListener = (namespace: string, name: string, secret: ClusterSecret | undefined) => void;

interface Entry {
  readonly secret: ClusterSecret;
  /** Undefined: nobody has called it yet, or nobody can. */
  cluster: NamedCluster | undefined;
}

const firstReadRetrySeconds = 1;

export class ClusterDirectory {
  readonly #deps: ClusterDirectoryDeps;
  /** By NAMESPACE/NAME. */
  readonly #entries: Map<string, Entry>;
  readonly #closing: Set<Promise<void>>;
  readonly #listeners: Set<SecretListener>;

  constructor(deps: ClusterDirectoryDeps) {
    this.#deps = deps;
    this.#entries = new Map();
    this.#closing = new Set();
    this.#listeners = new Set();
    deps.remote?.secrets.onChange((change) => this.#onChange(change));
  }

  /** @throws StatusError 404 in kube-apiserver's words; 502 for a Secret that cannot be used; 503 if its namespace has not been read yet. */
  find(namespace: string, name: string): Cluster {
    if (name === localName) return this.#deps.local;
    const { remote } = this.#deps;
    const entry = this.#entries.get(`${namespace}/${name}`);
    if (remote === undefined || entry === undefined) {
      if (remote?.secrets.has(namespace) === true && !remote.secrets.hasSynced(namespace)) {
        const text = `the Secrets of the namespace "${namespace}" have not been read yet`;
        throw new StatusError(serviceUnavailable(text, firstReadRetrySeconds));
      }
      throw new StatusError(notFound(clustersResource, name));
    }
    const { spec } = entry.secret;
    if ('problem' in spec) {
      const full = `${namespace}/${name}`;
      throw new StatusError(badGateway(`cluster "${full}" cannot be used: the Secret ${full} ${spec.problem}`));
    }
    entry.cluster ??= remote.make(entry.secret, spec);
    return entry.cluster;
  }

  /** Whether the name means a cluster now, one that cannot be used included. */
  has(namespace: string, name: string): boolean {
    return name === localName || this.#entries.has(`${namespace}/${name}`);
  }

  /** The Secrets that name clusters now. */
  secrets(): readonly ClusterSecret[] {
    return Array.from(this.#entries.values(), ({ secret }) => secret);
  }

  /** Told of each change, after the directory has it. @returns what ends it. */
  onSecretChange(listener: SecretListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Ends whatever was opened for clusters that Secrets name. */
  async close(): Promise<void> {
    for (const { cluster } of this.#entries.values()) if (cluster !== undefined) this.#end(cluster.close());
    this.#entries.clear();
    await Promise.all(this.#closing);
  }

  #onChange({ namespace, name, secret }: SecretChange): void {
    const key = `${namespace}/${name}`;
    const before = this.#entries.get(key);
    const isSame = before !== undefined && secret?.uid === before.secret.uid;
    // What does not concern calls, a label say, changes nothing for them.
    const kept = isSame && isDeepStrictEqual(before.secret.spec, secret?.spec) ? before.cluster : undefined;
    if (secret === undefined) this.#entries.delete(key);
    else this.#entries.set(key, { secret, cluster: kept });
    for (const listener of this.#listeners) listener(namespace, name, secret);
    if (before === undefined) return;
    if (before.cluster !== undefined && before.cluster !== kept) {
      this.#end(isSame ? before.cluster.retire() : before.cluster.close());
    }
    if (!isSame) this.#deps.remote?.onGone(namespace, name);
  }

  #end(ending: Promise<void>): void {
    const ended = ending.finally(() => this.#closing.delete(ended));
    this.#closing.add(ended);
  }
}
