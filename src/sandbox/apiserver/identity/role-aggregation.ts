// The clusterrole-aggregation controller: a ClusterRole with an aggregationRule gets the rules of all roles its label selectors
// match, again whenever one of them changes.

import type { KubeObject, Store } from '../store.ts';
import { isJsonEqual } from '../objects/object.ts';
import { type PolicyRule, rbacGroup } from './rbac.ts';

const clusterRoles = { group: rbacGroup, resource: 'clusterroles' };

interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly { key: string; operator: string; values?: readonly string[] }[];
}

export class RoleAggregation {
  readonly #store: Store;
  #stopWatching: (() => void) | undefined;

  constructor(deps: { store: Store }) {
    this.#store = deps.store;
  }

  start(): void {
    this.#stopWatching = this.#store.watch(clusterRoles, undefined, () => this.#aggregateAll());
    this.#aggregateAll();
  }

  stop(): void {
    this.#stopWatching?.();
  }

  /** Ends because a role that is as it should be is not written again. Roles may aggregate roles that aggregate. */
  #aggregateAll(): void {
    for (const role of this.#store.list(clusterRoles)) {
      const rule = role['aggregationRule'] as { clusterRoleSelectors?: readonly LabelSelector[] } | undefined;
      if (rule === undefined) continue;
      const rules = this.#rulesFor(role, rule.clusterRoleSelectors ?? []);
      if (isJsonEqual(rules, role['rules'] ?? [])) continue;
      this.#store.mutate({ ...clusterRoles, namespace: '', name: role.metadata.name }, (draft) => {
        draft['rules'] = rules;
      });
    }
  }

  #rulesFor(role: KubeObject, selectors: readonly LabelSelector[]): PolicyRule[] {
    const rules: PolicyRule[] = [];
    for (const selector of selectors) {
      for (const other of this.#store.list(clusterRoles)) {
        if (other.metadata.name === role.metadata.name || !selects(selector, other.metadata.labels ?? {})) continue;
        for (const candidate of (other['rules'] ?? []) as readonly PolicyRule[]) {
          if (!rules.some((rule) => isJsonEqual(rule, candidate))) rules.push(structuredClone(candidate));
        }
      }
    }
    return rules;
  }
}

/** metav1.LabelSelectorAsSelector. */
export function selects(selector: LabelSelector, labels: Readonly<Record<string, string>>): boolean {
  const isMatch = Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels[key] === value);
  return (
    isMatch &&
    (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
      const value = labels[key];
      switch (operator) {
        case 'In':
          return value !== undefined && values.includes(value);
        case 'NotIn':
          return value === undefined || !values.includes(value);
        case 'Exists':
          return value !== undefined;
        case 'DoesNotExist':
          return value === undefined;
        default:
          return false;
      }
    })
  );
}
