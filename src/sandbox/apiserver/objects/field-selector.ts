// Which fields a kind can be selected by, as in kube-apiserver, and what their values are.

import type { SelectableFields } from '../../../kube/field-selector.ts';
import type { GroupResource } from '../../../kube/status.ts';
import { at, text } from './fields.ts';
import type { KubeObject } from './object.ts';

/** Fields beside metadata.name and metadata.namespace; kinds that are not here have the generic message for others. */
const selectableFields: Readonly<Record<string, readonly string[]>> = {
  '/pods': [
    'spec.nodeName',
    'spec.restartPolicy',
    'spec.schedulerName',
    'spec.serviceAccountName',
    'spec.hostNetwork',
    'status.phase',
    'status.podIP',
    'status.podIPs',
    'status.nominatedNodeName',
  ],
  '/nodes': ['spec.unschedulable'],
  '/namespaces': ['status.phase'],
  '/secrets': ['type'],
  '/services': ['spec.clusterIP', 'spec.type'],
  '/events': [
    'involvedObject.kind',
    'involvedObject.namespace',
    'involvedObject.name',
    'involvedObject.uid',
    'involvedObject.apiVersion',
    'involvedObject.resourceVersion',
    'involvedObject.fieldPath',
    'reason',
    'reportingComponent',
    'source',
    'type',
  ],
};

/** Booleans that are false when absent. */
const booleanFields = new Set(['spec.hostNetwork', 'spec.unschedulable']);

/** The value a field has for selection: always a string. */
function fieldValue(object: KubeObject, field: string): string {
  if (field === 'source') {
    return text(at(object, 'source', 'component')) || text(object['reportingComponent']);
  }
  const value = at(object, ...field.split('.'));
  if (value === undefined || value === null) return booleanFields.has(field) ? 'false' : '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

export function selectableFieldsOf({ group, resource }: GroupResource): SelectableFields<KubeObject> {
  return { extra: selectableFields[`${group}/${resource}`], value: fieldValue };
}
