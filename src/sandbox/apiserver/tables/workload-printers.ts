// Rows of the kinds that own pods, and of those that say how many there may be: apps, batch, policy, scheduling.

import { at, integer, records, text } from '../objects/fields.ts';
import type { KubeObject } from '../objects/object.ts';
import { loadBalancerText } from './core-printers.ts';
import { ageOf, humanDuration } from '../../../kube/human-duration.ts';
import {
  age,
  ageColumn,
  column,
  conditionOf,
  containerCells,
  containerColumns,
  countOf,
  doc,
  formatLabels,
  formatLabelSelector,
  nameColumn,
  none,
  type Printer,
  specOf,
  statusOf,
  wide,
} from './printer.ts';

function template(object: KubeObject): unknown {
  return specOf(object)['template'];
}

function statusCount(object: KubeObject, field: string): number {
  return integer(statusOf(object)[field]);
}

function jobStatus(job: KubeObject): string {
  if (conditionOf(job, 'Complete')['status'] === 'True') return 'Complete';
  if (conditionOf(job, 'Failed')['status'] === 'True') return 'Failed';
  if (job.metadata.deletionTimestamp !== undefined) return 'Terminating';
  if (conditionOf(job, 'Suspended')['status'] === 'True') return 'Suspended';
  if (conditionOf(job, 'FailureTarget')['status'] === 'True') return 'FailureTarget';
  if (conditionOf(job, 'SuccessCriteriaMet')['status'] === 'True') return 'SuccessCriteriaMet';
  return 'Running';
}

function jobDuration(job: KubeObject, nowMs: number): string {
  const started = text(statusOf(job)['startTime']);
  if (started === '') return '';
  const completed = text(statusOf(job)['completionTime']);
  return humanDuration((completed === '' ? nowMs : Date.parse(completed)) - Date.parse(started));
}

function jobCompletions(job: KubeObject): string {
  const { completions, parallelism } = specOf(job);
  const succeeded = statusCount(job, 'succeeded');
  if (completions !== undefined) return `${succeeded}/${integer(completions)}`;
  return integer(parallelism) > 1 ? `${succeeded}/1 of ${integer(parallelism)}` : `${succeeded}/1`;
}

function numberOrNotApplicable(value: unknown): string {
  return typeof value === 'number' || typeof value === 'string' ? String(value) : 'N/A';
}

