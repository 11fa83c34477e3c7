// What a kind's rows look like: column definitions and how an object fills them, as kube-apiserver's printers do it
// (pkg/printers/internalversion). The server always fills the wide columns too; priority tells kubectl when to show them.

import { array, at, type Json, record, records, stringMap, strings, text } from '../objects/fields.ts';
import type { KubeObject } from '../objects/object.ts';
import { describeField } from '../schemas/definitions.ts';
import { ageOf } from '../../../kube/human-duration.ts';

export interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'boolean' | 'date';
  readonly format: string;
  readonly description: string;
  readonly priority: number;
}

export interface RowCondition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

export interface Printer {
  readonly columns: readonly Column[];
  cells(object: KubeObject, nowMs: number): unknown[];
  conditions?(object: KubeObject): readonly RowCondition[] | undefined;
}

const meta = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';

/** A column of strings, shown always. */
export function column(name: string, description: string, type: Column['type'] = 'string'): Column {
  return { name, type, format: '', description, priority: 0 };
}

/** A column that only `-o wide` shows. */
export function wide(name: string, description: string): Column {
  return { name, type: 'string', format: '', description, priority: 1 };
}

/** A field's description: `doc('core.v1.PodSpec', 'nodeName')`. */
export function doc(type: string, field: string): string {
  return describeField(`io.k8s.api.${type}`, field);
}

export const nameColumn: Column = {
  name: 'Name',
  type: 'string',
  format: 'name',
  description: describeField(meta, 'name'),
  priority: 0,
};

export const ageColumn: Column = column('Age', describeField(meta, 'creationTimestamp'));
export const createdColumn: Column = column('Created At', describeField(meta, 'creationTimestamp'));

export function age(object: KubeObject, nowMs: number): string {
  return ageOf(object.metadata.creationTimestamp, nowMs);
}

export const none = '<none>';

/** `a=1,b=2`, sorted; `<none>` if empty (labels.FormatLabels). */
export function formatLabels(labels: unknown): string {
  const pairs = Object.entries(stringMap(labels)).map(([key, value]) => `${key}=${value}`);
  return pairs.length === 0 ? none : pairs.sort().join(',');
}

/** metav1.FormatLabelSelector. */
export function formatLabelSelector(selector: unknown): string {
  const terms = Object.entries(stringMap(at(selector, 'matchLabels'))).map(([key, value]) => `${key}=${value}`);
  for (const expression of records(at(selector, 'matchExpressions'))) {
    const key = text(expression['key']);
    const values = strings(expression['values']).sort().join(',');
    const operator = text(expression['operator']);
    if (operator === 'In') terms.push(`${key} in (${values})`);
    else if (operator === 'NotIn') terms.push(`${key} notin (${values})`);
    else terms.push(operator === 'Exists' ? key : `!${key}`);
  }
  return terms.length === 0 ? none : terms.sort().join(',');
}

export const containerColumns: readonly Column[] = [
  wide('Containers', 'Names of each container in the template.'),
  wide('Images', 'Images referenced by each container in the template.'),
];

/** The names and the images of a template's containers. */
export function containerCells(template: unknown): string[] {
  const containers = records(at(template, 'spec', 'containers'));
  return [
    containers.map((container) => text(container['name'])).join(','),
    containers.map((container) => text(container['image'])).join(','),
  ];
}

/** At most three of many, with how many more there are. */
export function firstThree(items: readonly string[]): string {
  if (items.length <= 3) return items.join(',');
  return `${items.slice(0, 3).join(',')} + ${items.length - 3} more...`;
}

export function specOf(object: KubeObject): Json {
  return record(object['spec']);
}

export function statusOf(object: KubeObject): Json {
  return record(object['status']);
}

/** How many keys an object has, or items a list. */
export function countOf(value: unknown): number {
  return Array.isArray(value) ? array(value).length : Object.keys(record(value)).length;
}

/** The condition of that type, or an empty object. */
export function conditionOf(object: KubeObject, type: string): Json {
  return records(statusOf(object)['conditions']).find((condition) => condition['type'] === type) ?? {};
}
