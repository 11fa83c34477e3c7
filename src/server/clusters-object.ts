// The kind Cluster: what kexer shows of the cluster it runs in and of those that Secrets name. No credential is part of it, and nothing of a
// Secret but what is named here: annotations, which may hold a whole manifest, are left out.

import { createHash } from 'node:crypto';

import type { Health } from '../clusters/cluster-health.ts';
import type { ClusterSecret } from '../clusters/cluster-secret.ts';
import { clustersResource } from '../clusters/directory.ts';
import { localName } from '../clusters/secret-watch.ts';
import { humanDuration } from '../kube/human-duration.ts';

import { isoSeconds, type ResourceKind, type ResourceObject, type TableColumn } from './resource-kind.ts';

const { group, version, resource } = clustersResource;

export type ConditionStatus = 'True' | 'False' | 'Unknown';

/** metav1.Condition */
export interface Condition {
  readonly type: 'Accepted' | 'Reachable';
  readonly status: ConditionStatus;
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
}

export interface ClusterObject extends ResourceObject {
  readonly spec: {
    readonly endpoint: string;
    /** `caller`: everybody is who they are here; of a Secret `shared` or `impersonate`. */
    readonly identity: string;
    readonly streams: string;
    readonly tlsServerName?: string;
    readonly identityPrefix?: string;
  };
  readonly status: {
    readonly version?: string;
    /** `12ms` */
    readonly latency?: string;
    readonly sessions: number;
    readonly conditions: readonly Condition[];
  };
}

export const clusterKind: ResourceKind<ClusterObject> = {
  group,
  version,
  resource,
  kind: 'Cluster',
  columns: [
    column('Name', 'name', 'Name of the cluster; local is the one kexer runs in.', 0),
    column('Endpoint', '', 'Where its kube-apiserver is.', 0),
    column('Identity', '', 'Who a caller is there.', 0),
    column('Streams', '', 'Which way exec, attach, port-forward and logs go.', 0),
    column('Reachable', '', 'Whether its kube-apiserver answers kexer.', 0),
    column('Version', '', 'Of its kube-apiserver.', 0),
    column('Latency', '', 'How long it took to answer.', 0),
    { ...column('Sessions', '', 'Streams that run there now through kexer.', 0), type: 'integer' },
    column('Age', '', 'How long there has been such a cluster.', 0),
    column('Message', '', 'Why it cannot be used, or does not answer.', 1),
  ],
  cells: ({ metadata, spec, status }, nowMs) => [
    metadata.name,
    spec.endpoint === '' ? '<invalid>' : spec.endpoint,
    spec.identity === '' ? '<invalid>' : spec.identity,
    spec.streams === '' ? '<invalid>' : spec.streams,
    conditionOf(status.conditions, 'Reachable')?.status ?? 'Unknown',
    status.version ?? '',
    status.latency ?? '',
    status.sessions,
    humanDuration(nowMs - Date.parse(metadata.creationTimestamp)),
    status.conditions.find((condition) => condition.status !== 'True')?.message ?? '',
  ],
  fields: ['spec.endpoint', 'spec.identity', 'spec.streams'],
  // The cluster kexer runs in is under every namespace.
  inOtherNamespace: (object, namespace) =>
    object.metadata.name === localName
      ? { ...object, metadata: { ...object.metadata, namespace, uid: localUid(namespace) } }
      : undefined,
};

function column(name: string, format: string, description: string, priority: 0 | 1): TableColumn {
  return { name, type: 'string', format, description, priority };
}

/** What is known of a cluster besides its Secret. */
export interface ClusterState {
  /** Undefined: nobody has looked yet. */
  readonly health: Health | undefined;
  readonly sessions: number;
  /** What was shown before, whose conditions may go on. */
  readonly previous: ClusterObject | undefined;
  readonly nowMs: number;
}

/** The cluster kexer runs in, shown under `namespace`. */
export function localObject(
  facts: { namespace: string; endpoint: string; streams: string; startedAtMs: number },
  state: ClusterState,
): ClusterObject {
  const { namespace, endpoint, streams, startedAtMs } = facts;
  return {
    kind: 'Cluster',
    apiVersion: `${group}/${version}`,
    metadata: {
      name: localName,
      namespace,
      uid: localUid(namespace),
      creationTimestamp: isoSeconds(startedAtMs),
    },
    spec: { endpoint, identity: 'caller', streams },
    status: statusOf({ reason: 'Local', message: 'the cluster kexer runs in' }, state),
  };
}

export function secretObject(secret: ClusterSecret, state: ClusterState): ClusterObject {
  const { namespace, name, uid, creationTimestamp, labels, shown, spec } = secret;
  const isUsable = !('problem' in spec);
  return {
    kind: 'Cluster',
    apiVersion: `${group}/${version}`,
    metadata: { name, namespace, uid, creationTimestamp, ...(Object.keys(labels).length === 0 ? {} : { labels }) },
    spec: {
      ...shown,
      ...(isUsable && spec.tlsServerName !== undefined ? { tlsServerName: spec.tlsServerName } : {}),
      ...(isUsable && spec.identityPrefix !== '' ? { identityPrefix: spec.identityPrefix } : {}),
    },
    status: statusOf(
      isUsable
        ? { reason: 'Accepted', message: 'the Secret can be used' }
        : { problem: `the Secret ${namespace}/${name} ${spec.problem}` },
      state,
    ),
  };
}

function statusOf(
  accepted: { reason: string; message: string } | { problem: string },
  { health, sessions, previous, nowMs }: ClusterState,
): ClusterObject['status'] {
  const condition = (type: Condition['type'], status: ConditionStatus, reason: string, message: string): Condition => {
    const before = conditionOf(previous?.status.conditions ?? [], type);
    const lastTransitionTime = before?.status === status ? before.lastTransitionTime : isoSeconds(nowMs);
    return { type, status, reason, message, lastTransitionTime };
  };
  const isUsable = !('problem' in accepted);
  return {
    ...(health?.isReachable === true
      ? { version: health.version, latency: latencyText(health.latencyMs, previous?.status.latency) }
      : {}),
    sessions,
    conditions: [
      isUsable
        ? condition('Accepted', 'True', accepted.reason, accepted.message)
        : condition('Accepted', 'False', 'Invalid', accepted.problem),
      health === undefined || !isUsable
        ? condition('Reachable', 'Unknown', isUsable ? 'NotAsked' : 'Invalid', 'nobody has asked it yet')
        : health.isReachable
          ? condition('Reachable', 'True', 'Answered', 'its kube-apiserver answers')
          : condition('Reachable', 'False', health.reason, health.message),
    ],
  };
}

export function conditionOf(conditions: readonly Condition[], type: Condition['type']): Condition | undefined {
  return conditions.find((condition) => condition.type === type);
}

/** The one shown before, as long as it is about right: no watch is to tell of each millisecond. */
function latencyText(ms: number, before: string | undefined): string {
  const rounded = Math.max(1, Math.round(ms));
  const shown = Number.parseInt(before ?? '', 10);
  return before !== undefined && rounded < shown * 2 && rounded > shown / 2 ? before : `${rounded}ms`;
}

/** There is no object behind it that has one; this one stays the same. */
function localUid(namespace: string): string {
  const hex = createHash('sha256').update(`${group}/${resource}/${namespace}/${localName}`).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-',
  );
}
