// Makes src/sandbox/apiserver/schemas/definitions.json from the models of @kubernetes/client-node, which are generated from
// Kubernetes' own OpenAPI document: field names, types, formats, what is required, and the descriptions. Run it after an update of
// that package, and oxfmt after it: `node test/sandbox/apiserver/schemas/generate-definitions.ts`. A test compares the committed file
// with what this makes.

import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { resourceDefinitions } from '../../../../src/sandbox/apiserver/resources/catalog.ts';

const modelFolder = join(dirname(fileURLToPath(import.meta.resolve('@kubernetes/client-node'))), 'gen/models');
export const definitionsFile = fileURLToPath(
  new URL('../../../../src/sandbox/apiserver/schemas/definitions.json', import.meta.url),
);

interface Attribute {
  name: string;
  baseName: string;
  type: string;
  format: string;
}

const metaTypes = new Set(
  [
    'ObjectMeta ListMeta ManagedFieldsEntry OwnerReference LabelSelector LabelSelectorRequirement FieldSelectorRequirement',
    'Condition DeleteOptions Preconditions Status StatusDetails StatusCause MicroTime',
  ].flatMap((line) => line.split(' ')),
);

const packages: Record<string, string> = {
  '': 'io.k8s.api.core.v1',
  'apiregistration.k8s.io': 'io.k8s.kube-aggregator.pkg.apis.apiregistration.v1',
  'authentication.k8s.io': 'io.k8s.api.authentication.v1',
  'authorization.k8s.io': 'io.k8s.api.authorization.v1',
  'networking.k8s.io': 'io.k8s.api.networking.v1',
  'rbac.authorization.k8s.io': 'io.k8s.api.rbac.v1',
  'storage.k8s.io': 'io.k8s.api.storage.v1',
  'admissionregistration.k8s.io': 'io.k8s.api.admissionregistration.v1',
  'scheduling.k8s.io': 'io.k8s.api.scheduling.v1',
  'coordination.k8s.io': 'io.k8s.api.coordination.v1',
  'discovery.k8s.io': 'io.k8s.api.discovery.v1',
};

/** Kinds whose class name carries their group, because another group has one of the same name. */
const prefixes =
  /^(Admissionregistration|Apiextensions|Apiregistration|Authentication|Core|Discovery|Events|Rbac|Storage)?V1/;

function modelText(className: string, extension: string): string | undefined {
  try {
    return readFileSync(join(modelFolder, `${className}.${extension}`), 'utf8');
  } catch {
    return undefined; // not a model: the caller looks for another name
  }
}

function attributesOf(className: string): Attribute[] {
  const source = modelText(className, 'js') ?? '';
  const match = /attributeTypeMap = (\[[\s\S]*?\n\]);/.exec(source);
  return match?.[1] === undefined ? [] : (JSON.parse(match[1]) as Attribute[]);
}

function clean(description: string): string {
  return (
    description
      .replaceAll(/\\(['"])/g, '$1')
      .replaceAll(/\s+\* /g, ' ')
      // The generator turned line breaks into spaces; here they show in a column's description.
      .replaceAll('.  Populated by the system', '.\n\nPopulated by the system')
      .trim()
  );
}

function docsOf(className: string): {
  description: string;
  fields: Map<string, { text: string; isRequired: boolean }>;
} {
  const source = modelText(className, 'd.ts') ?? '';
  const fields = new Map<string, { text: string; isRequired: boolean }>();
  for (const [, text = '', name = '', mark] of source.matchAll(
    /\/\*\*\n\s+\* ((?:(?!\*\/)[\s\S])*?)\n\s+\*\/\n\s+'([^']+)'(\?)?:/g,
  )) {
    fields.set(name, { text: clean(text), isRequired: mark === undefined });
  }
  for (const [, name = '', mark] of source.matchAll(/\n {4}'([^']+)'(\?)?:/g)) {
    if (!fields.has(name)) fields.set(name, { text: '', isRequired: mark === undefined });
  }
  const description = /\/\*\*\n\* ((?:(?!\*\/)[\s\S])*?)\n\*\/\nexport/.exec(source)?.[1] ?? '';
  return { description: clean(description), fields };
}

const quantityFields = new Set([
  'limits',
  'requests',
  'capacity',
  'allocatable',
  'hard',
  'used',
  'overhead',
  'allocatedResources',
]);
const quantityListFields = new Set(['default', 'defaultRequest', 'max', 'maxLimitRequestRatio', 'min']);

/**
 * Descriptions of fields that refer to a type: OpenAPI 2 has no place for them beside `$ref`, so the models have none. These are the ones
 * that show as columns of tables, and a few that people ask kubectl explain for.
 */
