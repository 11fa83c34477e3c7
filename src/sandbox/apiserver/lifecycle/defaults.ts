// Defaults of the served kinds, pods apart: what kube-apiserver shows in an object that its maker left open. A draft is changed in
// place, after decoding and before validation.

import { Buffer } from 'node:buffer';
import type { GroupResource } from '../../../kube/status.ts';
import { at, child, isRecord, type Json, record, records, setDefault, stringMap, text } from '../objects/fields.ts';
import type { KubeObject } from '../objects/object.ts';
import { defaultPodSpec } from './pod-defaults.ts';

type Defaulter = (draft: KubeObject) => void;

function defaultTemplate(holder: Json): void {
  const template = child(holder, 'template');
  child(template, 'metadata');
  defaultPodSpec(child(template, 'spec'));
}

function defaultDeployment(draft: KubeObject): void {
  const spec = child(draft, 'spec');
  setDefault(spec, 'replicas', 1);
  defaultTemplate(spec);
  const strategy = child(spec, 'strategy');
  setDefault(strategy, 'type', 'RollingUpdate');
  if (strategy['type'] === 'RollingUpdate') {
    const rolling = child(strategy, 'rollingUpdate');
    setDefault(rolling, 'maxUnavailable', '25%');
    setDefault(rolling, 'maxSurge', '25%');
  }
  setDefault(spec, 'revisionHistoryLimit', 10);
  setDefault(spec, 'progressDeadlineSeconds', 600);
}

function defaultDaemonSet(draft: KubeObject): void {
  const spec = child(draft, 'spec');
  defaultTemplate(spec);
  const strategy = child(spec, 'updateStrategy');
  setDefault(strategy, 'type', 'RollingUpdate');
  if (strategy['type'] === 'RollingUpdate') {
    const rolling = child(strategy, 'rollingUpdate');
    setDefault(rolling, 'maxSurge', 0);
    setDefault(rolling, 'maxUnavailable', 1);
  }
  setDefault(spec, 'revisionHistoryLimit', 10);
}

function defaultStatefulSet(draft: KubeObject): void {
  const spec = child(draft, 'spec');
  setDefault(spec, 'replicas', 1);
  defaultTemplate(spec);
  setDefault(spec, 'podManagementPolicy', 'OrderedReady');
  const strategy = child(spec, 'updateStrategy');
  setDefault(strategy, 'type', 'RollingUpdate');
  if (strategy['type'] === 'RollingUpdate') setDefault(child(strategy, 'rollingUpdate'), 'partition', 0);
  setDefault(spec, 'revisionHistoryLimit', 10);
  setDefault(spec, 'persistentVolumeClaimRetentionPolicy', { whenDeleted: 'Retain', whenScaled: 'Retain' });
}

function defaultJobSpec(spec: Json): void {
  if (spec['completions'] === undefined && spec['parallelism'] === undefined) spec['completions'] = 1;
  setDefault(spec, 'parallelism', 1);
  setDefault(spec, 'backoffLimit', 6);
  setDefault(spec, 'completionMode', 'NonIndexed');
  setDefault(spec, 'suspend', false);
  defaultTemplate(spec);
}

function defaultJob(draft: KubeObject): void {
  const spec = child(draft, 'spec');
  defaultJobSpec(spec);
  setDefault(spec, 'podReplacementPolicy', 'TerminatingOrFailed');
}

function defaultCronJob(draft: KubeObject): void {
  const spec = child(draft, 'spec');
  setDefault(spec, 'concurrencyPolicy', 'Allow');
  setDefault(spec, 'suspend', false);
  setDefault(spec, 'successfulJobsHistoryLimit', 3);
  setDefault(spec, 'failedJobsHistoryLimit', 1);
  const jobSpec = child(child(spec, 'jobTemplate'), 'spec');
  child(child(spec, 'jobTemplate'), 'metadata');
  defaultTemplate(jobSpec);
}

function defaultService(draft: KubeObject): void {
  const spec = child(draft, 'spec');
  setDefault(spec, 'sessionAffinity', 'None');
  setDefault(spec, 'type', 'ClusterIP');
  for (const port of records(spec['ports'])) {
    setDefault(port, 'protocol', 'TCP');
    setDefault(port, 'targetPort', port['port']);
  }
  const type = text(spec['type']);
  if (type === 'NodePort' || type === 'LoadBalancer') setDefault(spec, 'externalTrafficPolicy', 'Cluster');
  if (type === 'LoadBalancer') setDefault(spec, 'allocateLoadBalancerNodePorts', true);
  if (type !== 'ExternalName') setDefault(spec, 'internalTrafficPolicy', 'Cluster');
}

/** stringData is written only: it becomes data. */
function defaultSecret(draft: KubeObject): void {
  setDefault(draft, 'type', 'Opaque');
  const plain = Object.entries(stringMap(draft['stringData']));
  delete draft['stringData'];
  if (plain.length === 0) return;
  const encoded = plain.map(([key, value]): [string, string] => [key, Buffer.from(value).toString('base64')]);
  draft['data'] = { ...record(draft['data']), ...Object.fromEntries(encoded) };
}

function defaultBinding(draft: KubeObject): void {
  setDefault(child(draft, 'roleRef'), 'apiGroup', 'rbac.authorization.k8s.io');
  for (const subject of records(draft['subjects'])) {
    if (subject['kind'] === 'User' || subject['kind'] === 'Group') {
      setDefault(subject, 'apiGroup', 'rbac.authorization.k8s.io');
    }
  }
}

