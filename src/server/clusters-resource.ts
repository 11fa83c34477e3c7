// The resource `clusters` in kexer's group, to be looked at: get and list, as objects and as tables. There is the local cluster under every
// namespace and no other; listed over all namespaces it is shown once, under `default`.

import type { Clock } from '../base/clock.ts';
import { clustersResource, type ClusterDirectory } from '../clusters/directory.ts';
import type { RequestInfo } from '../kube/request-info.ts';
import { badRequest, methodNotAllowed, StatusError, unknownResource } from '../kube/status.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

import { negotiate, plainForm, type Form } from './accept.ts';
import { jsonAnswer, statusAnswer, type Answer } from './answer.ts';

const apiVersion = `${clustersResource.group}/${clustersResource.version}`;

const tableForm: Form = {
  contentType: 'application/json',
  as: 'Table',
  group: 'meta.k8s.io',
  version: 'v1',
};

interface ClusterObject {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly creationTimestamp: string };
  readonly spec: { readonly kind: string };
  readonly status: { readonly ready: boolean };
}

export class ClustersResource {
  readonly #directory: ClusterDirectory;
  readonly #isReady: () => boolean;
  readonly #clock: Clock;
  readonly #startedAtMs: number;

  /** @param deps.isReady whether the local cluster's apiserver could be read. */
  constructor(deps: { clock: Clock; directory: ClusterDirectory; isReady: () => boolean }) {
    this.#directory = deps.directory;
    this.#isReady = deps.isReady;
    this.#clock = deps.clock;
    this.#startedAtMs = deps.clock.now();
  }

  /** @throws StatusError 404 for a cluster that does not exist, 400 for a selector that is not supported, 406. */
  answer(info: RequestInfo, query: URLSearchParams, headers: RawHeaders): Answer {
    if (info.resource !== clustersResource.resource || info.subresource !== '') return statusAnswer(unknownResource());
    if (info.verb !== 'get' && info.verb !== 'list') return statusAnswer(methodNotAllowed());
    const form = negotiate(headers, [tableForm, plainForm]);
    const isList = info.parts.length < 2;
    const clusters = isList ? this.#list(info.namespace, query) : [this.#get(info.namespace, info.parts[1] ?? '')];
    if (form.as === 'Table') return jsonAnswer(200, this.#table(clusters, query));
    const [first] = clusters;
    const objects = clusters.map((cluster) => ({ kind: 'Cluster', apiVersion, ...cluster }));
    if (!isList) return jsonAnswer(200, { kind: 'Cluster', apiVersion, ...first });
    return jsonAnswer(200, { kind: 'ClusterList', apiVersion, metadata: {}, items: objects });
  }

  #get(namespace: string, name: string): ClusterObject {
    // Throws for a name that means nothing.
    const cluster = this.#directory.find(namespace, name);
    return this.#objectOf(namespace, cluster.name);
  }

  #list(namespace: string, query: URLSearchParams): ClusterObject[] {
    if ((query.get('labelSelector') ?? '') !== '') {
      throw new StatusError(badRequest('label selectors are not supported: clusters have no labels'));
    }
    const place = namespace === '' ? 'default' : namespace;
    const clusters = this.#directory.names(place).map((name) => this.#objectOf(place, name));
    const terms = (query.get('fieldSelector') ?? '').split(',').filter((term) => term !== '');
    return clusters.filter(({ metadata }) => terms.every((term) => matchesField(metadata, term)));
  }

  #objectOf(namespace: string, name: string): ClusterObject {
    return {
      metadata: { name, namespace, creationTimestamp: isoSeconds(this.#startedAtMs) },
      spec: { kind: 'Local' },
      status: { ready: this.#isReady() },
    };
  }

  #table(clusters: readonly ClusterObject[], query: URLSearchParams): unknown {
    const includeObject = query.get('includeObject') ?? 'Metadata';
    return {
      kind: 'Table',
      apiVersion: 'meta.k8s.io/v1',
      metadata: {},
      columnDefinitions: tableColumns,
      rows: clusters.map((cluster) => ({
        cells: [
          cluster.metadata.name,
          cluster.spec.kind,
          cluster.status.ready ? 'True' : 'False',
          age(this.#clock.now() - this.#startedAtMs),
        ],
        ...rowObject(cluster, includeObject),
      })),
    };
  }
}

function rowObject(cluster: ClusterObject, includeObject: string): { object?: unknown } {
  if (includeObject === 'None') return {};
  if (includeObject === 'Object') return { object: { kind: 'Cluster', apiVersion, ...cluster } };
  return {
    object: { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: cluster.metadata },
  };
}

const tableColumns = [
  column('Name', 'name', 'Name of the cluster; local is the one kexer runs in.'),
  column('Kind', '', 'What the name stands for.'),
  column('Ready', '', 'Whether the apiserver of the cluster answers kexer.'),
  column('Age', '', 'Since when kexer serves the cluster.'),
];

function column(name: string, format: string, description: string): unknown {
  return { name, type: 'string', format, description, priority: 0 };
}

/** `metadata.name=x`, `metadata.namespace!=y`; any other field is refused as kube-apiserver does. */
function matchesField(metadata: ClusterObject['metadata'], term: string): boolean {
  const match = /^(metadata\.name|metadata\.namespace)(!=|==?)([^=!]*)$/.exec(term);
  if (match === null) {
    throw new StatusError(badRequest(`field label not supported: ${term.split(/[=!]/, 1)[0] ?? ''}`));
  }
  const value = match[1] === 'metadata.name' ? metadata.name : metadata.namespace;
  return (value === match[3]) === (match[2] !== '!=');
}

/** RFC 3339 without fractions, as metav1.Time prints. */
function isoSeconds(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** `5s`, `3m20s`, `7h5m`, `2d3h`, `20d`: apimachinery's HumanDuration for the ranges a process lives. */
function age(durationMs: number): string {
  const seconds = Math.max(0, Math.floor(durationMs / 1000));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return pair(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return pair(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  return days < 8 ? pair(days, 'd', hours % 24, 'h') : `${days}d`;
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large}${largeUnit}` : `${large}${largeUnit}${small}${smallUnit}`;
}
