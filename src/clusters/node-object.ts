// A Node as kexer keeps it: a thousand nodes' image lists and conditions would be a hundred megabytes, so only what kexer reads is taken.

import type { KubeObject } from '../kube/objects.ts';
import type { NodeObject } from './cluster.ts';

/** @param object of kind Node, as the apiserver gives it; whatever in it has another type than it should counts as absent. */
export function projectNode(object: KubeObject): NodeObject {
  const { metadata } = object;
  const status = objectAt(object, 'status');
  const addresses = (Array.isArray(status['addresses']) ? status['addresses'] : []).flatMap((entry: unknown) => {
    const { type, address } = asRecord(entry);
    return typeof type === 'string' && typeof address === 'string' ? [{ type, address }] : [];
  });
  const port = objectAt(objectAt(status, 'daemonEndpoints'), 'kubeletEndpoint')['Port'];
  const { kubeletVersion } = objectAt(status, 'nodeInfo');
  const labels = Object.entries(asRecord(asRecord(metadata)['labels'])).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  return {
    metadata: { name: metadata.name, labels: Object.fromEntries(labels) },
    status: {
      addresses,
      daemonEndpoints: { kubeletEndpoint: typeof port === 'number' ? { Port: port } : {} },
      nodeInfo: typeof kubeletVersion === 'string' ? { kubeletVersion } : {},
    },
  };
}

function objectAt(value: Readonly<Record<string, unknown>>, key: string): Record<string, unknown> {
  return asRecord(value[key]);
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}