function defaultWebhooks(draft: KubeObject): void {
  for (const webhook of records(draft['webhooks'])) {
    setDefault(webhook, 'failurePolicy', 'Fail');
    setDefault(webhook, 'matchPolicy', 'Equivalent');
    setDefault(webhook, 'namespaceSelector', {});
    setDefault(webhook, 'objectSelector', {});
    setDefault(webhook, 'timeoutSeconds', 10);
    if (draft.kind === 'MutatingWebhookConfiguration') setDefault(webhook, 'reinvocationPolicy', 'Never');
    for (const rule of records(webhook['rules'])) setDefault(rule, 'scope', '*');
    const service = at(webhook, 'clientConfig', 'service');
    if (isRecord(service)) setDefault(service, 'port', 443);
  }
}

function defaultPolicy(draft: KubeObject): void {
  const spec = child(draft, 'spec');
  setDefault(spec, 'failurePolicy', 'Fail');
  const constraints = spec['matchConstraints'];
  if (isRecord(constraints)) defaultMatchResources(constraints);
}

function defaultMatchResources(match: Json): void {
  setDefault(match, 'matchPolicy', 'Equivalent');
  setDefault(match, 'namespaceSelector', {});
  setDefault(match, 'objectSelector', {});
  for (const list of ['resourceRules', 'excludeResourceRules']) {
    for (const rule of records(match[list])) setDefault(rule, 'scope', '*');
  }
}

function defaultPolicyBinding(draft: KubeObject): void {
  const match = child(draft, 'spec')['matchResources'];
  if (isRecord(match)) defaultMatchResources(match);
}

const defaulters: Readonly<Record<string, Defaulter>> = {
  '/pods': (draft) => {
    defaultPodSpec(child(draft, 'spec'));
    setDefault(child(draft, 'spec'), 'enableServiceLinks', true);
  },
  '/podtemplates': (draft) => defaultPodSpec(child(child(draft, 'template'), 'spec')),
  '/replicationcontrollers': (draft) => {
    const spec = child(draft, 'spec');
    setDefault(spec, 'replicas', 1);
    defaultTemplate(spec);
    setDefault(spec, 'selector', stringMap(at(spec, 'template', 'metadata', 'labels')));
  },
  '/services': defaultService,
  '/secrets': defaultSecret,
  '/namespaces': (draft) => {
    draft.metadata.labels = { ...draft.metadata.labels, 'kubernetes.io/metadata.name': draft.metadata.name };
  },
  '/nodes': (draft) => child(draft, 'spec'),
  '/endpoints': (draft) => {
    for (const subset of records(draft['subsets'])) {
      for (const port of records(subset['ports'])) setDefault(port, 'protocol', 'TCP');
    }
  },
  '/persistentvolumes': (draft) => {
    setDefault(child(draft, 'spec'), 'persistentVolumeReclaimPolicy', 'Retain');
    setDefault(child(draft, 'spec'), 'volumeMode', 'Filesystem');
  },
  '/persistentvolumeclaims': (draft) => setDefault(child(draft, 'spec'), 'volumeMode', 'Filesystem'),
  'apps/deployments': defaultDeployment,
  'apps/replicasets': (draft) => {
    setDefault(child(draft, 'spec'), 'replicas', 1);
    defaultTemplate(child(draft, 'spec'));
  },
  'apps/daemonsets': defaultDaemonSet,
  'apps/statefulsets': defaultStatefulSet,
  'batch/jobs': defaultJob,
  'batch/cronjobs': defaultCronJob,
  'rbac.authorization.k8s.io/rolebindings': defaultBinding,
  'rbac.authorization.k8s.io/clusterrolebindings': defaultBinding,
  'admissionregistration.k8s.io/validatingwebhookconfigurations': defaultWebhooks,
  'admissionregistration.k8s.io/mutatingwebhookconfigurations': defaultWebhooks,
  'admissionregistration.k8s.io/validatingadmissionpolicies': defaultPolicy,
  'admissionregistration.k8s.io/mutatingadmissionpolicies': defaultPolicy,
  'admissionregistration.k8s.io/validatingadmissionpolicybindings': defaultPolicyBinding,
  'admissionregistration.k8s.io/mutatingadmissionpolicybindings': defaultPolicyBinding,
  'apiregistration.k8s.io/apiservices': (draft) => {
    const service = child(draft, 'spec')['service'];
    if (isRecord(service)) setDefault(service, 'port', 443);
  },
  'networking.k8s.io/networkpolicies': (draft) => {
    const spec = child(draft, 'spec');
    setDefault(spec, 'policyTypes', spec['egress'] === undefined ? ['Ingress'] : ['Ingress', 'Egress']);
    for (const port of [...records(spec['ingress']), ...records(spec['egress'])].flatMap((rule) =>
      records(rule['ports']),
    )) {
      setDefault(port, 'protocol', 'TCP');
    }
  },
  'scheduling.k8s.io/priorityclasses': (draft) => setDefault(draft, 'preemptionPolicy', 'PreemptLowerPriority'),
  'storage.k8s.io/storageclasses': (draft) => {
    setDefault(draft, 'reclaimPolicy', 'Delete');
    setDefault(draft, 'volumeBindingMode', 'Immediate');
  },
  'discovery.k8s.io/endpointslices': (draft) => {
    for (const port of records(draft['ports'])) {
      setDefault(port, 'name', '');
      setDefault(port, 'protocol', 'TCP');
    }
  },
};

/** Fills what the maker of `draft` left open; runs on creates and on updates alike. */
export function applyDefaults({ group, resource }: GroupResource, draft: KubeObject): void {
  defaulters[`${group}/${resource}`]?.(draft);
}
