// Where a Service leads: a ready endpoint of its EndpointSlices (or of its Endpoints), with the port of that name. The sandbox has no
// service network, so the aggregator and the webhook caller dial endpoints, as --enable-aggregator-routing does.

import type { KubeObject, Store } from '../store.ts';

export interface ServiceReference {
  readonly namespace: string;
  readonly name: string;
  readonly port: number;
}

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

interface SlicePort {
  readonly name?: string;
  readonly port?: number;
}

interface SliceEndpoint {
  readonly addresses?: readonly string[];
  readonly conditions?: { readonly ready?: boolean };
}

interface EndpointsSubset {
  readonly addresses?: readonly { readonly ip: string }[];
  readonly ports?: readonly SlicePort[];
}

/** The EndpointSlices of a Service, by the label that ties them to it. */
export function slicesOf(store: Store, { namespace, name }: ServiceReference): KubeObject[] {
  return store
    .list({ group: 'discovery.k8s.io', resource: 'endpointslices' }, namespace)
    .filter((slice) => slice.metadata.labels?.['kubernetes.io/service-name'] === name);
}

/** Whether a slice has a ready endpoint and the named port (hasAvailableEndpoint of the availability controller). */
export function isServing(slice: KubeObject, portName: string): boolean {
  return endpointsOf(slice).some(isReady) && portOf(slice['ports'], portName) !== undefined;
}

/** The name and port of a Service's port number; undefined if the Service does not have it. */
export function servicePort(service: KubeObject, port: number): { name: string } | undefined {
  const { ports = [] } = service['spec'] as { ports?: readonly { name?: string; port: number }[] };
  const found = ports.find((candidate) => candidate.port === port);
  return found === undefined ? undefined : { name: found.name ?? '' };
}

export function resolveService(store: Store, reference: ServiceReference): Endpoint | undefined {
  const { namespace, name, port } = reference;
  const service = store.get({ group: '', resource: 'services', namespace, name });
  const named = service === undefined ? undefined : servicePort(service, port);
  if (named === undefined) return undefined;
  for (const slice of slicesOf(store, reference)) {
    const host = endpointsOf(slice).find(isReady)?.addresses?.[0];
    const target = portOf(slice['ports'], named.name);
    if (host !== undefined && target !== undefined) return { host, port: target };
  }
  const endpoints = store.get({ group: '', resource: 'endpoints', namespace, name });
  for (const subset of (endpoints?.['subsets'] ?? []) as readonly EndpointsSubset[]) {
    const host = subset.addresses?.[0]?.ip;
    const target = portOf(subset.ports, named.name);
    if (host !== undefined && target !== undefined) return { host, port: target };
  }
  return undefined;
}

function endpointsOf(slice: KubeObject): readonly SliceEndpoint[] {
  return (slice['endpoints'] ?? []) as readonly SliceEndpoint[];
}

function isReady(endpoint: SliceEndpoint): boolean {
  return endpoint.conditions?.ready !== false;
}

function portOf(ports: unknown, name: string): number | undefined {
  return ((ports ?? []) as readonly SlicePort[]).find((port) => (port.name ?? '') === name)?.port;
}
