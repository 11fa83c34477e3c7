// Which container of which pod on which node a stream is for, with the refusals of K/registry/core/pod/strategy.go, in their order.

import { badRequest, failure, notFound, StatusError } from '../../../kube/status.ts';
import type { KubeObject, Store } from '../store.ts';

export interface KubeletAddress {
  readonly nodeName: string;
  readonly host: string;
  readonly port: number;
  /** Whether the node declares ExtendWebSocketsToKubelet. */
  readonly takesWebSockets: boolean;
}

interface ContainerList {
  readonly name: string;
}

/** kubeadm's --kubelet-preferred-address-types: the built-in default begins with host names, which nobody resolves here. */
const preferredTypes = ['InternalIP', 'ExternalIP', 'Hostname'];
const defaultKubeletPort = 10250;

/** The container that is meant. @throws StatusError 400 */
export function chooseContainer(pod: KubeObject, wanted: string): string {
  const spec = pod['spec'] as Record<string, readonly ContainerList[] | undefined>;
  const names = (list: string): string[] => (spec[list] ?? []).map((container) => container.name);
  const regular = names('containers');
  const all = [...names('initContainers'), ...regular, ...names('ephemeralContainers')];
  const podName = pod.metadata.name;
  if (wanted !== '') {
    if (all.includes(wanted)) return wanted;
    throw new StatusError(badRequest(`container ${wanted} is not valid for pod ${podName}`));
  }
  const [only] = regular;
  if (regular.length === 1 && only !== undefined) return only;
  const must = `a container name must be specified for pod ${podName}`;
  throw new StatusError(badRequest(regular.length === 0 ? must : `${must}, choose one of: [${all.join(' ')}]`));
}

/** The node a pod runs on; '' while it has none. */
export function nodeNameOf(pod: KubeObject): string {
  const { nodeName } = pod['spec'] as { nodeName?: string };
  return nodeName ?? '';
}

/** @throws StatusError 400 for a pod without a node, 404 for a node that is gone, 500 for one without an address. */
export function kubeletAddress(store: Store, pod: KubeObject): KubeletAddress {
  const nodeName = nodeNameOf(pod);
  if (nodeName === '') {
    throw new StatusError(badRequest(`pod ${pod.metadata.name} does not have a host assigned`));
  }
  const node = store.get({ group: '', resource: 'nodes', namespace: '', name: nodeName });
  // The registry of nodes names what it misses by the resource of the request, which is one for a pod (seen at a real kube-apiserver).
  if (node === undefined) throw new StatusError(notFound({ group: '', resource: 'pods' }, nodeName));
  const status = (node['status'] ?? {}) as {
    addresses?: readonly { type: string; address: string }[];
    daemonEndpoints?: { kubeletEndpoint?: { Port?: number } };
    declaredFeatures?: readonly string[];
  };
  const addresses = status.addresses ?? [];
  for (const type of preferredTypes) {
    const found = addresses.find((address) => address.type === type);
    if (found === undefined) continue;
    return {
      nodeName,
      host: found.address,
      port: status.daemonEndpoints?.kubeletEndpoint?.Port ?? defaultKubeletPort,
      takesWebSockets: status.declaredFeatures?.includes('ExtendWebSocketsToKubelet') ?? false,
    };
  }
  const known = addresses.map(({ type, address }) => `{${type} ${address}}`).join(' ');
  throw new StatusError(failure(500, '', `no preferred addresses found; known addresses: [${known}]`));
}
