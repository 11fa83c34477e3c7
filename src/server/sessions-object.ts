// A running session as an object of Kubernetes, and the columns kubectl shows of it. Commands are redacted as in the audit log: whoever may list
// sessions need not be allowed to read what is typed in them. Counters are exact here; the table rounds them for people.

import { humanBytes } from '../base/human-bytes.ts';
import { humanDuration } from '../kube/human-duration.ts';
import { clustersResource } from '../clusters/directory.ts';
import type { UserInfo } from '../kube/user.ts';
import type { Session, SessionSubject } from '../streams/session.ts';

import { isoSeconds, type ResourceKind, type ResourceObject, type TableColumn } from './resource-kind.ts';

const { group, version } = clustersResource;

/** The resource of sessions in kexer's own API group. */
export const sessionsResource = { group, version, resource: 'sessions' } as const;

/** metav1.Condition */
interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False';
  readonly lastTransitionTime: string;
  readonly reason: string;
  readonly message: string;
}

interface SessionUser {
  readonly username: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
}

/** What was fixed when it began. Fields that have nothing to say are left out. */
interface SessionSpec {
  /** exec, attach, portforward, log, upgrade. */
  readonly kind: string;
  /** Whose rights it runs with; in a cluster that is `shared`, who called. */
  readonly user: SessionUser;
  /** Who called, if they became another by impersonation. */
  readonly originalUser?: SessionUser;
  readonly cluster: { readonly namespace: string; readonly name: string };
  /** Absent for an upgrade that is about no pod. */
  readonly pod?: { readonly namespace: string; readonly name: string; readonly uid?: string; readonly node?: string };
  readonly container?: string;
  readonly command?: readonly string[];
  readonly clientAddress?: string;
  readonly clientProtocol: string;
  readonly backendProtocol?: string;
  readonly auditID: string;
}

interface SessionStatus {
  readonly phase: 'Running' | 'Ending';
  /** Which kexer carries it. */
  readonly replica: string;
  /** Payload from the client, and to it. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** When payload last passed, or the session began. */
  readonly lastActivityTime: string;
  readonly conditions: readonly Condition[];
}

export interface SessionObject extends ResourceObject {
  readonly kind: 'Session';
  readonly spec: SessionSpec;
  readonly status: SessionStatus;
}

/** What a session's object has that its session does not know. */
export interface SessionIdentity {
  readonly uid: string;
  readonly replica: string;
  /** As it may be shown. */
  readonly command: readonly string[];
}

/**
 * The namespace a session is in, and where rights on it are asked for: its pod's; in another cluster, the Secret's that describes that. An
 * upgrade about nothing in a namespace is where the URL named the cluster.
 */
export function namespaceOf({ cluster, clusterNamespace, namespace }: SessionSubject): string {
  return cluster === 'local' && namespace !== '' ? namespace : clusterNamespace;
}

export function sessionObject(session: Session, identity: SessionIdentity): SessionObject {
  const { subject, startedAtMs } = session;
  return {
    kind: 'Session',
    apiVersion: `${group}/${version}`,
    metadata: {
      name: session.id,
      namespace: namespaceOf(subject),
      uid: identity.uid,
      creationTimestamp: isoSeconds(startedAtMs),
    },
    spec: specOf(subject, identity.command),
    status: {
      phase: session.endRequest === undefined ? 'Running' : 'Ending',
      replica: identity.replica,
      bytesIn: session.bytesIn,
      bytesOut: session.bytesOut,
      lastActivityTime: isoSeconds(session.lastActivityAtMs),
      conditions: conditionsOf(session),
    },
  };
}

function specOf(subject: SessionSubject, command: readonly string[]): SessionSpec {
  const { user, originalUser, namespace, pod, podUid, node, container, remoteAddress, kubeletProtocol } = subject;
  return {
    kind: subject.kind,
    user: userOf(user),
    ...(originalUser === undefined || originalUser.name === user.name ? {} : { originalUser: userOf(originalUser) }),
    cluster: { namespace: subject.clusterNamespace, name: subject.cluster },
    ...(pod === ''
      ? {}
      : {
          pod: {
            namespace,
            name: pod,
            ...(podUid === '' ? {} : { uid: podUid }),
            ...(node === '' ? {} : { node }),
          },
        }),
    ...(container === '' ? {} : { container }),
    ...(command.length === 0 ? {} : { command }),
    ...(remoteAddress === '' ? {} : { clientAddress: remoteAddress }),
    clientProtocol: subject.clientProtocol,
    ...(kubeletProtocol === '' ? {} : { backendProtocol: kubeletProtocol }),
    auditID: subject.auditId,
  };
}

/** Without extras: they may hold what others have no business with. */
function userOf({ name, uid, groups }: UserInfo): SessionUser {
  return { username: name, ...(uid === '' ? {} : { uid }), ...(groups.length === 0 ? {} : { groups }) };
}

