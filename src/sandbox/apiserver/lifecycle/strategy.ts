// How kinds differ in being written and deleted, as their registry strategies in kube-apiserver do.

import type { GroupResource } from '../../../kube/status.ts';
import type { ResourceDefinition } from '../resources/catalog.ts';

/** Kinds whose `metadata.generation` counts changes of their spec. */
const withGeneration = new Set([
  '/pods',
  '/replicationcontrollers',
  'apps/daemonsets',
  'apps/deployments',
  'apps/replicasets',
  'apps/statefulsets',
  'batch/cronjobs',
  'batch/jobs',
  'networking.k8s.io/ingressclasses',
  'networking.k8s.io/ingresses',
  'networking.k8s.io/networkpolicies',
  'policy/poddisruptionbudgets',
  'admissionregistration.k8s.io/mutatingadmissionpolicies',
  'admissionregistration.k8s.io/mutatingadmissionpolicybindings',
  'admissionregistration.k8s.io/mutatingwebhookconfigurations',
  'admissionregistration.k8s.io/validatingadmissionpolicies',
  'admissionregistration.k8s.io/validatingadmissionpolicybindings',
  'admissionregistration.k8s.io/validatingwebhookconfigurations',
  'scheduling.k8s.io/priorityclasses',
  'discovery.k8s.io/endpointslices',
]);

/** A delete of these answers with the object; of all others with a Status of success. */
const returnsDeleted = new Set([
  '/pods',
  '/namespaces',
  '/services',
  '/serviceaccounts',
  '/persistentvolumes',
  '/persistentvolumeclaims',
  '/podtemplates',
  '/resourcequotas',
]);

/** Updates of these must name a resourceVersion. */
const needsResourceVersion = new Set([
  'coordination.k8s.io/leases',
  'apiregistration.k8s.io/apiservices',
  'admissionregistration.k8s.io/mutatingadmissionpolicies',
  'admissionregistration.k8s.io/mutatingadmissionpolicybindings',
  'admissionregistration.k8s.io/mutatingwebhookconfigurations',
  'admissionregistration.k8s.io/validatingadmissionpolicies',
  'admissionregistration.k8s.io/validatingadmissionpolicybindings',
  'admissionregistration.k8s.io/validatingwebhookconfigurations',
  'discovery.k8s.io/endpointslices',
]);

function keyOf({ group, resource }: GroupResource): string {
  return `${group}/${resource}`;
}

export function hasGeneration(resource: GroupResource): boolean {
  return withGeneration.has(keyOf(resource));
}

export function returnsDeletedObject(resource: GroupResource): boolean {
  return returnsDeleted.has(keyOf(resource));
}

export function allowsUnconditionalUpdate(resource: GroupResource): boolean {
  return !needsResourceVersion.has(keyOf(resource));
}

export function hasStatusSubresource(definition: ResourceDefinition): boolean {
  return definition.subresources.some((it) => it.name === 'status');
}

/** Nodes come with the status that their kubelet writes when it registers; all others start with the server's. */
export function keepsStatusOnCreate(definition: ResourceDefinition): boolean {
  return !hasStatusSubresource(definition) || definition.resource === 'nodes';
}
