// Looks up what a pod refers to: keys of ConfigMaps and Secrets, and its own fields. A missing reference is an error with the
// kubelet's text; the pod waits and tries again.

import { Buffer } from 'node:buffer';
import type { KubeObject, Store } from '../../apiserver/store.ts';
import { type Pod, podUid } from './pod.ts';

/** Something the pod refers to is not there (yet). */
export class MissingReference extends Error {}

export interface PodContext {
  readonly pod: Pod;
  readonly store: Store;
  readonly nodeName: string;
  readonly hostIp: string;
}

function bytesMap(field: unknown, decode: (text: string) => Buffer): Map<string, Buffer> {
  if (typeof field !== 'object' || field === null) return new Map();
  return new Map(Object.entries(field).map(([key, value]) => [key, decode(String(value))]));
}

const fromText = (text: string): Buffer => Buffer.from(text, 'utf8');
const fromBase64 = (text: string): Buffer => Buffer.from(text, 'base64');

function dataOf(object: KubeObject, kind: 'configmap' | 'secret'): Map<string, Buffer> {
  if (kind === 'secret') {
    return new Map([...bytesMap(object['stringData'], fromText), ...bytesMap(object['data'], fromBase64)]);
  }
  return new Map([...bytesMap(object['binaryData'], fromBase64), ...bytesMap(object['data'], fromText)]);
}

/**
 * All keys of a ConfigMap or Secret in the pod's namespace; undefined if it is missing and optional.
 * @throws MissingReference
 */
export function keysOf(
  { pod, store }: PodContext,
  kind: 'configmap' | 'secret',
  name: string,
  isOptional: boolean,
): Map<string, Buffer> | undefined {
  const namespace = pod.metadata.namespace ?? '';
  const object = store.get({ group: '', resource: `${kind}s`, namespace, name });
  if (object !== undefined) return dataOf(object, kind);
  if (isOptional) return undefined;
  throw new MissingReference(`${kind} "${name}" not found`);
}

/**
 * One key; undefined if it is missing and optional.
 * @throws MissingReference
 */
export function keyOf(
  context: PodContext,
  kind: 'configmap' | 'secret',
  reference: { name?: string; key: string; optional?: boolean },
): Buffer | undefined {
  const isOptional = reference.optional ?? false;
  const { name = '' } = reference;
  const value = keysOf(context, kind, name, isOptional)?.get(reference.key);
  if (value !== undefined || isOptional) return value;
  const label = kind === 'configmap' ? 'ConfigMap' : 'Secret';
  throw new MissingReference(
    `couldn't find key ${reference.key} in ${label} ${context.pod.metadata.namespace ?? ''}/${name}`,
  );
}

/** The value of a downward API field; undefined for one the sandbox does not know. */
export function fieldOf({ pod, nodeName, hostIp }: PodContext, path: string): string | undefined {
  const { labels = {}, annotations = {} } = pod.metadata;
  const keyed = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path);
  if (keyed !== null) return (keyed[1] === 'labels' ? labels : annotations)[keyed[2] ?? ''] ?? '';
  const lines = (map: Record<string, string>): string =>
    Object.entries(map)
      .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
      .sort()
      .join('\n');
  const fields: Record<string, string> = {
    'metadata.name': pod.metadata.name,
    'metadata.namespace': pod.metadata.namespace ?? '',
    'metadata.uid': podUid(pod),
    'metadata.labels': lines(labels),
    'metadata.annotations': lines(annotations),
    'spec.nodeName': nodeName,
    'spec.serviceAccountName': pod.spec.serviceAccountName ?? 'default',
    'status.hostIP': hostIp,
    'status.hostIPs': hostIp,
    'status.podIP': hostIp,
    'status.podIPs': hostIp,
  };
  return fields[path];
}
