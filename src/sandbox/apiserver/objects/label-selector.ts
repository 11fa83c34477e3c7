// Label selectors in the JSON form that stands in specs (`matchLabels`, `matchExpressions`), as a predicate over labels. The form of queries
// is in kube/label-selector.ts.

import type { LabelPredicate } from '../../../kube/label-selector.ts';
import { records, stringMap, strings, text } from './fields.ts';

/** metav1.LabelSelector: nothing given selects nothing, an empty one everything. */
export function labelSelectorOf(selector: unknown): LabelPredicate {
  if (typeof selector !== 'object' || selector === null) return () => false;
  const { matchLabels, matchExpressions } = selector as Record<string, unknown>;
  const wanted = Object.entries(stringMap(matchLabels));
  const expressions = records(matchExpressions).map((expression): LabelPredicate => {
    const key = text(expression['key']);
    const values = new Set(strings(expression['values']));
    switch (text(expression['operator'])) {
      case 'In':
        return (labels) => labels[key] !== undefined && values.has(labels[key]);
      case 'NotIn':
        return (labels) => labels[key] === undefined || !values.has(labels[key]);
      case 'Exists':
        return (labels) => labels[key] !== undefined;
      default:
        return (labels) => labels[key] === undefined;
    }
  });
  return (labels) =>
    wanted.every(([key, value]) => labels[key] === value) && expressions.every((matches) => matches(labels));
}
