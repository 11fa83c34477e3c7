// What a cluster name means. `local` is the cluster kexer runs in, under every namespace; no other name means anything yet, and an unknown
// name is never the local cluster.

import { notFound, StatusError } from '../kube/status.ts';

import type { Cluster } from './cluster.ts';

/** The resource of clusters in kexer's own API group. */
export const clustersResource = { group: 'backup.cv.io', version: 'v1', resource: 'clusters' } as const;

export class ClusterDirectory {
  readonly #local: Cluster;

  constructor(deps: { local: Cluster }) {
    this.#local = deps.local;
  }

  /** @throws StatusError 404 in kube-apiserver's words. */
  find(_namespace: string, name: string): Cluster {
    if (name !== 'local') throw new StatusError(notFound(clustersResource, name));
    return this.#local;
  }

  /** The names there are in a namespace. */
  names(_namespace: string): readonly string[] {
    return ['local'];
  }
}
