// Validation of pods and pod templates: what every container needs, names that are unique, mounts that have a volume; and the few
// fields of a pod that may change once it exists.

import { array, at, type Json, record, records, text } from '../objects/fields.ts';
import { checkDns1123Label } from '../../../kube/label-names.ts';
import { isJsonEqual, type KubeObject } from '../objects/object.ts';
import {
  duplicate,
  type FieldError,
  forbiddenField,
  invalidValue,
  notFoundValue,
  required,
  unsupported,
} from './field-errors.ts';

const pullPolicies = ['Always', 'IfNotPresent', 'Never'];

function validateContainers(containers: readonly Json[], volumes: ReadonlySet<string>, field: string): FieldError[] {
  const errors: FieldError[] = [];
  const names = new Set<string>();
  for (const [index, container] of containers.entries()) {
    const where = `${field}[${index}]`;
    const name = text(container['name']);
    if (name === '') errors.push(required(`${where}.name`));
    else {
      errors.push(...checkDns1123Label(name).map((complaint) => invalidValue(`${where}.name`, name, complaint)));
      if (names.has(name)) errors.push(duplicate(`${where}.name`, name));
      names.add(name);
    }
    if (text(container['image']) === '') errors.push(required(`${where}.image`));
    for (const [place, mount] of records(container['volumeMounts']).entries()) {
      const volume = text(mount['name']);
      const mountField = `${where}.volumeMounts[${place}]`;
      if (volume === '') errors.push(required(`${mountField}.name`));
      else if (!volumes.has(volume)) errors.push(notFoundValue(`${mountField}.name`, volume));
      if (text(mount['mountPath']) === '') errors.push(required(`${mountField}.mountPath`));
    }
    const policy = text(container['imagePullPolicy']);
    if (policy !== '' && !pullPolicies.includes(policy)) {
      errors.push(unsupported(`${where}.imagePullPolicy`, policy, pullPolicies));
    }
  }
  return errors;
}

export function validatePodSpec(spec: Json, field: string, restartPolicies: readonly string[]): FieldError[] {
  const volumes = new Set<string>();
  const errors: FieldError[] = [];
  for (const [index, volume] of records(spec['volumes']).entries()) {
    const name = text(volume['name']);
    if (name === '') errors.push(required(`${field}.volumes[${index}].name`));
    else if (volumes.has(name)) errors.push(duplicate(`${field}.volumes[${index}].name`, name));
    volumes.add(name);
  }
  const containers = records(spec['containers']);
  if (containers.length === 0) errors.push(required(`${field}.containers`));
  errors.push(...validateContainers(containers, volumes, `${field}.containers`));
  errors.push(...validateContainers(records(spec['initContainers']), volumes, `${field}.initContainers`));
  const policy = text(spec['restartPolicy']);
  if (!restartPolicies.includes(policy)) errors.push(unsupported(`${field}.restartPolicy`, policy, restartPolicies));
  return errors;
}

/** The spec without what may change: images, activeDeadlineSeconds, tolerations, a grace period set to 1. */
function fixedPart(pod: KubeObject): Json {
  const spec: Json = structuredClone(record(pod['spec']));
  for (const list of ['containers', 'initContainers']) {
    for (const container of records(spec[list])) delete container['image'];
  }
  for (const field of ['activeDeadlineSeconds', 'tolerations', 'ephemeralContainers']) delete spec[field];
  return spec;
}

const podUpdateRule =
  'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)';

export function validatePodUpdate(before: KubeObject, after: KubeObject): FieldError[] {
  const errors: FieldError[] = [];
  const count = (pod: KubeObject): number => array(at(pod, 'spec', 'containers')).length;
  if (count(before) !== count(after)) {
    return [forbiddenField('spec.containers', 'pod updates may not add or remove containers')];
  }
  if (!isJsonEqual(fixedPart(before), fixedPart(after))) errors.push(forbiddenField('spec', podUpdateRule));
  return errors;
}
