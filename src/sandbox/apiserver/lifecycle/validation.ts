// Validation of what clients write: metadata of every kind, and of the common kinds the fields that people get wrong. Messages and
// their order are kube-apiserver's; what is not checked here is accepted.

import type { ResourceDefinition } from '../resources/catalog.ts';
import { at, integer, isRecord, type Json, record, records, stringMap, strings, text } from '../objects/fields.ts';
import {
  checkDns1035Label,
  checkDns1123Label,
  checkDns1123Subdomain,
  checkLabelValue,
  checkPathSegment,
  checkQualifiedName,
} from '../../../kube/label-names.ts';
import { isJsonEqual, type KubeObject } from '../objects/object.ts';
import { type FieldError, forbiddenField, invalidValue, required } from './field-errors.ts';
import { validatePodSpec, validatePodUpdate } from './pod-validation.ts';

type NameCheck = (name: string) => string[];

const nameChecks: Readonly<Record<string, NameCheck>> = {
  '/namespaces': checkDns1123Label,
  '/services': checkDns1035Label,
  'rbac.authorization.k8s.io/roles': checkPathSegment,
  'rbac.authorization.k8s.io/clusterroles': checkPathSegment,
  'rbac.authorization.k8s.io/rolebindings': checkPathSegment,
  'rbac.authorization.k8s.io/clusterrolebindings': checkPathSegment,
  'apiregistration.k8s.io/apiservices': checkPathSegment,
};

/** Labels of metadata or of a pod template. */
function validateLabels(labels: unknown, field: string): FieldError[] {
  return Object.entries(stringMap(labels)).flatMap(([key, value]) => [
    ...checkQualifiedName(key).map((complaint) => invalidValue(field, key, complaint)),
    ...checkLabelValue(value).map((complaint) => invalidValue(field, value, complaint)),
  ]);
}

export function validateMetadata(definition: ResourceDefinition, object: KubeObject): FieldError[] {
  const { name, labels, annotations, ownerReferences } = object.metadata;
  const check = nameChecks[`${definition.group}/${definition.resource}`] ?? checkDns1123Subdomain;
  const errors = check(name).map((complaint) => invalidValue('metadata.name', name, complaint));
  errors.push(...validateLabels(labels, 'metadata.labels'));
  for (const key of Object.keys(stringMap(annotations))) {
    errors.push(
      ...checkQualifiedName(key.toLowerCase()).map((complaint) => invalidValue('metadata.annotations', key, complaint)),
    );
  }
  for (const owner of ownerReferences ?? []) {
    const field = 'metadata.ownerReferences';
    if (owner.apiVersion === '') errors.push(invalidValue(`${field}.apiVersion`, '', 'version must not be empty'));
    if (owner.kind === '') errors.push(invalidValue(`${field}.kind`, '', 'must not be empty'));
    if (owner.name === '') errors.push(invalidValue(`${field}.name`, '', 'must not be empty'));
    if (owner.uid === '') errors.push(invalidValue(`${field}.uid`, '', 'must not be empty'));
  }
  return errors;
}

const configKey = /^[-._a-zA-Z0-9]+$/;

