// APIService objects as the aggregator reads and marks them.

import type { Clock } from '../../../base/clock.ts';
import { kubeTime } from '../objects/object.ts';
import type { KubeObject, Store } from '../store.ts';
import type { ServiceReference } from './service-endpoint.ts';

export const apiServices = { group: 'apiregistration.k8s.io', resource: 'apiservices' } as const;

export interface RemoteApiService {
  /** `v1.backup.cv.io` */
  readonly name: string;
  readonly group: string;
  readonly version: string;
  readonly service: ServiceReference;
  /** PEM; undefined: the system's CAs, which know nobody here. */
  readonly caBundle: string | undefined;
  readonly isUnverified: boolean;
  readonly isAvailable: boolean;
  readonly groupPriority: number;
  readonly versionPriority: number;
}

export interface Availability {
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
}

interface Condition extends Availability {
  readonly type: string;
  readonly lastTransitionTime: string;
}

/** Undefined for a local APIService, which the apiserver serves itself. */
export function remoteApiService(object: KubeObject): RemoteApiService | undefined {
  const spec = object['spec'] as {
    service?: { namespace: string; name: string; port?: number };
    group?: string;
    version?: string;
    caBundle?: string;
    insecureSkipTLSVerify?: boolean;
    groupPriorityMinimum?: number;
    versionPriority?: number;
  };
  if (spec.service === undefined) return undefined;
  const { namespace, name, port = 443 } = spec.service;
  return {
    name: object.metadata.name,
    group: spec.group ?? '',
    version: spec.version ?? '',
    service: { namespace, name, port },
    caBundle: spec.caBundle === undefined ? undefined : Buffer.from(spec.caBundle, 'base64').toString('utf8'),
    isUnverified: spec.insecureSkipTLSVerify === true,
    isAvailable: condition(object)?.status === 'True',
    groupPriority: spec.groupPriorityMinimum ?? 0,
    versionPriority: spec.versionPriority ?? 0,
  };
}

function condition(object: KubeObject): Condition | undefined {
  const status = object['status'] as { conditions?: readonly Condition[] } | undefined;
  return status?.conditions?.find(({ type }) => type === 'Available');
}

/** Writes the condition `Available`; its transition time moves only with its status. */
export function markAvailability(deps: { store: Store; clock: Clock }, name: string, to: Availability): void {
  const key = { ...apiServices, namespace: '', name };
  const object = deps.store.get(key);
  if (object === undefined) return;
  const before = condition(object);
  const lastTransitionTime = before?.status === to.status ? before.lastTransitionTime : kubeTime(deps.clock.now());
  const next: Condition = {
    type: 'Available',
    status: to.status,
    lastTransitionTime,
    reason: to.reason,
    message: to.message,
  };
  deps.store.mutate(key, (draft) => {
    draft['status'] = { conditions: [next] };
  });
}
