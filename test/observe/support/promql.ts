// PromQL as Prometheus' own grammar reads it: whether an expression is one, which metrics and labels it names.

import { parser } from '@prometheus-io/lezer-promql';

export interface Selector {
  readonly metric: string;
  /** Labels it is matched by. */
  readonly labels: readonly string[];
}

export interface Expression {
  readonly selectors: readonly Selector[];
  /** Labels that results are grouped by. */
  readonly groupedBy: readonly string[];
}

/** @throws Error if it is no PromQL. */
export function readPromql(text: string): Expression {
  const tree = parser.parse(text);
  const selectors: { metric: string; labels: string[] }[] = [];
  const groupedBy: string[] = [];
  tree.iterate({
    enter(node) {
      const content = text.slice(node.from, node.to);
      if (node.type.isError) throw new Error(`no PromQL at ${node.from}: ${JSON.stringify(text)}`);
      if (node.name === 'VectorSelector') selectors.push({ metric: '', labels: [] });
      const selector = selectors.at(-1);
      const isInSelector = node.node.parent?.name !== 'GroupingLabels';
      if (node.name === 'Identifier' && node.node.parent?.name === 'VectorSelector' && selector !== undefined) {
        selector.metric = content;
      }
      if (node.name === 'LabelName') {
        if (isInSelector) selector?.labels.push(content);
        else groupedBy.push(content);
      }
    },
  });
  return { selectors, groupedBy };
}