function validateData(object: KubeObject, fields: readonly string[]): FieldError[] {
  return fields.flatMap((field) =>
    Object.keys(record(object[field]))
      .filter((key) => !configKey.test(key))
      .map((key) =>
        invalidValue(
          `${field}[${key}]`,
          key,
          "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        ),
      ),
  );
}

function validateService(service: KubeObject): FieldError[] {
  const spec = record(service['spec']);
  const ports = records(spec['ports']);
  if (ports.length === 0 && spec['clusterIP'] !== 'None' && spec['type'] !== 'ExternalName') {
    return [required('spec.ports')];
  }
  return ports.flatMap((port, index) => {
    const field = `spec.ports[${index}]`;
    const errors: FieldError[] = [];
    if (ports.length > 1 && text(port['name']) === '') errors.push(required(`${field}.name`));
    const number = integer(port['port']);
    if (number < 1 || number > 65535) {
      errors.push(invalidValue(`${field}.port`, number, 'must be between 1 and 65535, inclusive'));
    }
    return errors;
  });
}

function validateReplicas(spec: Json): FieldError[] {
  const replicas = integer(spec['replicas'], 1);
  return replicas < 0 ? [invalidValue('spec.replicas', replicas, 'must be greater than or equal to 0')] : [];
}

/** Whether labels carry everything a selector's matchLabels ask for. */
function carries(labels: Record<string, string>, selector: unknown): boolean {
  return Object.entries(stringMap(at(selector, 'matchLabels'))).every(([key, value]) => labels[key] === value);
}

function validateWorkload(object: KubeObject): FieldError[] {
  const spec = record(object['spec']);
  const errors = validateReplicas(spec);
  const selector = spec['selector'];
  if (!isRecord(selector)) errors.push(required('spec.selector'));
  else if (Object.keys(selector).length === 0) {
    errors.push(invalidValue('spec.selector', {}, `empty selector is invalid for ${object.kind.toLowerCase()}`));
  }
  const labels = stringMap(at(spec, 'template', 'metadata', 'labels'));
  if (isRecord(selector) && !carries(labels, selector)) {
    errors.push(invalidValue('spec.template.metadata.labels', labels, '`selector` does not match template `labels`'));
  }
  errors.push(...validateLabels(labels, 'spec.template.labels'));
  errors.push(...validatePodSpec(record(at(spec, 'template', 'spec')), 'spec.template.spec', ['Always']));
  return errors;
}

function validateBinding(binding: KubeObject): FieldError[] {
  const errors: FieldError[] = [];
  if (text(at(binding, 'roleRef', 'name')) === '') errors.push(required('roleRef.name'));
  for (const [index, subject] of records(binding['subjects']).entries()) {
    const field = `subjects[${index}]`;
    if (text(subject['name']) === '') errors.push(required(`${field}.name`));
    if (subject['kind'] === 'ServiceAccount' && text(subject['namespace']) === '') {
      errors.push(required(`${field}.namespace`));
    }
  }
  return errors;
}

function validateRules(role: KubeObject): FieldError[] {
  return records(role['rules']).flatMap((rule, index) => {
    const field = `rules[${index}]`;
    const errors: FieldError[] = [];
    if (strings(rule['verbs']).length === 0)
      errors.push(required(`${field}.verbs`, 'verbs must contain at least one value'));
    if (strings(rule['nonResourceURLs']).length > 0) return errors;
    if (strings(rule['apiGroups']).length === 0) {
      errors.push(required(`${field}.apiGroups`, 'resource rules must supply at least one api group'));
    }
    if (strings(rule['resources']).length === 0) {
      errors.push(required(`${field}.resources`, 'resource rules must supply at least one resource'));
    }
    return errors;
  });
}

const validators: Readonly<Record<string, (object: KubeObject) => FieldError[]>> = {
  '/pods': (pod) => validatePodSpec(record(pod['spec']), 'spec', ['Always', 'OnFailure', 'Never']),
  '/configmaps': (map) => validateData(map, ['data', 'binaryData']),
  '/secrets': (secret) => validateData(secret, ['data']),
  '/services': validateService,
  'apps/deployments': validateWorkload,
  'apps/replicasets': validateWorkload,
  'apps/daemonsets': validateWorkload,
  'apps/statefulsets': validateWorkload,
  'rbac.authorization.k8s.io/roles': validateRules,
  'rbac.authorization.k8s.io/clusterroles': validateRules,
  'rbac.authorization.k8s.io/rolebindings': validateBinding,
  'rbac.authorization.k8s.io/clusterrolebindings': validateBinding,
};

export function validateObject(definition: ResourceDefinition, object: KubeObject): FieldError[] {
  const validate = validators[`${definition.group}/${definition.resource}`];
  return [...validateMetadata(definition, object), ...(validate?.(object) ?? [])];
}

function immutable(field: string, before: unknown, after: unknown): FieldError[] {
  return isJsonEqual(before, after) ? [] : [invalidValue(field, after, 'field is immutable')];
}

/** What an update may not change, beyond what makes an object invalid by itself. */
export function validateUpdate(definition: ResourceDefinition, before: KubeObject, after: KubeObject): FieldError[] {
  switch (`${definition.group}/${definition.resource}`) {
    case '/pods':
      return validatePodUpdate(before, after);
    case '/configmaps':
    case '/secrets': {
      if (before['immutable'] !== true) {
        return definition.resource === 'secrets' ? immutable('type', before['type'], after['type']) : [];
      }
      const isSame =
        isJsonEqual(before['data'], after['data']) && isJsonEqual(before['binaryData'], after['binaryData']);
      const errors: FieldError[] = [];
      if (after['immutable'] !== true) {
        errors.push(forbiddenField('immutable', 'field is immutable when `immutable` is set'));
      }
      if (!isSame) errors.push(forbiddenField('data', 'field is immutable when `immutable` is set'));
      return errors;
    }
    case '/services': {
      const ip = text(at(before, 'spec', 'clusterIP'));
      const now = text(at(after, 'spec', 'clusterIP'));
      return ip === '' || ip === now ? [] : [invalidValue('spec.clusterIPs[0]', [now], 'may not change once set')];
    }
    case 'apps/deployments':
    case 'apps/replicasets':
    case 'apps/daemonsets':
      return immutable('spec.selector', at(before, 'spec', 'selector'), at(after, 'spec', 'selector'));
    case 'rbac.authorization.k8s.io/rolebindings':
    case 'rbac.authorization.k8s.io/clusterrolebindings':
      return isJsonEqual(before['roleRef'], after['roleRef'])
        ? []
        : [invalidValue('roleRef', after['roleRef'], 'cannot change roleRef')];
    default:
      return [];
  }
}
