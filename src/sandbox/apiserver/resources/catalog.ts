// What the sandbox's apiserver serves: every resource with the names, verbs and subresources that kube-apiserver 1.36 reports for
// it, in kube-apiserver's order. Data only; behaviour that a kind has of its own stands in lifecycle/ and tables/.

import { createHash } from 'node:crypto';
import type { GroupResource } from '../../../kube/status.ts';

export interface GroupVersionKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

export interface SubresourceDefinition {
  readonly name: string;
  /** Of what is sent and answered; the parent's own when group and version are ''. */
  readonly responseKind: GroupVersionKind;
  readonly verbs: readonly string[];
}

export interface ResourceDefinition extends GroupResource {
  readonly version: string;
  readonly kind: string;
  readonly singular: string;
  readonly isNamespaced: boolean;
  readonly verbs: readonly string[];
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly subresources: readonly SubresourceDefinition[];
  /** False for kinds that are answered and never kept: reviews, bindings. */
  readonly isStored: boolean;
}

export interface GroupVersion {
  readonly group: string;
  readonly version: string;
}

/** `v1`, `apps/v1`. */
export function groupVersionText({ group, version }: GroupVersion): string {
  return group === '' ? version : `${group}/${version}`;
}

/** What discovery calls storageVersionHash: the first eight bytes of SHA-256 over `group/version/kind`. */
export function storageVersionHash({ group, version, kind }: GroupVersionKind): string {
  const digest = createHash('sha256').update(`${group}/${version}/${kind}`).digest();
  return digest.subarray(0, 8).toString('base64');
}

const allVerbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];
const statusVerbs = ['get', 'patch', 'update'];
const proxyVerbs = ['create', 'delete', 'get', 'patch', 'update'];

interface Row {
  /** `resource Kind singular`, then `N` for namespaced or `C` for cluster-scoped. */
  readonly is: string;
  readonly short?: readonly string[];
  readonly categories?: readonly string[];
  readonly verbs?: readonly string[];
  readonly isStored?: boolean;
  /** `status`, `scale` or a whole definition; in alphabetical order. */
  readonly sub?: readonly ('status' | 'scale' | SubresourceDefinition)[];
}