function conditionsOf({ subject, startedAtMs, endRequest }: Session): Condition[] {
  const lastTransitionTime = isoSeconds(startedAtMs);
  const { detour, kind, node } = subject;
  const direct: Condition = {
    type: 'Direct',
    status: detour === undefined ? 'True' : 'False',
    lastTransitionTime,
    reason: detour === undefined ? 'Kubelet' : `${detour.slice(0, 1).toUpperCase()}${detour.slice(1)}`,
    message: detour === undefined ? `straight to the kubelet of node ${node}` : "by kube-apiserver's own streaming",
  };
  const ending: Condition = {
    type: 'EndRequested',
    status: endRequest === undefined ? 'False' : 'True',
    lastTransitionTime: endRequest === undefined ? lastTransitionTime : isoSeconds(endRequest.atMs),
    reason: endRequest === undefined ? 'NotRequested' : 'Requested',
    message: endRequest?.message ?? '',
  };
  // What an upgrade's way is, kube-apiserver decides.
  return kind === 'upgrade' ? [ending] : [direct, ending];
}

/** Of a command in a table; the object has all of it. */
const maxCommandLength = 48;

const columns: readonly TableColumn[] = [
  { ...column('Name', "Name of the session, as in kexer's logs and audit events."), format: 'name' },
  column('Kind', 'exec, attach, portforward, log, or upgrade for any other protocol.'),
  column('User', 'Who runs it; whom they act as, if they became another.'),
  column('Pod', 'The pod it is in.'),
  column('Container', 'The container it is in.'),
  column('Command', 'What runs, without what is known to be secret; shortened.'),
  column('Client', 'What the client speaks.'),
  column('Backend', 'What the kubelet, or kube-apiserver, is spoken to.'),
  column('Age', 'Since it began.'),
  column('Idle', 'Since payload last passed, either way.'),
  column('In', 'Payload from the client.'),
  column('Out', 'Payload to the client.'),
  { ...column('Cluster', 'The cluster it is in.'), priority: 1 },
  { ...column('Node', 'The node of its pod.'), priority: 1 },
  { ...column('From', 'Where the client called from.'), priority: 1 },
  { ...column('Original user', 'Who called, if they became another.'), priority: 1 },
  { ...column('Direct', 'Whether it goes straight to the kubelet, or why not.'), priority: 1 },
  { ...column('Replica', 'Which kexer carries it.'), priority: 1 },
];

function column(name: string, description: string): TableColumn {
  return { name, type: 'string', format: '', description, priority: 0 };
}

export const sessionKind: ResourceKind<SessionObject> = {
  ...sessionsResource,
  kind: 'Session',
  columns,
  fields: ['spec.kind', 'spec.user.username', 'spec.cluster.name', 'spec.pod.name', 'spec.pod.node', 'status.replica'],
  cells({ metadata, spec, status }, nowMs) {
    const since = (time: string): string => humanDuration(nowMs - Date.parse(time));
    const direct = status.conditions.find(({ type }) => type === 'Direct');
    return [
      metadata.name,
      spec.kind,
      spec.user.username,
      shown(spec.pod?.name),
      shown(spec.container),
      shown(commandText(spec.command ?? [])),
      shown(shortProtocol(spec.clientProtocol)),
      shown(shortProtocol(spec.backendProtocol ?? '')),
      since(metadata.creationTimestamp),
      since(status.lastActivityTime),
      humanBytes(status.bytesIn),
      humanBytes(status.bytesOut),
      spec.cluster.name === 'local' ? 'local' : `${spec.cluster.namespace}/${spec.cluster.name}`,
      shown(spec.pod?.node),
      shown(spec.clientAddress),
      shown(spec.originalUser?.username),
      direct === undefined ? '<none>' : direct.status === 'True' ? 'True' : direct.reason,
      status.replica,
    ];
  },
};

/** As kubectl shows what is not there. */
function shown(text: string | undefined): string {
  return text === undefined || text === '' ? '<none>' : text;
}

/** Words with odd characters in quotes, so that the line can be read back; shortened for a table. */
function commandText(command: readonly string[]): string {
  const text = command.map((word) => (/^[\w@%+=:,./[\]-]+$/.test(word) ? word : JSON.stringify(word))).join(' ');
  return text.length <= maxCommandLength ? text : `${text.slice(0, maxCommandLength - 1)}…`;
}

/** `SPDY/3.1 v4` of `SPDY/3.1 v4.channel.k8s.io`: the rest is the same for all. */
function shortProtocol(protocol: string): string {
  return protocol
    .replace('.channel.k8s.io', '')
    .replace(/^(\S+) portforward\.k8s\.io$/, '$1')
    .replace('+portforward.k8s.io', '');
}
