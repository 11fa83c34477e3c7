// Which CONNECTs an admission configuration may mutate, read from its rules alone: operations, groups, versions, resources and scope, matched
// as kube-apiserver's rules.Matcher does. Selectors, match conditions and names are not looked at, so the answer errs towards "may". What
// cannot be read counts as a rule for everything: a configuration that is not understood must not look like one that does not concern us.

import { isRecord, type KubeObject } from './objects.ts';

/** Subresources of pods with CONNECT admission; `log` is a read and has none. */
export type ConnectKind = 'exec' | 'attach' | 'portforward';

export const connectKinds: readonly ConnectKind[] = ['exec', 'attach', 'portforward'];

/** RuleWithOperations of admissionregistration.k8s.io, with everything in it. */
export interface AdmissionRule {
  readonly operations: readonly string[];
  readonly apiGroups: readonly string[];
  readonly apiVersions: readonly string[];
  /** `pods`, `pods/exec`, `pods/*`, `*` + `/exec`, `*` (no subresource), `*` + `/*`. */
  readonly resources: readonly string[];
  /** `*`, `Namespaced` or `Cluster`. */
  readonly scope: string;
}

const everything: AdmissionRule = {
  operations: ['*'],
  apiGroups: ['*'],
  apiVersions: ['*'],
  resources: ['*/*'],
  scope: '*',
};

/** Whether the rule takes in CONNECT on v1 `pods/SUBRESOURCE` of a namespace. */
export function matchesConnect(rule: AdmissionRule, subresource: ConnectKind): boolean {
  // A pod is in a namespace, so of the scopes only `Cluster` excludes it; one that nobody knows matches nothing upstream.
  return (
    (rule.scope === '*' || rule.scope === 'Namespaced') &&
    exactOrWildcard(rule.operations, 'CONNECT') &&
    exactOrWildcard(rule.apiGroups, '') &&
    exactOrWildcard(rule.apiVersions, 'v1') &&
    rule.resources.some((pattern) => matchesResource(pattern, subresource))
  );
}

/** A MutatingWebhookConfiguration: of each kind of CONNECT, the name of the first webhook that may mutate it. */
export function webhookMatches(configuration: KubeObject): ReadonlyMap<ConnectKind, string> {
  const found = new Map<ConnectKind, string>();
  for (const webhook of listOf(configuration['webhooks'])) {
    const { name, rules } = isRecord(webhook) ? webhook : { name: undefined, rules: 'unreadable' };
    const parsed = readRules(rules);
    for (const kind of connectKinds) {
      if (found.has(kind) || !parsed.some((rule) => matchesConnect(rule, kind))) continue;
      found.set(kind, typeof name === 'string' ? name : '');
    }
  }
  return found;
}

/** A MutatingAdmissionPolicy: the kinds of CONNECT within its matchConstraints. */
export function policyMatches(policy: KubeObject): ReadonlySet<ConnectKind> {
  const { spec } = policy;
  return matchResourcesMatches(isRecord(spec) ? spec['matchConstraints'] : undefined);
}

/** A MutatingAdmissionPolicyBinding: its policy, and the kinds of CONNECT it lets through to it. */
export function bindingMatches(binding: KubeObject): { policyName: string; kinds: ReadonlySet<ConnectKind> } {
  const spec = isRecord(binding['spec']) ? binding['spec'] : {};
  const { policyName, matchResources } = spec;
  return {
    policyName: typeof policyName === 'string' ? policyName : '',
    kinds: matchResourcesMatches(matchResources),
  };
}

/** MatchResources of policies and bindings. Without rules it takes in everything (matching.Matcher). */
function matchResourcesMatches(value: unknown): ReadonlySet<ConnectKind> {
  const { resourceRules, excludeResourceRules } = isRecord(value) ? value : {};
  const included = listOf(resourceRules).length === 0 ? [everything] : readRules(resourceRules);
  // A rule that excludes some names only leaves others in.
  const excluded = readRules(
    Array.isArray(excludeResourceRules)
      ? excludeResourceRules.filter((rule) => isReadable(rule) && !hasNames(rule))
      : [],
  );
  const matches = (rules: readonly AdmissionRule[], kind: ConnectKind): boolean =>
    rules.some((rule) => matchesConnect(rule, kind));
  return new Set(connectKinds.filter((kind) => matches(included, kind) && !matches(excluded, kind)));
}

function readRules(value: unknown): AdmissionRule[] {
  return listOf(value).map((rule) => {
    if (!isRecord(rule)) return everything;
    const { scope } = rule;
    return {
      operations: textsOf(rule['operations']),
      apiGroups: textsOf(rule['apiGroups']),
      apiVersions: textsOf(rule['apiVersions']),
      resources: textsOf(rule['resources'], '*/*'),
      scope: typeof scope === 'string' && scope !== '' ? scope : '*',
    };
  });
}

/** An excluding rule counts only if every word of it is understood: else it might exclude more than it does. */
function isReadable(rule: unknown): boolean {
  if (!isRecord(rule)) return false;
  return ['operations', 'apiGroups', 'apiVersions', 'resources'].every((key) => {
    const value = rule[key];
    return Array.isArray(value) && value.every((item) => typeof item === 'string');
  });
}

function hasNames(rule: unknown): boolean {
  return isRecord(rule) && listOf(rule['resourceNames']).length > 0;
}

function matchesResource(pattern: string, subresource: ConnectKind): boolean {
  const slash = pattern.indexOf('/');
  const resource = slash === -1 ? pattern : pattern.slice(0, slash);
  const wanted = slash === -1 ? '' : pattern.slice(slash + 1);
  return (resource === '*' || resource === 'pods') && (wanted === '*' || wanted === subresource);
}

function exactOrWildcard(items: readonly string[], wanted: string): boolean {
  return items.some((item) => item === '*' || item === wanted);
}

/** Absent is empty, as Go reads it; anything that is no list stands for one thing that cannot be read. */
function listOf(value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value : ['unreadable'];
}

function textsOf(value: unknown, any = '*'): readonly string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) return [any];
  return value.map((item) => (typeof item === 'string' ? item : any));
}
