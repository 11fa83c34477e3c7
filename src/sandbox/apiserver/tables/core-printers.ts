// Rows of the core group's kinds, pods apart, and of those that stand close to them: endpoint slices, leases, storage.

import { at, integer, records, stringMap, strings, text } from '../objects/fields.ts';
import type { KubeObject } from '../objects/object.ts';
import { ageOf } from '../../../kube/human-duration.ts';
import {
  age,
  ageColumn,
  column,
  conditionOf,
  containerCells,
  countOf,
  createdColumn,
  doc,
  firstThree,
  formatLabels,
  nameColumn,
  none,
  type Printer,
  specOf,
  statusOf,
  wide,
} from './printer.ts';

function nodeRoles(node: KubeObject): string {
  const roles = new Set<string>();
  for (const [label, value] of Object.entries(node.metadata.labels ?? {})) {
    if (label.startsWith('node-role.kubernetes.io/')) roles.add(label.slice('node-role.kubernetes.io/'.length));
    else if (label === 'kubernetes.io/role') roles.add(value);
  }
  return (
    [...roles]
      .filter((role) => role !== '')
      .sort()
      .join(',') || none
  );
}

function nodeAddress(node: KubeObject, type: string): string {
  const address = records(statusOf(node)['addresses']).find((it) => it['type'] === type);
  return text(address?.['address']) || none;
}

const nodePrinter: Printer = {
  columns: [
    nameColumn,
    column('Status', 'The status of the node'),
    column('Roles', 'The roles of the node'),
    ageColumn,
    column('Version', doc('core.v1.NodeSystemInfo', 'kubeletVersion')),
    wide('Internal-IP', doc('core.v1.NodeStatus', 'addresses')),
    wide('External-IP', doc('core.v1.NodeStatus', 'addresses')),
    wide('OS-Image', doc('core.v1.NodeSystemInfo', 'osImage')),
    wide('Kernel-Version', doc('core.v1.NodeSystemInfo', 'kernelVersion')),
    wide('Container-Runtime', doc('core.v1.NodeSystemInfo', 'containerRuntimeVersion')),
  ],
  cells(node, nowMs) {
    const ready = conditionOf(node, 'Ready')['status'];
    const states = [ready === undefined ? 'Unknown' : ready === 'True' ? 'Ready' : 'NotReady'];
    if (specOf(node)['unschedulable'] === true) states.push('SchedulingDisabled');
    const info = (name: string): string => text(at(node, 'status', 'nodeInfo', name));
    const unknown = '<unknown>';
    const architecture = info('architecture');
    const kernel = info('kernelVersion');
    return [
      node.metadata.name,
      states.join(','),
      nodeRoles(node),
      age(node, nowMs),
      info('kubeletVersion'),
      nodeAddress(node, 'InternalIP'),
      nodeAddress(node, 'ExternalIP'),
      info('osImage') || unknown,
      kernel === '' ? unknown : architecture === '' ? kernel : `${kernel} (${architecture})`,
      info('containerRuntimeVersion') || unknown,
    ];
  },
};

/** The addresses a load balancer gave, as short as the column without `-o wide` was; the server always fills the wide form. */
export function loadBalancerText(object: KubeObject): string {
  const ingress = records(at(object, 'status', 'loadBalancer', 'ingress'));
  return [...new Set(ingress.map((it) => text(it['ip']) || text(it['hostname'])))]
    .filter((it) => it !== '')
    .sort()
    .join(',');
}

function externalIp(service: KubeObject): string {
  const spec = specOf(service);
  const ips = strings(spec['externalIPs']);
  switch (text(spec['type'])) {
    case 'ClusterIP':
    case 'NodePort':
      return ips.join(',') || none;
    case 'LoadBalancer':
      return [loadBalancerText(service), ...ips].filter((it) => it !== '').join(',') || '<pending>';
    case 'ExternalName':
      return text(spec['externalName']);
    default:
      return '<unknown>';
  }
}

function servicePorts(service: KubeObject): string {
  const ports = records(specOf(service)['ports']).map((port) => {
    const nodePort = integer(port['nodePort']);
    return `${integer(port['port'])}${nodePort > 0 ? `:${nodePort}` : ''}/${text(port['protocol'])}`;
  });
  return ports.join(',') || none;
}

const servicePrinter: Printer = {
  columns: [
    nameColumn,
    column('Type', doc('core.v1.ServiceSpec', 'type')),
    column('Cluster-IP', doc('core.v1.ServiceSpec', 'clusterIP')),
    column('External-IP', doc('core.v1.ServiceSpec', 'externalIPs')),
    column('Port(s)', doc('core.v1.ServiceSpec', 'ports')),
    ageColumn,
    wide('Selector', doc('core.v1.ServiceSpec', 'selector')),
  ],
  cells: (service, nowMs) => [
    service.metadata.name,
    text(specOf(service)['type']),
    text(strings(specOf(service)['clusterIPs'])[0]) || text(specOf(service)['clusterIP']) || none,
    externalIp(service),
    servicePorts(service),
    age(service, nowMs),
    formatLabels(specOf(service)['selector']),
  ],
};

