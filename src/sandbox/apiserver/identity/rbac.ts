// Authorization as kube-apiserver runs it: members of system:masters may do anything, then RBAC over the Roles and bindings in the
// store, read on every call. Texts and order are those of plugin/pkg/auth/authorizer/rbac, because they stand in audit logs and in
// SubjectAccessReviews.

import type { DeniedAction } from '../../../kube/status.ts';
import { groupMasters, type UserInfo } from '../../../kube/user.ts';
import type { KubeObject, Store } from '../store.ts';

export const rbacGroup = 'rbac.authorization.k8s.io';

/** An allow, or no opinion, which with no authorizer left is a refusal. */
export interface Decision {
  readonly isAllowed: boolean;
  /** For people; may be ''. */
  readonly reason: string;
}

export interface PolicyRule {
  readonly verbs?: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly nonResourceURLs?: readonly string[];
}

export interface RoleSubject {
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
}

interface Grant {
  readonly rules: readonly PolicyRule[];
  /** Text behind `RBAC: allowed by `. */
  readonly describe: () => string;
}

export class RbacAuthorizer {
  readonly #store: Store;

  constructor(deps: { store: Store }) {
    this.#store = deps.store;
  }

  authorize(user: UserInfo, action: DeniedAction): Decision {
    if (user.groups.includes(groupMasters)) return { isAllowed: true, reason: '' };
    const errors: string[] = [];
    for (const grant of this.#grants(user, action.namespace, errors)) {
      if (grant.rules.some((rule) => ruleAllows(rule, action))) {
        return { isAllowed: true, reason: `RBAC: allowed by ${grant.describe()}` };
      }
    }
    const unique = [...new Set(errors)];
    const text = unique.length > 1 ? `[${unique.join(', ')}]` : unique[0];
    return { isAllowed: false, reason: text === undefined ? '' : `RBAC: ${text}` };
  }

  /** What SelfSubjectRulesReview answers: every rule that applies in the namespace, in the order of the bindings. */
  rulesFor(user: UserInfo, namespace: string): { rules: PolicyRule[]; error: string } {
    const errors: string[] = [];
    const rules: PolicyRule[] = user.groups.includes(groupMasters)
      ? [
          { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
          { verbs: ['*'], nonResourceURLs: ['*'] },
        ]
      : [];
    for (const grant of this.#grants(user, namespace, errors)) rules.push(...grant.rules);
    return { rules, error: [...new Set(errors)].join(', ') };
  }

  /** Bindings that name the user: cluster-wide ones first, then the namespace's. A missing role is an error text, no grant. */
  *#grants(user: UserInfo, namespace: string, errors: string[]): Generator<Grant> {
    for (const binding of this.#store.list({ group: rbacGroup, resource: 'clusterrolebindings' })) {
      yield* this.#grantsOf(binding, user, '', errors);
    }
    if (namespace === '') return;
    for (const binding of this.#store.list({ group: rbacGroup, resource: 'rolebindings' }, namespace)) {
      yield* this.#grantsOf(binding, user, namespace, errors);
    }
  }

  *#grantsOf(binding: KubeObject, user: UserInfo, namespace: string, errors: string[]): Generator<Grant> {
    const subjects = (binding['subjects'] ?? []) as readonly RoleSubject[];
    const subject = subjects.find((candidate) => appliesTo(candidate, user, namespace));
    if (subject === undefined) return;
    const { kind, name } = binding['roleRef'] as { kind: string; name: string };
    const isCluster = kind === 'ClusterRole';
    const resource = isCluster ? 'clusterroles' : 'roles';
    const role = this.#store.get({ group: rbacGroup, resource, namespace: isCluster ? '' : namespace, name });
    if (role === undefined) {
      errors.push(`${isCluster ? 'clusterrole' : 'role'}.${rbacGroup} ${JSON.stringify(name)} not found`);
      return;
    }
    yield {
      rules: (role['rules'] ?? []) as readonly PolicyRule[],
      describe: () => {
        const bindingName = namespace === '' ? binding.metadata.name : `${binding.metadata.name}/${namespace}`;
        const bindingKind = namespace === '' ? 'ClusterRoleBinding' : 'RoleBinding';
        return `${bindingKind} ${JSON.stringify(bindingName)} of ${kind} ${JSON.stringify(name)} to ${describe(subject)}`;
      },
    };
  }
}

function describe(subject: RoleSubject): string {
  const name = subject.kind === 'ServiceAccount' ? `${subject.name}/${subject.namespace ?? ''}` : subject.name;
  return `${subject.kind} ${JSON.stringify(name)}`;
}

function appliesTo(subject: RoleSubject, user: UserInfo, namespace: string): boolean {
  switch (subject.kind) {
    case 'User':
      return subject.name === user.name;
    case 'Group':
      return user.groups.includes(subject.name);
    case 'ServiceAccount': {
      // A ServiceAccount without a namespace is in the binding's own; a ClusterRoleBinding has none, so nothing matches.
      const home = subject.namespace ?? namespace;
      return home !== '' && user.name === `system:serviceaccount:${home}:${subject.name}`;
    }
    default:
      return false;
  }
}

/** rbac.RuleAllows. */
export function ruleAllows(rule: PolicyRule, action: DeniedAction): boolean {
  if (!matches(rule.verbs, action.verb)) return false;
  if (!action.isResourceRequest)
    return (rule.nonResourceURLs ?? []).some((pattern) => matchesUrl(pattern, action.path));
  return (
    matches(rule.apiGroups, action.apiGroup) &&
    matchesResource(rule.resources ?? [], action) &&
    matchesName(rule, action)
  );
}

function matches(allowed: readonly string[] | undefined, wanted: string): boolean {
  return allowed?.some((value) => value === '*' || value === wanted) ?? false;
}

/** `*` means all, `*` + `/SUB` any resource's SUB; there is no `RESOURCE/*`. */
function matchesResource(allowed: readonly string[], { resource, subresource }: DeniedAction): boolean {
  const combined = subresource === '' ? resource : `${resource}/${subresource}`;
  return allowed.some(
    (value) => value === '*' || value === combined || (subresource !== '' && value === `*/${subresource}`),
  );
}

function matchesName(rule: PolicyRule, action: DeniedAction): boolean {
  const names = rule.resourceNames ?? [];
  return names.length === 0 || names.includes(action.name);
}

function matchesUrl(pattern: string, path: string): boolean {
  if (pattern === '*' || pattern === path) return true;
  return pattern.endsWith('*') && path.startsWith(pattern.replace(/\*+$/, ''));
}
