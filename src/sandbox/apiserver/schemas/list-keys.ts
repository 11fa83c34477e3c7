// How lists and maps of the Kubernetes types merge. The OpenAPI models that definitions.json comes from have lost this
// (x-kubernetes-patch-merge-key, x-kubernetes-list-map-keys, x-kubernetes-map-type), so it stands here, from the types' Go tags.

export interface ListMerge {
  /** What a strategic merge patch finds an item by; '' for a list of scalars that merges as a set. */
  readonly mergeKey: string;
  /** What server-side apply and managedFields find an item by; [] for a set of scalars; undefined: the list is atomic there. */
  readonly mapKeys: readonly string[] | undefined;
  /** Whether a patch of one item keeps only the keys it names in $retainKeys. */
  readonly retainsKeys: boolean;
}

function byKey(
  mergeKey: string,
  options: { mapKeys?: readonly string[]; isAtomic?: boolean; retainsKeys?: boolean } = {},
): ListMerge {
  return {
    mergeKey,
    mapKeys: options.isAtomic === true ? undefined : (options.mapKeys ?? [mergeKey]),
    retainsKeys: options.retainsKeys === true,
  };
}

const scalarSet: ListMerge = { mergeKey: '', mapKeys: [], retainsKeys: false };
const conditions = byKey('type');

/** By `Type.field`, the type without its package. */
const lists: Readonly<Record<string, ListMerge>> = {
  'ObjectMeta.ownerReferences': byKey('uid'),
  'ObjectMeta.finalizers': scalarSet,
  'PodSpec.volumes': byKey('name', { retainsKeys: true }),
  'PodSpec.initContainers': byKey('name'),
  'PodSpec.containers': byKey('name'),
  'PodSpec.ephemeralContainers': byKey('name'),
  'PodSpec.imagePullSecrets': byKey('name'),
  'PodSpec.hostAliases': byKey('ip'),
  'PodSpec.topologySpreadConstraints': byKey('topologyKey', { mapKeys: ['topologyKey', 'whenUnsatisfiable'] }),
  'PodSpec.resourceClaims': byKey('name', { retainsKeys: true }),
  'PodSpec.schedulingGates': byKey('name'),
  'Container.ports': byKey('containerPort', { mapKeys: ['containerPort', 'protocol'] }),
  'Container.env': byKey('name'),
  'Container.volumeMounts': byKey('mountPath'),
  'Container.volumeDevices': byKey('devicePath'),
  'EphemeralContainer.ports': byKey('containerPort', { mapKeys: ['containerPort', 'protocol'] }),
  'EphemeralContainer.env': byKey('name'),
  'EphemeralContainer.volumeMounts': byKey('mountPath'),
  'EphemeralContainer.volumeDevices': byKey('devicePath'),
  'PodStatus.conditions': conditions,
  'PodStatus.podIPs': byKey('ip'),
  'PodStatus.hostIPs': byKey('ip', { isAtomic: true }),
  'PodStatus.resourceClaimStatuses': byKey('name', { retainsKeys: true }),
  'ContainerStatus.volumeMounts': byKey('mountPath'),
  'ServiceSpec.ports': byKey('port', { mapKeys: ['port', 'protocol'] }),
  'ServiceStatus.conditions': conditions,
  'ServiceAccount.secrets': byKey('name'),
  'NodeSpec.podCIDRs': scalarSet,
  'NodeStatus.conditions': conditions,
  'NodeStatus.addresses': byKey('type'),
  'NamespaceStatus.conditions': conditions,
  'PersistentVolumeClaimStatus.conditions': conditions,
  'ReplicationControllerStatus.conditions': conditions,
  'DeploymentStatus.conditions': conditions,
  'ReplicaSetStatus.conditions': conditions,
  'DaemonSetStatus.conditions': conditions,
  'StatefulSetStatus.conditions': conditions,
  'JobStatus.conditions': byKey('type', { isAtomic: true }),
  'PodDisruptionBudgetStatus.conditions': conditions,
  'APIServiceStatus.conditions': conditions,
  'MutatingWebhookConfiguration.webhooks': byKey('name'),
  'ValidatingWebhookConfiguration.webhooks': byKey('name'),
  'MutatingWebhook.matchConditions': byKey('name'),
  'ValidatingWebhook.matchConditions': byKey('name'),
  'ValidatingAdmissionPolicySpec.matchConditions': byKey('name'),
  'ValidatingAdmissionPolicySpec.variables': byKey('name'),
  'MutatingAdmissionPolicySpec.matchConditions': byKey('name'),
  'MutatingAdmissionPolicySpec.variables': byKey('name'),
  'ValidatingAdmissionPolicyStatus.conditions': { mergeKey: '', mapKeys: ['type'], retainsKeys: false },
  'EndpointSlice.ports': { mergeKey: '', mapKeys: undefined, retainsKeys: false },
  'LimitRangeSpec.limits': { mergeKey: '', mapKeys: undefined, retainsKeys: false },
};

/** Undefined for a list that is replaced as a whole. */
export function listMergeOf(typeName: string, field: string): ListMerge | undefined {
  const merge = lists[`${typeName}.${field}`];
  return merge?.mergeKey === '' && merge.mapKeys === undefined ? undefined : merge;
}

/** Structs of which a patch names all the keys that remain ($retainKeys), because they are unions. */
const retainKeysFields = new Set(['DeploymentSpec.strategy']);

export function retainsKeys(typeName: string, field: string): boolean {
  return retainKeysFields.has(`${typeName}.${field}`);
}

/** Types that managedFields treats as one value (x-kubernetes-map-type: atomic). */
const atomicTypes = new Set([
  'LabelSelector',
  'ObjectReference',
  'LocalObjectReference',
  'TypedLocalObjectReference',
  'ObjectFieldSelector',
  'ResourceFieldSelector',
  'ConfigMapKeySelector',
  'SecretKeySelector',
  'FileKeySelector',
  'NodeSelector',
  'NodeSelectorTerm',
  'ScopeSelector',
  'ScopedResourceSelectorRequirement',
  'TopologySelectorTerm',
  'SecretReference',
  'RoleRef',
  'Subject',
  'OwnerReference',
  'EndpointAddress',
  'EndpointPort',
  'IngressServiceBackend.port',
]);

const atomicMaps = new Set([
  'PodSpec.nodeSelector',
  'ServiceSpec.selector',
  'CSIPersistentVolumeSource.volumeAttributes',
]);

export function isAtomicType(typeName: string): boolean {
  return atomicTypes.has(typeName);
}

export function isAtomicMap(typeName: string, field: string): boolean {
  return atomicMaps.has(`${typeName}.${field}`);
}