/** Groups in the order of kube-apiserver's /apis, with what is served of each. */
const groups: readonly { readonly group: string; readonly version: string; readonly rows: readonly Row[] }[] = [
  {
    group: '',
    version: 'v1',
    rows: [
      { is: 'bindings Binding binding N', verbs: ['create'], isStored: false },
      { is: 'configmaps ConfigMap configmap N', short: ['cm'] },
      { is: 'endpoints Endpoints endpoints N', short: ['ep'] },
      { is: 'events Event event N', short: ['ev'] },
      { is: 'limitranges LimitRange limitrange N', short: ['limits'] },
      {
        is: 'namespaces Namespace namespace C',
        short: ['ns'],
        verbs: allVerbs.filter((verb) => verb !== 'deletecollection'),
        sub: [own('finalize', 'Namespace', ['update']), 'status'],
      },
      {
        is: 'nodes Node node C',
        short: ['no'],
        sub: [own('proxy', 'NodeProxyOptions', proxyVerbs), 'status'],
      },
      { is: 'persistentvolumeclaims PersistentVolumeClaim persistentvolumeclaim N', short: ['pvc'], sub: ['status'] },
      { is: 'persistentvolumes PersistentVolume persistentvolume C', short: ['pv'], sub: ['status'] },
      {
        is: 'pods Pod pod N',
        short: ['po'],
        categories: ['all'],
        sub: [
          own('attach', 'PodAttachOptions', ['create', 'get']),
          own('binding', 'Binding', ['create']),
          own('ephemeralcontainers', 'Pod', statusVerbs),
          { name: 'eviction', responseKind: { group: 'policy', version: 'v1', kind: 'Eviction' }, verbs: ['create'] },
          own('exec', 'PodExecOptions', ['create', 'get']),
          own('log', 'Pod', ['get']),
          own('portforward', 'PodPortForwardOptions', ['create', 'get']),
          own('proxy', 'PodProxyOptions', proxyVerbs),
          own('resize', 'Pod', statusVerbs),
          'status',
        ],
      },
      { is: 'podtemplates PodTemplate podtemplate N' },
      {
        is: 'replicationcontrollers ReplicationController replicationcontroller N',
        short: ['rc'],
        categories: ['all'],
        sub: ['scale', 'status'],
      },
      { is: 'resourcequotas ResourceQuota resourcequota N', short: ['quota'], sub: ['status'] },
      { is: 'secrets Secret secret N' },
      {
        is: 'serviceaccounts ServiceAccount serviceaccount N',
        short: ['sa'],
        sub: [
          {
            name: 'token',
            responseKind: { group: 'authentication.k8s.io', version: 'v1', kind: 'TokenRequest' },
            verbs: ['create'],
          },
        ],
      },
      {
        is: 'services Service service N',
        short: ['svc'],
        categories: ['all'],
        sub: [own('proxy', 'ServiceProxyOptions', proxyVerbs), 'status'],
      },
    ],
  },
  {
    group: 'apiregistration.k8s.io',
    version: 'v1',
    rows: [{ is: 'apiservices APIService apiservice C', categories: ['api-extensions'], sub: ['status'] }],
  },
  {
    group: 'apps',
    version: 'v1',
    rows: [
      { is: 'controllerrevisions ControllerRevision controllerrevision N' },
      { is: 'daemonsets DaemonSet daemonset N', short: ['ds'], categories: ['all'], sub: ['status'] },
      { is: 'deployments Deployment deployment N', short: ['deploy'], categories: ['all'], sub: ['scale', 'status'] },
      { is: 'replicasets ReplicaSet replicaset N', short: ['rs'], categories: ['all'], sub: ['scale', 'status'] },
      { is: 'statefulsets StatefulSet statefulset N', short: ['sts'], categories: ['all'], sub: ['scale', 'status'] },
    ],
  },
  {
    group: 'authentication.k8s.io',
    version: 'v1',
    rows: [
      { is: 'selfsubjectreviews SelfSubjectReview selfsubjectreview C', verbs: ['create'], isStored: false },
      { is: 'tokenreviews TokenReview tokenreview C', verbs: ['create'], isStored: false },
    ],
  },
  {
    group: 'authorization.k8s.io',
    version: 'v1',
    rows: [
      { is: 'localsubjectaccessreviews LocalSubjectAccessReview localsubjectaccessreview N', ...review() },
      { is: 'selfsubjectaccessreviews SelfSubjectAccessReview selfsubjectaccessreview C', ...review() },
      { is: 'selfsubjectrulesreviews SelfSubjectRulesReview selfsubjectrulesreview C', ...review() },
      { is: 'subjectaccessreviews SubjectAccessReview subjectaccessreview C', ...review() },
    ],
  },
  {
    group: 'batch',
    version: 'v1',
    rows: [
      { is: 'cronjobs CronJob cronjob N', short: ['cj'], categories: ['all'], sub: ['status'] },
      { is: 'jobs Job job N', categories: ['all'], sub: ['status'] },
    ],
  },
  {
    group: 'networking.k8s.io',
    version: 'v1',
    rows: [
      { is: 'ingressclasses IngressClass ingressclass C' },
      { is: 'ingresses Ingress ingress N', short: ['ing'], sub: ['status'] },
      { is: 'networkpolicies NetworkPolicy networkpolicy N', short: ['netpol'] },
    ],
  },
  {
    group: 'policy',
    version: 'v1',
    rows: [{ is: 'poddisruptionbudgets PodDisruptionBudget poddisruptionbudget N', short: ['pdb'], sub: ['status'] }],
  },
  {
    group: 'rbac.authorization.k8s.io',
    version: 'v1',
    rows: [
      { is: 'clusterrolebindings ClusterRoleBinding clusterrolebinding C' },
      { is: 'clusterroles ClusterRole clusterrole C' },
      { is: 'rolebindings RoleBinding rolebinding N' },
      { is: 'roles Role role N' },
    ],
  },
  {
    group: 'storage.k8s.io',
    version: 'v1',
    rows: [{ is: 'storageclasses StorageClass storageclass C', short: ['sc'] }],
  },
  {
    group: 'admissionregistration.k8s.io',
    version: 'v1',
    rows: [
      { is: 'mutatingadmissionpolicies MutatingAdmissionPolicy mutatingadmissionpolicy C', ...extension() },
      {
        is: 'mutatingadmissionpolicybindings MutatingAdmissionPolicyBinding mutatingadmissionpolicybinding C',
        ...extension(),
      },
      {
        is: 'mutatingwebhookconfigurations MutatingWebhookConfiguration mutatingwebhookconfiguration C',
        ...extension(),
      },
      {
        is: 'validatingadmissionpolicies ValidatingAdmissionPolicy validatingadmissionpolicy C',
        ...extension(),
        sub: ['status'],
      },
      {
        is: 'validatingadmissionpolicybindings ValidatingAdmissionPolicyBinding validatingadmissionpolicybinding C',
        ...extension(),
      },
      {
        is: 'validatingwebhookconfigurations ValidatingWebhookConfiguration validatingwebhookconfiguration C',
        ...extension(),
      },
    ],
  },
  {
    group: 'scheduling.k8s.io',
    version: 'v1',
    rows: [{ is: 'priorityclasses PriorityClass priorityclass C', short: ['pc'] }],
  },
  { group: 'coordination.k8s.io', version: 'v1', rows: [{ is: 'leases Lease lease N' }] },
  { group: 'discovery.k8s.io', version: 'v1', rows: [{ is: 'endpointslices EndpointSlice endpointslice N' }] },
];

