// Where a stream goes: pod → container → node, and from there the kubelet's address. Read with kexer's own rights and beside the preflight, so
// nothing of this may be told to a client before kube-apiserver has allowed the call.

import type { Cluster, NodeObject, PodObject } from '../clusters/cluster.ts';
import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { badGateway, badRequest, StatusError } from '../kube/status.ts';
import { checkNames } from './names.ts';

/** Enough to say which node's kubelet has the pod. */
export interface Place {
  readonly namespace: string;
  readonly pod: string;
  readonly podUid: string;
  /** The pod stands for a static pod: kubelets know it by another UID in attach and port-forward. */
  readonly isMirror: boolean;
  /** '' for port-forward. */
  readonly container: string;
  readonly node: string;
}

export interface Target extends Place {
  /** Address and port of the kubelet. */
  readonly host: string;
  readonly port: number;
}

export interface TargetQuestion {
  readonly namespace: string;
  readonly pod: string;
  /** '' is the pod's only container; undefined: none is needed. */
  readonly container: string | undefined;
}

const defaultKubeletPort = 10_250;
const mirrorAnnotation = 'kubernetes.io/config.mirror';

/** @throws StatusError as kube-apiserver answers; KexerError badRequest. */
export async function findPlace(cluster: Cluster, question: TargetQuestion, signal: AbortSignal): Promise<Place> {
  checkNames({ ...question, container: question.container ?? '' });
  const pod = await readPod(cluster, question, signal);
  const container = question.container === undefined ? '' : resolveContainer(pod, question.container);
  checkNames({ ...question, container });
  const nodeName = pod.spec.nodeName ?? '';
  if (nodeName === '') throw new StatusError(badRequest(`pod ${question.pod} does not have a host assigned`));
  return {
    namespace: question.namespace,
    pod: question.pod,
    podUid: pod.metadata.uid,
    isMirror: pod.metadata.annotations?.[mirrorAnnotation] !== undefined,
    container,
    node: nodeName,
  };
}

/** @throws StatusError as kube-apiserver answers, without a word of kexer's own account. */
function readPod(
  cluster: Cluster,
  { namespace, pod }: Pick<Place, 'namespace' | 'pod'>,
  signal: AbortSignal,
): Promise<PodObject> {
  return cluster.pod(namespace, pod, signal).catch((error: unknown) => {
    throw ownRefusal(error, 'pods') ?? error;
  });
}

/** The UID of the pod that has this name now. @throws StatusError as kube-apiserver answers, without a word of kexer's own account. */
export function readPodUid(
  cluster: Cluster,
  { namespace, pod }: Pick<Place, 'namespace' | 'pod'>,
  signal: AbortSignal,
): Promise<string> {
  return cluster.podUid(namespace, pod, signal).catch((error: unknown) => {
    throw ownRefusal(error, 'pods') ?? error;
  });
}

/** A 401 or 403 of kexer's own read is kexer's matter, and no answer to the caller: its text names kexer's account. */
function ownRefusal(error: unknown, resource: 'pods' | 'nodes'): StatusError | undefined {
  const code = error instanceof StatusError ? error.status.code : 0;
  if (code !== 401 && code !== 403) return undefined;
  const text =
    code === 401
      ? "kube-apiserver does not accept kexer's own credential"
      : `kube-apiserver does not let kexer find ${resource}: its account needs the verb "get" on "${resource}"`;
  return new StatusError(badGateway(text), { cause: error });
}

/** @throws KexerError unreachable if there is no such node, or it has no usable address; what kexer's own read of it throws. */
export async function targetOf(cluster: Cluster, place: Place, signal: AbortSignal): Promise<Target> {
  const node = await cluster.node(place.node, signal).catch((error: unknown) => {
    throw ownRefusal(error, 'nodes') ?? error;
  });
  if (node === undefined) {
    const what = `node ${quote(place.node)} of pod ${quote(place.pod)}`;
    throw new KexerError('unreachable', `Cannot find ${what}: the cluster has no such node`);
  }
  return { ...place, ...kubeletAddress(node, cluster.kubelet.preferredAddressTypes) };
}

/** The texts are kube-apiserver's (validateContainer); the preflight gives them first unless the pod was replaced since. */
function resolveContainer(pod: PodObject, wanted: string): string {
  const { name } = pod.metadata;
  const regular = pod.spec.containers.map((container) => container.name);
  const all = [...(pod.spec.initContainers ?? []), ...pod.spec.containers, ...(pod.spec.ephemeralContainers ?? [])].map(
    (container) => container.name,
  );
  if (wanted !== '') {
    if (all.includes(wanted)) return wanted;
    throw new StatusError(badRequest(`container ${wanted} is not valid for pod ${name}`));
  }
  const [only, ...others] = regular;
  if (only !== undefined && others.length === 0) return only;
  const base = `a container name must be specified for pod ${name}`;
  throw new StatusError(badRequest(regular.length === 0 ? base : `${base}, choose one of: [${all.join(' ')}]`));
}

/** The first address of the first preferred type that the node has, as kube-apiserver chooses. */
export function kubeletAddress(node: NodeObject, preferredTypes: readonly string[]): { host: string; port: number } {
  const addresses = node.status?.addresses ?? [];
  for (const type of preferredTypes) {
    const found = addresses.find((address) => address.type === type && address.address !== '');
    if (found !== undefined) {
      const port = node.status?.daemonEndpoints?.kubeletEndpoint?.Port ?? 0;
      return { host: found.address, port: port === 0 ? defaultKubeletPort : port };
    }
  }
  const known = addresses.map((address) => `${address.type} ${address.address}`).join(', ');
  throw new KexerError(
    'unreachable',
    `Cannot reach node ${quote(node.metadata.name)}: it has no address of the types ${preferredTypes.join(', ')}; known: ${known === '' ? 'none' : known}`,
  );
}
