// Group, version, resource and subresource of a request as labels: bounded, though every caller may name what they like. A name counts if
// Kubernetes itself has it, or once a request to it was answered with success: nobody without rights can make one up then. Beyond a bound,
// and for everything else, the labels are `other`.

import type { RequestInfo } from '../../kube/request-info.ts';

import { otherLabel } from './instruments.ts';

export interface ResourceLabels {
  /** The same for the same labels. */
  readonly key: string;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
}

const maxLearned = 500;

/** What users of kexer are refused most: so that a refusal has a name before anybody was allowed. */
const known: readonly (readonly [groupVersion: string, resources: string])[] = [
  [
    '/v1',
    'bindings componentstatuses configmaps endpoints events limitranges namespaces nodes persistentvolumeclaims persistentvolumes pods podtemplates replicationcontrollers resourcequotas secrets serviceaccounts services pods/attach pods/binding pods/ephemeralcontainers pods/eviction pods/exec pods/log pods/portforward pods/proxy pods/resize pods/status nodes/proxy nodes/status services/proxy services/status namespaces/finalize namespaces/status serviceaccounts/token persistentvolumeclaims/status persistentvolumes/status',
  ],
  [
    'apps/v1',
    'controllerrevisions daemonsets deployments replicasets statefulsets deployments/scale replicasets/scale statefulsets/scale daemonsets/status deployments/status replicasets/status statefulsets/status',
  ],
  ['batch/v1', 'cronjobs jobs cronjobs/status jobs/status'],
  ['events.k8s.io/v1', 'events'],
  ['networking.k8s.io/v1', 'ingresses ingressclasses networkpolicies ingresses/status'],
  ['policy/v1', 'poddisruptionbudgets poddisruptionbudgets/status'],
  ['rbac.authorization.k8s.io/v1', 'clusterrolebindings clusterroles rolebindings roles'],
  [
    'authorization.k8s.io/v1',
    'localsubjectaccessreviews selfsubjectaccessreviews selfsubjectrulesreviews subjectaccessreviews',
  ],
  ['authentication.k8s.io/v1', 'selfsubjectreviews tokenreviews'],
  ['autoscaling/v2', 'horizontalpodautoscalers horizontalpodautoscalers/status'],
  ['storage.k8s.io/v1', 'csidrivers csinodes storageclasses volumeattachments'],
  ['coordination.k8s.io/v1', 'leases'],
  ['discovery.k8s.io/v1', 'endpointslices'],
  ['apiextensions.k8s.io/v1', 'customresourcedefinitions'],
  ['apiregistration.k8s.io/v1', 'apiservices'],
  ['metrics.k8s.io/v1beta1', 'nodes pods'],
  ['backup.cv.io/v1', 'clusters clusters/exec sessions'],
];

const none: ResourceLabels = Object.freeze({ key: '-', group: '', version: '', resource: '', subresource: '' });
const unknown: ResourceLabels = Object.freeze({
  key: otherLabel,
  group: otherLabel,
  version: otherLabel,
  resource: otherLabel,
  subresource: otherLabel,
});

export class ResourceNames {
  readonly #byKey: Map<string, ResourceLabels>;
  #learned: number;

  constructor() {
    this.#byKey = new Map();
    this.#learned = 0;
    for (const [groupVersion, resources] of known) {
      const [group = '', version = ''] = groupVersion.split('/');
      for (const name of resources.split(' ')) {
        const [resource = '', subresource = ''] = name.split('/');
        const key = keyOf(group, version, resource, subresource);
        this.#byKey.set(key, { key, group, version, resource, subresource });
      }
    }
  }

  /**
   * @param info undefined: the path could not be read.
   * @param isThere the request was answered with success: what it named exists.
   */
  labelsOf(info: RequestInfo | undefined, isThere = false): ResourceLabels {
    if (info?.isResourceRequest !== true) return none;
    const { apiGroup: group, apiVersion: version, resource, subresource } = info;
    const key = keyOf(group, version, resource, subresource);
    const labels = this.#byKey.get(key);
    if (labels !== undefined) return labels;
    if (!isThere || this.#learned >= maxLearned) return unknown;
    this.#learned += 1;
    const learned = { key, group, version, resource, subresource };
    this.#byKey.set(key, learned);
    return learned;
  }
}

function keyOf(group: string, version: string, resource: string, subresource: string): string {
  return `${group}/${version}/${resource}/${subresource}`;
}
