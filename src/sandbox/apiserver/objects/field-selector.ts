// Field selectors: `metadata.name=x,status.phase!=Running`. Which fields a kind can be selected by is fixed, as in kube-apiserver,
// and so is what it says of any other.

import { badRequest, type GroupResource, StatusError } from '../../../kube/status.ts';
import { at, text } from './fields.ts';
import type { KubeObject } from './object.ts';

export type FieldPredicate = (object: KubeObject) => boolean;

const metadataFields = ['metadata.name', 'metadata.namespace'];

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

/** Splits at commas that are not escaped (fields.splitTerms). */
function splitTerms(selector: string): string[] {
  const terms: string[] = [];
  let term = '';
  for (let index = 0; index < selector.length; index += 1) {
    const char = selector.charAt(index);
    if (char === '\\') {
      term += selector.slice(index, index + 2);
      index += 1;
    } else if (char === ',') {
      terms.push(term);
      term = '';
    } else {
      term += char;
    }
  }
  terms.push(term);
  return terms.filter((it) => it !== '');
}

/** @throws StatusError 400 for a selector that cannot be read or names a field that cannot be selected by. */
export function parseFieldSelector(resource: GroupResource, selector: string | null): FieldPredicate | undefined {
  if (selector === null || selector === '') return undefined;
  const extra = selectableFields[`${resource.group}/${resource.resource}`];
  const predicates: FieldPredicate[] = [];
  for (const term of splitTerms(selector)) {
    const match = /^((?:\\.|[^=!\\])*)(!=|==|=)(.*)$/s.exec(term);
    if (match === null) throw refusal(`invalid selector: '${selector}'; can't understand '${term}'`);
    const [, field = '', operator = '', raw = ''] = match;
    if (!metadataFields.includes(field) && extra?.includes(field) !== true) {
      throw refusal(
        extra === undefined
          ? `${JSON.stringify(field)} is not a known field selector: only "metadata.name", "metadata.namespace"`
          : `field label not supported: ${field}`,
      );
    }
    const wanted = raw.replaceAll(/\\([\\,=])/g, '$1');
    const isEqual = operator !== '!=';
    predicates.push((object) => (fieldValue(object, field) === wanted) === isEqual);
  }
  return (object) => predicates.every((matches) => matches(object));
}

function refusal(message: string): StatusError {
  return new StatusError(badRequest(message));
}