function eventSource(event: KubeObject): string {
  const component = text(at(event, 'source', 'component')) || text(event['reportingComponent']);
  const instance = text(at(event, 'source', 'host')) || text(event['reportingInstance']);
  return instance === '' ? component : `${component}, ${instance}`;
}

const eventPrinter: Printer = {
  columns: [
    column('Last Seen', doc('core.v1.Event', 'lastTimestamp')),
    column('Type', doc('core.v1.Event', 'type')),
    column('Reason', doc('core.v1.Event', 'reason')),
    column('Object', doc('core.v1.Event', 'involvedObject')),
    wide('Subobject', doc('core.v1.ObjectReference', 'fieldPath')),
    wide('Source', doc('core.v1.Event', 'source')),
    column('Message', doc('core.v1.Event', 'message')),
    wide('First Seen', doc('core.v1.Event', 'firstTimestamp')),
    wide('Count', doc('core.v1.Event', 'count')),
    { ...nameColumn, priority: 1 },
  ],
  cells(event, nowMs) {
    const kind = text(at(event, 'involvedObject', 'kind')).toLowerCase();
    const name = text(at(event, 'involvedObject', 'name'));
    const first = ageOf(event['firstTimestamp'] ?? event['eventTime'], nowMs);
    const series = event['series'];
    const last =
      series !== undefined
        ? ageOf(at(series, 'lastObservedTime'), nowMs)
        : event['lastTimestamp'] === undefined
          ? first
          : ageOf(event['lastTimestamp'], nowMs);
    const count = series === undefined ? integer(event['count']) || 1 : integer(at(series, 'count'));
    return [
      last,
      text(event['type']),
      text(event['reason']),
      name === '' ? kind : `${kind}/${name}`,
      text(at(event, 'involvedObject', 'fieldPath')),
      eventSource(event),
      text(event['message']).trim(),
      first,
      count,
      event.metadata.name,
    ];
  },
};

function endpointTexts(endpoints: KubeObject): string {
  const texts = records(endpoints['subsets']).flatMap((subset) =>
    records(subset['ports']).flatMap((port) =>
      records(subset['addresses']).map((address) => {
        const ip = text(address['ip']);
        return `${ip.includes(':') ? `[${ip}]` : ip}:${integer(port['port'])}`;
      }),
    ),
  );
  return texts.length === 0 ? none : firstThree(texts);
}

function sliceCells(slice: KubeObject, nowMs: number): unknown[] {
  const ports = records(slice['ports']).map((port) =>
    port['port'] === undefined ? '*' : String(integer(port['port'])),
  );
  const addresses = records(slice['endpoints']).flatMap((endpoint) => strings(endpoint['addresses']));
  const unset = '<unset>';
  return [
    slice.metadata.name,
    text(slice['addressType']),
    ports.length === 0 ? unset : firstThree(ports),
    addresses.length === 0 ? unset : firstThree(addresses),
    age(slice, nowMs),
  ];
}

const accessModes: Readonly<Record<string, string>> = {
  ReadWriteOnce: 'RWO',
  ReadOnlyMany: 'ROX',
  ReadWriteMany: 'RWX',
  ReadWriteOncePod: 'RWOP',
};

function modesText(modes: unknown): string {
  const found = new Set(strings(modes));
  return Object.entries(accessModes)
    .filter(([mode]) => found.has(mode))
    .map(([, short]) => short)
    .join(',');
}

function claimCells(claim: KubeObject, nowMs: number): unknown[] {
  const spec = specOf(claim);
  const status = statusOf(claim);
  const isBound = text(spec['volumeName']) !== '';
  const phase = claim.metadata.deletionTimestamp === undefined ? text(status['phase']) : 'Terminating';
  return [
    claim.metadata.name,
    phase,
    text(spec['volumeName']),
    isBound ? text(at(status, 'capacity', 'storage')) : '',
    isBound ? modesText(status['accessModes']) : '',
    text(spec['storageClassName']),
    text(spec['volumeAttributesClassName']) || '<unset>',
    age(claim, nowMs),
    text(spec['volumeMode']) || '<unset>',
  ];
}

function volumeCells(volume: KubeObject, nowMs: number): unknown[] {
  const spec = specOf(volume);
  const status = statusOf(volume);
  const claim = spec['claimRef'];
  return [
    volume.metadata.name,
    text(at(spec, 'capacity', 'storage')),
    modesText(spec['accessModes']),
    text(spec['persistentVolumeReclaimPolicy']),
    volume.metadata.deletionTimestamp === undefined ? text(status['phase']) : 'Terminating',
    claim === undefined ? '' : `${text(at(claim, 'namespace'))}/${text(at(claim, 'name'))}`,
    text(spec['storageClassName']),
    text(spec['volumeAttributesClassName']) || '<unset>',
    text(status['reason']),
    age(volume, nowMs),
    text(spec['volumeMode']) || '<unset>',
  ];
}

function quotaText(quota: KubeObject, isLimit: boolean): string {
  const hard = stringMap(statusOf(quota)['hard']);
  const used = stringMap(statusOf(quota)['used']);
  return Object.keys(hard)
    .filter((name) => name.startsWith('limits') === isLimit)
    .sort()
    .map((name) => `${name}: ${used[name] ?? '0'}/${hard[name]}`)
    .join(', ');
}