function own(name: string, kind: string, verbs: readonly string[]): SubresourceDefinition {
  return { name, responseKind: { group: '', version: '', kind }, verbs };
}

function review(): Pick<Row, 'verbs' | 'isStored'> {
  return { verbs: ['create'], isStored: false };
}

function extension(): Pick<Row, 'categories'> {
  return { categories: ['api-extensions'] };
}

function subresource(kind: string, sub: 'status' | 'scale' | SubresourceDefinition): SubresourceDefinition {
  if (sub === 'status') return own('status', kind, statusVerbs);
  if (sub !== 'scale') return sub;
  return { name: 'scale', responseKind: { group: 'autoscaling', version: 'v1', kind: 'Scale' }, verbs: statusVerbs };
}

function define({ group, version }: GroupVersion, row: Row): ResourceDefinition {
  const [resource = '', kind = '', singular = '', scope = ''] = row.is.split(' ');
  return {
    group,
    version,
    resource,
    kind,
    singular,
    isNamespaced: scope === 'N',
    verbs: row.verbs ?? allVerbs,
    shortNames: row.short ?? [],
    categories: row.categories ?? [],
    subresources: (row.sub ?? []).map((sub) => subresource(kind, sub)),
    isStored: row.isStored ?? true,
  };
}

/** Every resource, grouped as {@link servedGroupVersions} orders them, alphabetically within a group. */
export const resourceDefinitions: readonly ResourceDefinition[] = groups.flatMap((entry) =>
  entry.rows.map((row) => define(entry, row)),
);

/** The core group first, then kube-apiserver's order. */
export const servedGroupVersions: readonly GroupVersion[] = groups.map(({ group, version }) => ({ group, version }));

const byResource = new Map(resourceDefinitions.map((it) => [`${groupVersionText(it)}/${it.resource}`, it]));

export function findResource(where: GroupVersion, resource: string): ResourceDefinition | undefined {
  return byResource.get(`${groupVersionText(where)}/${resource}`);
}

const byGroupResource = new Map(resourceDefinitions.map((it) => [`${it.group}/${it.resource}`, it]));

export function findGroupResource({ group, resource }: GroupResource): ResourceDefinition | undefined {
  return byGroupResource.get(`${group}/${resource}`);
}

const byKind = new Map(resourceDefinitions.map((it) => [`${groupVersionText(it)}/${it.kind}`, it]));

/** The resource of objects with that apiVersion and kind, for owner references. */
export function findKind(apiVersion: string, kind: string): ResourceDefinition | undefined {
  return byKind.get(`${apiVersion}/${kind}`);
}