const referenceDescriptions: Readonly<Record<string, string>> = {
  metadata:
    "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
  'Pod.spec':
    'Specification of the desired behavior of the pod. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#spec-and-status',
  'Pod.status':
    'Most recently observed status of the pod. This data may not be up to date. Populated by the system. Read-only. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#spec-and-status',
  'Deployment.spec': 'Specification of the desired behavior of the Deployment.',
  'Deployment.status': 'Most recently observed status of the Deployment.',
  'DeploymentSpec.selector':
    "Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones affected by this deployment. It must match the pod template's labels.",
  'DeploymentSpec.strategy': 'The deployment strategy to use to replace existing pods with new ones.',
  'DeploymentSpec.template':
    'Template describes the pods that will be created. The only allowed template.spec.restartPolicy value is "Always".',
  'ReplicaSetSpec.selector':
    "Selector is a label query over pods that should match the replica count. Label keys and values that must match in order to be controlled by this replica set. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
  'DaemonSetSpec.selector':
    "A label query over pods that are managed by the daemon set. Must match in order to be controlled. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
  'JobSpec.selector':
    'A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors',
  'NetworkPolicySpec.podSelector':
    "podSelector selects the pods to which this NetworkPolicy object applies. The array of rules is applied to any pods selected by this field. An empty selector matches all pods in the policy's namespace. Multiple network policies can select the same set of pods. In this case, the ingress rules for each are combined additively. This field is optional. If it is not specified, it defaults to an empty selector.",
  'PersistentVolumeSpec.claimRef':
    'claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim. Expected to be non-nil when bound. claim.VolumeName is the authoritative bind between PV and PVC. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#binding',
  'RoleBinding.roleRef':
    'RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error. This field is immutable.',
  'ClusterRoleBinding.roleRef':
    'RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error. This field is immutable.',
  'Event.involvedObject': 'The object that this event is about.',
  'Event.source': 'The component reporting this event. Should be a short machine understandable string.',
};

/** Definitions by OpenAPI name: `d` description, `p` properties as `[type, description, isRequired?]`. */
export function generateDefinitions(): Record<string, unknown> {
  const names = new Map<string, string>();
  const order: string[] = [];

  function visit(className: string, packageName: string): void {
    if (names.has(className)) return;
    const short = className.replace(prefixes, '');
    const isMeta = metaTypes.has(short) && className.startsWith('V1');
    names.set(className, isMeta ? `io.k8s.apimachinery.pkg.apis.meta.v1.${short}` : `${packageName}.${short}`);
    order.push(className);
    for (const { type } of attributesOf(className)) {
      for (const [reference] of type.matchAll(/[A-Z][A-Za-z0-9]*V\d[A-Za-z0-9]*|V\d[A-Za-z0-9]+/g))
        visit(reference, packageName);
    }
  }

  for (const { group, kind } of resourceDefinitions) {
    const packageName = packages[group] ?? `io.k8s.api.${group}.v1`;
    const core = group === '' ? 'Core' : '';
    const className = [`V1${kind}`, `${core}V1${kind}`].find((name) => modelText(name, 'js') !== undefined);
    if (className !== undefined) visit(className, packageName);
  }
  visit('AuthenticationV1TokenRequest', 'io.k8s.api.authentication.v1');
  visit('V1Eviction', 'io.k8s.api.policy.v1');
  visit('V1Scale', 'io.k8s.api.autoscaling.v1');
  visit('V1ListMeta', 'io.k8s.apimachinery.pkg.apis.meta.v1');

  function typeOf(owner: string, { baseName, type, format }: Attribute): string {
    const array = /^Array<(.*)>$/.exec(type)?.[1];
    if (array !== undefined) return `[]${typeOf(owner, { name: '', baseName, type: array, format })}`;
    const map = /^\{ \[key: string\]: (.*); \}$/.exec(type)?.[1];
    if (map !== undefined) {
      const isQuantity =
        quantityFields.has(baseName) || (owner === 'V1LimitRangeItem' && quantityListFields.has(baseName));
      return `map ${isQuantity ? 'quantity' : typeOf(owner, { name: '', baseName, type: map, format })}`;
    }
    if (type === 'number') return format === 'double' || format === 'float' ? 'number' : `integer:${format || 'int64'}`;
    if (type === 'Date') return 'time';
    if (type === 'V1MicroTime') return 'microtime';
    if (type === 'IntOrString') return 'intorstring';
    if (type === 'string' && format === 'byte') return 'bytes';
    return names.get(type) ?? type;
  }

  const definitions: Record<string, unknown> = {};
  for (const className of order) {
    if (className === 'V1MicroTime') continue;
    const docs = docsOf(className);
    const properties: Record<string, unknown> = {};
    for (const attribute of attributesOf(className)) {
      const field = docs.fields.get(attribute.name);
      const own = `${className.replace(prefixes, '')}.${attribute.baseName}`;
      const text = field?.text || (referenceDescriptions[own] ?? referenceDescriptions[attribute.baseName] ?? '');
      const entry: unknown[] = [typeOf(className, attribute), text];
      if (field?.isRequired === true) entry.push(1);
      properties[attribute.baseName] = entry;
    }
    definitions[names.get(className) ?? className] = { d: docs.description, p: properties };
  }
  return Object.fromEntries(Object.entries(definitions).sort(([a], [b]) => (a < b ? -1 : 1)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(definitionsFile, `${JSON.stringify(generateDefinitions(), null, 2)}\n`);
}