/** By `group/resource`. */
export const corePrinters: Readonly<Record<string, Printer>> = {
  '/nodes': nodePrinter,
  '/services': servicePrinter,
  '/events': eventPrinter,
  '/namespaces': {
    columns: [nameColumn, column('Status', 'The status of the namespace'), ageColumn],
    cells: (namespace, nowMs) => [namespace.metadata.name, text(statusOf(namespace)['phase']), age(namespace, nowMs)],
  },
  '/configmaps': {
    columns: [nameColumn, column('Data', doc('core.v1.ConfigMap', 'data')), ageColumn],
    cells: (map, nowMs) => [map.metadata.name, countOf(map['data']) + countOf(map['binaryData']), age(map, nowMs)],
  },
  '/secrets': {
    columns: [
      nameColumn,
      column('Type', doc('core.v1.Secret', 'type')),
      column('Data', doc('core.v1.Secret', 'data')),
      ageColumn,
    ],
    cells: (secret, nowMs) => [secret.metadata.name, text(secret['type']), countOf(secret['data']), age(secret, nowMs)],
  },
  '/serviceaccounts': {
    columns: [nameColumn, ageColumn],
    cells: (account, nowMs) => [account.metadata.name, age(account, nowMs)],
  },
  '/endpoints': {
    columns: [nameColumn, column('Endpoints', doc('core.v1.Endpoints', 'subsets')), ageColumn],
    cells: (endpoints, nowMs) => [endpoints.metadata.name, endpointTexts(endpoints), age(endpoints, nowMs)],
  },
  '/limitranges': {
    columns: [nameColumn, createdColumn],
    cells: (range) => [range.metadata.name, range.metadata.creationTimestamp ?? ''],
  },
  '/resourcequotas': {
    columns: [
      nameColumn,
      column('Request', 'Request represents a minimum amount of cpu/memory that a container may consume.'),
      column(
        'Limit',
        'Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.',
      ),
      ageColumn,
    ],
    cells: (quota, nowMs) => [quota.metadata.name, quotaText(quota, false), quotaText(quota, true), age(quota, nowMs)],
  },
  '/podtemplates': {
    columns: [
      nameColumn,
      column('Containers', 'Names of each container in the template.'),
      column('Images', 'Images referenced by each container in the template.'),
      column('Pod Labels', 'The labels for the pod template.'),
    ],
    cells: (it) => [
      it.metadata.name,
      ...containerCells(it['template']),
      formatLabels(at(it, 'template', 'metadata', 'labels')),
    ],
  },
  '/persistentvolumeclaims': {
    columns: [
      nameColumn,
      column('Status', doc('core.v1.PersistentVolumeClaimStatus', 'phase')),
      column('Volume', doc('core.v1.PersistentVolumeClaimSpec', 'volumeName')),
      column('Capacity', doc('core.v1.PersistentVolumeClaimStatus', 'capacity')),
      column('Access Modes', doc('core.v1.PersistentVolumeClaimStatus', 'accessModes')),
      column('StorageClass', 'StorageClass of the pvc'),
      column('VolumeAttributesClass', 'VolumeAttributesClass of the pvc'),
      ageColumn,
      wide('VolumeMode', doc('core.v1.PersistentVolumeClaimSpec', 'volumeMode')),
    ],
    cells: claimCells,
  },
  '/persistentvolumes': {
    columns: [
      nameColumn,
      column('Capacity', doc('core.v1.PersistentVolumeSpec', 'capacity')),
      column('Access Modes', doc('core.v1.PersistentVolumeSpec', 'accessModes')),
      column('Reclaim Policy', doc('core.v1.PersistentVolumeSpec', 'persistentVolumeReclaimPolicy')),
      column('Status', doc('core.v1.PersistentVolumeStatus', 'phase')),
      column('Claim', doc('core.v1.PersistentVolumeSpec', 'claimRef')),
      column('StorageClass', 'StorageClass of the pv'),
      column('VolumeAttributesClass', 'VolumeAttributesClass of the pv'),
      column('Reason', doc('core.v1.PersistentVolumeStatus', 'reason')),
      ageColumn,
      wide('VolumeMode', doc('core.v1.PersistentVolumeSpec', 'volumeMode')),
    ],
    cells: volumeCells,
  },
  'discovery.k8s.io/endpointslices': {
    columns: [
      nameColumn,
      column('AddressType', doc('discovery.v1.EndpointSlice', 'addressType')),
      column('Ports', doc('discovery.v1.EndpointSlice', 'ports')),
      column('Endpoints', doc('discovery.v1.EndpointSlice', 'endpoints')),
      ageColumn,
    ],
    cells: sliceCells,
  },
  'coordination.k8s.io/leases': {
    columns: [nameColumn, column('Holder', doc('coordination.v1.LeaseSpec', 'holderIdentity')), ageColumn],
    cells: (lease, nowMs) => [lease.metadata.name, text(specOf(lease)['holderIdentity']), age(lease, nowMs)],
  },
};
