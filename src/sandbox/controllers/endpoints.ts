// Endpoints and EndpointSlices of Services with a selector: the ready pods' addresses, which are all the loopback's here.

import { at, integer, records, stringMap, text } from '../apiserver/objects/fields.ts';
import { isJsonEqual } from '../apiserver/objects/object.ts';
import type { KubeObject } from '../apiserver/store.ts';
import { type ClusterClient, controllerReference, keyOf } from './cluster-client.ts';
import { isActive, isReady, podResource } from './replica-sets.ts';
import { joinKey, splitKey, WorkQueue } from './work-queue.ts';

const serviceResource = { group: '', resource: 'services' } as const;
const endpointsResource = { group: '', resource: 'endpoints' } as const;
const sliceResource = { group: 'discovery.k8s.io', resource: 'endpointslices' } as const;

interface Port {
  readonly name?: string;
  readonly port: number;
  readonly protocol: string;
}

/** The number behind a service's port: its targetPort, looked up in the pod if it is a name. */
function targetPort(port: Readonly<Record<string, unknown>>, pod: KubeObject | undefined): number {
  const target = port['targetPort'];
  if (typeof target === 'string') {
    const named = records(at(pod, 'spec', 'containers'))
      .flatMap((container) => records(container['ports']))
      .find((candidate) => candidate['name'] === target);
    return integer(named?.['containerPort']);
  }
  return typeof target === 'number' && target > 0 ? target : integer(port['port']);
}

function portsOf(service: KubeObject, pod: KubeObject | undefined): Port[] {
  return records(at(service, 'spec', 'ports')).map((port) => ({
    ...(text(port['name']) === '' ? {} : { name: text(port['name']) }),
    port: targetPort(port, pod),
    protocol: text(port['protocol']) || 'TCP',
  }));
}

function targetRef(pod: KubeObject): object {
  const { name, namespace, uid } = pod.metadata;
  return { kind: 'Pod', namespace, name, uid };
}

function endpointOf(pod: KubeObject): object {
  const ready = isReady(pod);
  return {
    addresses: [text(at(pod, 'status', 'podIP'))],
    conditions: { ready, serving: ready, terminating: false },
    targetRef: targetRef(pod),
    nodeName: at(pod, 'spec', 'nodeName'),
  };
}

export class EndpointsController {
  readonly #cluster: ClusterClient;
  readonly #queue: WorkQueue;
  readonly #unwatch: (() => void)[] = [];

  constructor(cluster: ClusterClient) {
    this.#cluster = cluster;
    this.#queue = new WorkQueue(cluster, (key) => this.#reconcile(key));
  }

  start(): void {
    const { store } = this.#cluster;
    const from = store.resourceVersion;
    for (const service of store.list(serviceResource)) this.#add(service);
    this.#unwatch.push(
      store.watch(serviceResource, from, ({ object }) => this.#add(object)),
      store.watch(podResource, from, ({ object }) => {
        for (const service of store.list(serviceResource, object.metadata.namespace)) {
          if (selects(service, object)) this.#add(service);
        }
      }),
    );
  }

  stop(): Promise<void> {
    for (const unwatch of this.#unwatch) unwatch();
    return this.#queue.stop();
  }

  #add({ metadata }: KubeObject): void {
    this.#queue.add(joinKey(metadata.namespace ?? '', metadata.name));
  }

  async #reconcile(key: string): Promise<void> {
    const { store } = this.#cluster;
    const where = splitKey(key);
    const service = store.get({ ...serviceResource, ...where });
    if (service === undefined) {
      this.#cluster.delete({ ...endpointsResource, ...where }); // slices go with their owner
      return;
    }
    if (Object.keys(stringMap(at(service, 'spec', 'selector'))).length === 0) return;
    const pods = store
      .list(podResource, where.namespace)
      .filter((pod) => selects(service, pod) && isActive(pod) && text(at(pod, 'status', 'podIP')) !== '');
    const ports = portsOf(service, pods[0]);
    await this.#writeEndpoints(service, pods, ports);
    await this.#writeSlice(service, pods, ports);
  }

  async #writeEndpoints(service: KubeObject, pods: readonly KubeObject[], ports: readonly Port[]): Promise<void> {
    const addressOf = (pod: KubeObject): object => ({
      ip: at(pod, 'status', 'podIP'),
      nodeName: at(pod, 'spec', 'nodeName'),
      targetRef: targetRef(pod),
    });
    const ready = pods.filter(isReady).map(addressOf);
    const notReady = pods.filter((pod) => !isReady(pod)).map(addressOf);
    const subset = {
      ...(ready.length === 0 ? {} : { addresses: ready }),
      ...(notReady.length === 0 ? {} : { notReadyAddresses: notReady }),
      ports,
    };
    const { name, namespace = '', labels } = service.metadata;
    await this.#put({
      apiVersion: 'v1',
      kind: 'Endpoints',
      metadata: {
        name,
        namespace,
        labels: { 'endpoints.kubernetes.io/managed-by': 'endpoint-controller', ...labels },
      },
      ...(pods.length === 0 ? {} : { subsets: [subset] }),
    });
  }

  async #writeSlice(service: KubeObject, pods: readonly KubeObject[], ports: readonly Port[]): Promise<void> {
    const { name, namespace = '' } = service.metadata;
    await this.#put({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: `${name}-sandbox`,
        namespace,
        labels: {
          'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
          'kubernetes.io/service-name': name,
        },
        ownerReferences: [controllerReference(service)],
      },
      addressType: 'IPv4',
      endpoints: pods.map(endpointOf),
      ports: ports.map((port) => ({ name: '', ...port })),
    });
  }

  /** Creates the object or brings it to what is wanted. */
  async #put(wanted: KubeObject): Promise<void> {
    const resource = wanted.kind === 'Endpoints' ? endpointsResource : sliceResource;
    const key = keyOf(resource, wanted);
    const existing = this.#cluster.store.get(key);
    if (existing === undefined) {
      await this.#cluster.create(resource, wanted);
      return;
    }
    const { metadata: _metadata, ...content } = wanted;
    const names = ['subsets', 'endpoints', 'ports', 'addressType'];
    if (names.every((name) => isJsonEqual(existing[name], wanted[name]))) return;
    await this.#cluster.update(key, (draft) => {
      for (const name of names) delete draft[name];
      Object.assign(draft, content);
    });
  }
}

function selects(service: KubeObject, pod: KubeObject): boolean {
  const wanted = Object.entries(stringMap(at(service, 'spec', 'selector')));
  const { namespace, labels = {} } = pod.metadata;
  return (
    wanted.length > 0 &&
    service.metadata.namespace === namespace &&
    wanted.every(([name, value]) => labels[name] === value)
  );
}
