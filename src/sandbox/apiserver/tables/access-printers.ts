// Rows of the kinds that say who may do what and what is served: RBAC, admission configuration, APIServices.

import { at, type Json, records, text } from '../objects/fields.ts';
import type { KubeObject } from '../objects/object.ts';
import { describeField } from '../schemas/definitions.ts';
import {
  age,
  ageColumn,
  column,
  conditionOf,
  countOf,
  createdColumn,
  doc,
  formatLabelSelector,
  nameColumn,
  type Printer,
  specOf,
  wide,
} from './printer.ts';

const unset = '<unset>';

const rolePrinter: Printer = {
  columns: [nameColumn, createdColumn],
  cells: (role) => [role.metadata.name, role.metadata.creationTimestamp ?? ''],
};

function bindingPrinter(type: string): Printer {
  const subjects = (binding: KubeObject, kind: string, show: (subject: Json) => string): string =>
    records(binding['subjects'])
      .filter((subject) => subject['kind'] === kind)
      .map(show)
      .join(', ');
  return {
    columns: [
      nameColumn,
      column('Role', doc(type, 'roleRef')),
      ageColumn,
      wide('Users', 'Users in the roleBinding'),
      wide('Groups', 'Groups in the roleBinding'),
      wide('ServiceAccounts', 'ServiceAccounts in the roleBinding'),
    ],
    cells: (binding, nowMs) => [
      binding.metadata.name,
      `${text(at(binding, 'roleRef', 'kind'))}/${text(at(binding, 'roleRef', 'name'))}`,
      age(binding, nowMs),
      subjects(binding, 'User', (subject) => text(subject['name'])),
      subjects(binding, 'Group', (subject) => text(subject['name'])),
      subjects(binding, 'ServiceAccount', (subject) => `${text(subject['namespace'])}/${text(subject['name'])}`),
    ],
  };
}

const webhooksPrinter: Printer = {
  columns: [
    nameColumn,
    column('Webhooks', 'Webhooks indicates the number of webhooks configured in this configuration', 'integer'),
    ageColumn,
  ],
  cells: (it, nowMs) => [it.metadata.name, countOf(it['webhooks'] ?? []), age(it, nowMs)],
};

function policyPrinter(name: string, field: string, description: string): Printer {
  return {
    columns: [
      nameColumn,
      column(name, description, 'integer'),
      column('ParamKind', 'ParamKind specifies the kind of resources used to parameterize this policy'),
      ageColumn,
    ],
    cells(policy, nowMs) {
      const kind = specOf(policy)['paramKind'];
      const shown = kind === undefined ? unset : `${text(at(kind, 'apiVersion'))}/${text(at(kind, 'kind'))}`;
      return [policy.metadata.name, countOf(specOf(policy)[field] ?? []), shown, age(policy, nowMs)];
    },
  };
}

const policyBindingPrinter: Printer = {
  columns: [
    nameColumn,
    column('PolicyName', 'PolicyName indicates the policy definition which the policy binding binded to'),
    column('ParamRef', 'ParamRef indicates the param resource which sets the configration param'),
    ageColumn,
  ],
  cells(binding, nowMs) {
    const reference = specOf(binding)['paramRef'];
    const name = text(at(reference, 'name'));
    const namespace = text(at(reference, 'namespace')) || '*';
    const shown =
      reference === undefined
        ? unset
        : name === ''
          ? formatLabelSelector(at(reference, 'selector'))
          : `${namespace}/${name}`;
    return [binding.metadata.name, text(specOf(binding)['policyName']), shown, age(binding, nowMs)];
  },
};

const apiServicePrinter: Printer = {
  columns: [
    nameColumn,
    column('Service', 'The reference to the service that hosts this API endpoint.'),
    column('Available', 'Whether this service is available.'),
    ageColumn,
  ],
  cells(it, nowMs) {
    const service = specOf(it)['service'];
    const shown = service === undefined ? 'Local' : `${text(at(service, 'namespace'))}/${text(at(service, 'name'))}`;
    const available = conditionOf(it, 'Available');
    const status = text(available['status']);
    const isAvailable = status === 'True' || status === '';
    return [
      it.metadata.name,
      shown,
      status === '' ? 'Unknown' : isAvailable ? status : `${status} (${text(available['reason'])})`,
      age(it, nowMs),
    ];
  },
};

/** By `group/resource`. */
export const accessPrinters: Readonly<Record<string, Printer>> = {
  'rbac.authorization.k8s.io/roles': rolePrinter,
  'rbac.authorization.k8s.io/clusterroles': rolePrinter,
  'rbac.authorization.k8s.io/rolebindings': bindingPrinter('rbac.v1.RoleBinding'),
  'rbac.authorization.k8s.io/clusterrolebindings': bindingPrinter('rbac.v1.ClusterRoleBinding'),
  'admissionregistration.k8s.io/mutatingwebhookconfigurations': webhooksPrinter,
  'admissionregistration.k8s.io/validatingwebhookconfigurations': webhooksPrinter,
  'admissionregistration.k8s.io/validatingadmissionpolicies': policyPrinter(
    'Validations',
    'validations',
    'Validations indicates the number of validation rules defined in this configuration',
  ),
  'admissionregistration.k8s.io/mutatingadmissionpolicies': policyPrinter(
    'Mutations',
    'mutations',
    'Mutation indicates the number of mutations rules defined in this configuration',
  ),
  'admissionregistration.k8s.io/validatingadmissionpolicybindings': policyBindingPrinter,
  'admissionregistration.k8s.io/mutatingadmissionpolicybindings': policyBindingPrinter,
  'apiregistration.k8s.io/apiservices': apiServicePrinter,
};

/** For kinds without a printer of their own (rest.NewDefaultTableConvertor). */
export const defaultPrinter: Printer = {
  columns: [
    nameColumn,
    column('Created At', describeField('io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta', 'creationTimestamp'), 'date'),
  ],
  cells: (it) => [it.metadata.name, it.metadata.creationTimestamp ?? ''],
};