/** By `group/resource`. */
export const workloadPrinters: Readonly<Record<string, Printer>> = {
  '/replicationcontrollers': {
    columns: [
      nameColumn,
      column('Desired', doc('core.v1.ReplicationControllerSpec', 'replicas'), 'integer'),
      column('Current', doc('core.v1.ReplicationControllerStatus', 'replicas'), 'integer'),
      column('Ready', doc('core.v1.ReplicationControllerStatus', 'readyReplicas'), 'integer'),
      ageColumn,
      ...containerColumns,
      wide('Selector', doc('core.v1.ReplicationControllerSpec', 'selector')),
    ],
    cells: (it, nowMs) => [
      it.metadata.name,
      integer(specOf(it)['replicas']),
      statusCount(it, 'replicas'),
      statusCount(it, 'readyReplicas'),
      age(it, nowMs),
      ...containerCells(template(it)),
      formatLabels(specOf(it)['selector']),
    ],
  },
  'apps/deployments': {
    columns: [
      nameColumn,
      column('Ready', 'Number of the pod with ready state'),
      column('Up-to-date', doc('apps.v1.DeploymentStatus', 'updatedReplicas')),
      column('Available', doc('apps.v1.DeploymentStatus', 'availableReplicas')),
      ageColumn,
      ...containerColumns,
      wide('Selector', doc('apps.v1.DeploymentSpec', 'selector')),
    ],
    cells: (it, nowMs) => [
      it.metadata.name,
      `${statusCount(it, 'readyReplicas')}/${integer(specOf(it)['replicas'])}`,
      statusCount(it, 'updatedReplicas'),
      statusCount(it, 'availableReplicas'),
      age(it, nowMs),
      ...containerCells(template(it)),
      formatLabelSelector(specOf(it)['selector']),
    ],
  },
  'apps/replicasets': {
    columns: [
      nameColumn,
      column('Desired', doc('apps.v1.ReplicaSetSpec', 'replicas'), 'integer'),
      column('Current', doc('apps.v1.ReplicaSetStatus', 'replicas'), 'integer'),
      column('Ready', doc('apps.v1.ReplicaSetStatus', 'readyReplicas'), 'integer'),
      ageColumn,
      ...containerColumns,
      wide('Selector', doc('apps.v1.ReplicaSetSpec', 'selector')),
    ],
    cells: (it, nowMs) => [
      it.metadata.name,
      integer(specOf(it)['replicas']),
      statusCount(it, 'replicas'),
      statusCount(it, 'readyReplicas'),
      age(it, nowMs),
      ...containerCells(template(it)),
      formatLabelSelector(specOf(it)['selector']),
    ],
  },
  'apps/statefulsets': {
    columns: [nameColumn, column('Ready', 'Number of the pod with ready state'), ageColumn, ...containerColumns],
    cells: (it, nowMs) => [
      it.metadata.name,
      `${statusCount(it, 'readyReplicas')}/${integer(specOf(it)['replicas'])}`,
      age(it, nowMs),
      ...containerCells(template(it)),
    ],
  },
  'apps/daemonsets': {
    columns: [
      nameColumn,
      column('Desired', doc('apps.v1.DaemonSetStatus', 'desiredNumberScheduled'), 'integer'),
      column('Current', doc('apps.v1.DaemonSetStatus', 'currentNumberScheduled'), 'integer'),
      column('Ready', doc('apps.v1.DaemonSetStatus', 'numberReady'), 'integer'),
      column('Up-to-date', doc('apps.v1.DaemonSetStatus', 'updatedNumberScheduled'), 'integer'),
      column('Available', doc('apps.v1.DaemonSetStatus', 'numberAvailable'), 'integer'),
      column('Node Selector', doc('core.v1.PodSpec', 'nodeSelector')),
      ageColumn,
      ...containerColumns,
      wide('Selector', doc('apps.v1.DaemonSetSpec', 'selector')),
    ],
    cells: (it, nowMs) => [
      it.metadata.name,
      statusCount(it, 'desiredNumberScheduled'),
      statusCount(it, 'currentNumberScheduled'),
      statusCount(it, 'numberReady'),
      statusCount(it, 'updatedNumberScheduled'),
      statusCount(it, 'numberAvailable'),
      formatLabels(at(template(it), 'spec', 'nodeSelector')),
      age(it, nowMs),
      ...containerCells(template(it)),
      formatLabelSelector(specOf(it)['selector']),
    ],
  },
  'apps/controllerrevisions': {
    columns: [
      nameColumn,
      column('Controller', 'Controller of the object'),
      column('Revision', doc('apps.v1.ControllerRevision', 'revision')),
      ageColumn,
    ],
    cells(it, nowMs) {
      const owner = it.metadata.ownerReferences?.find((reference) => reference.controller === true);
      const group = owner?.apiVersion.includes('/') === true ? `.${owner.apiVersion.split('/')[0]}` : '';
      const controller = owner === undefined ? none : `${owner.kind.toLowerCase()}${group}/${owner.name}`;
      return [it.metadata.name, controller, integer(it['revision']), age(it, nowMs)];
    },
  },
  'batch/jobs': {
    columns: [
      nameColumn,
      column('Status', 'Status of the job.'),
      column('Completions', doc('batch.v1.JobStatus', 'succeeded')),
      column('Duration', 'Time required to complete the job.'),
      ageColumn,
      ...containerColumns,
      wide('Selector', doc('batch.v1.JobSpec', 'selector')),
    ],
    cells: (it, nowMs) => [
      it.metadata.name,
      jobStatus(it),
      jobCompletions(it),
      jobDuration(it, nowMs),
      age(it, nowMs),
      ...containerCells(template(it)),
      formatLabelSelector(specOf(it)['selector']),
    ],
  },
  'batch/cronjobs': {
    columns: [
      nameColumn,
      column('Schedule', doc('batch.v1.CronJobSpec', 'schedule')),
      column('Timezone', doc('batch.v1.CronJobSpec', 'timeZone')),
      column('Suspend', doc('batch.v1.CronJobSpec', 'suspend'), 'boolean'),
      column('Active', doc('batch.v1.CronJobStatus', 'active'), 'integer'),
      column('Last Schedule', doc('batch.v1.CronJobStatus', 'lastScheduleTime')),
      ageColumn,
      ...containerColumns,
      wide('Selector', doc('batch.v1.JobSpec', 'selector')),
    ],
    cells(it, nowMs) {
      const spec = specOf(it);
      const last = statusOf(it)['lastScheduleTime'];
      return [
        it.metadata.name,
        text(spec['schedule']),
        text(spec['timeZone']) || none,
        spec['suspend'] === true ? 'True' : 'False',
        countOf(statusOf(it)['active'] ?? []),
        last === undefined ? none : ageOf(last, nowMs),
        age(it, nowMs),
        ...containerCells(at(spec, 'jobTemplate', 'spec', 'template')),
        formatLabelSelector(at(spec, 'jobTemplate', 'spec', 'selector')),
      ];
    },
  },
  'policy/poddisruptionbudgets': {
    columns: [
      nameColumn,
      column('Min Available', 'The minimum number of pods that must be available.'),
      column('Max Unavailable', 'The maximum number of pods that may be unavailable.'),
      column('Allowed Disruptions', 'Calculated number of pods that may be disrupted at this time.', 'integer'),
      ageColumn,
    ],
    cells: (it, nowMs) => [
      it.metadata.name,
      numberOrNotApplicable(specOf(it)['minAvailable']),
      numberOrNotApplicable(specOf(it)['maxUnavailable']),
      statusCount(it, 'disruptionsAllowed'),
      age(it, nowMs),
    ],
  },
  'scheduling.k8s.io/priorityclasses': {
    columns: [
      nameColumn,
      column('Value', doc('scheduling.v1.PriorityClass', 'value'), 'integer'),
      column('Global-Default', doc('scheduling.v1.PriorityClass', 'globalDefault'), 'boolean'),
      ageColumn,
      column('PreemptionPolicy', doc('scheduling.v1.PriorityClass', 'preemptionPolicy')),
    ],
    cells: (it, nowMs) => [
      it.metadata.name,
      integer(it['value']),
      it['globalDefault'] === true,
      age(it, nowMs),
      text(it['preemptionPolicy']) || 'PreemptLowerPriority',
    ],
  },
  'storage.k8s.io/storageclasses': {
    columns: [
      nameColumn,
      column('Provisioner', doc('storage.v1.StorageClass', 'provisioner')),
      column('ReclaimPolicy', doc('storage.v1.StorageClass', 'reclaimPolicy')),
      column('VolumeBindingMode', doc('storage.v1.StorageClass', 'volumeBindingMode')),
      column('AllowVolumeExpansion', doc('storage.v1.StorageClass', 'allowVolumeExpansion')),
      ageColumn,
    ],
    cells(it, nowMs) {
      const isDefault = it.metadata.annotations?.['storageclass.kubernetes.io/is-default-class'] === 'true';
      return [
        isDefault ? `${it.metadata.name} (default)` : it.metadata.name,
        text(it['provisioner']),
        text(it['reclaimPolicy']) || 'Delete',
        text(it['volumeBindingMode']) || 'Immediate',
        it['allowVolumeExpansion'] === true,
        age(it, nowMs),
      ];
    },
  },
  'networking.k8s.io/networkpolicies': {
    columns: [nameColumn, column('Pod-Selector', doc('networking.v1.NetworkPolicySpec', 'podSelector')), ageColumn],
    cells: (it, nowMs) => [it.metadata.name, formatLabelSelector(specOf(it)['podSelector']), age(it, nowMs)],
  },
  'networking.k8s.io/ingressclasses': {
    columns: [
      nameColumn,
      column('Controller', 'Controller that is responsible for handling this class'),
      column('Parameters', 'A reference to a resource with additional parameters'),
      ageColumn,
    ],
    cells(it, nowMs) {
      const parameters = specOf(it)['parameters'];
      const group = text(at(parameters, 'apiGroup'));
      const kind = text(at(parameters, 'kind'));
      const shown =
        parameters === undefined ? none : `${group === '' ? kind : `${kind}.${group}`}/${text(at(parameters, 'name'))}`;
      return [it.metadata.name, text(specOf(it)['controller']), shown, age(it, nowMs)];
    },
  },
  'networking.k8s.io/ingresses': {
    columns: [
      nameColumn,
      column('Class', 'The name of the IngressClass resource that should be used for additional configuration'),
      column('Hosts', 'Hosts that incoming requests are matched against before the ingress rule'),
      column('Address', 'Address is a list containing ingress points for the load-balancer'),
      column('Ports', 'Ports of TLS configurations that open'),
      ageColumn,
    ],
    cells(it, nowMs) {
      const hosts = records(specOf(it)['rules'])
        .map((rule) => text(rule['host']))
        .filter((host) => host !== '');
      const shown = hosts.length > 3 ? `${hosts.slice(0, 3).join(',')} + ${hosts.length - 3} more...` : hosts.join(',');
      return [
        it.metadata.name,
        text(specOf(it)['ingressClassName']) || none,
        shown || '*',
        loadBalancerText(it),
        records(specOf(it)['tls']).length > 0 ? '80, 443' : '80',
        age(it, nowMs),
      ];
    },
  },
};
