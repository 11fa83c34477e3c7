// Which webhooks are asked about a request: rules, namespaceSelector and objectSelector of Mutating- and
// ValidatingWebhookConfigurations. Match conditions (CEL) are not evaluated: the sandbox takes them for true.

import { selects } from '../identity/role-aggregation.ts';
import type { KubeObject, Store } from '../store.ts';

export const webhookGroup = 'admissionregistration.k8s.io';

export interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly { key: string; operator: string; values?: readonly string[] }[];
}

export interface WebhookRule {
  readonly operations?: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly apiVersions?: readonly string[];
  readonly resources?: readonly string[];
  readonly scope?: string;
}

/** One webhook of a configuration, as stored. */
export interface Webhook {
  readonly name: string;
  readonly clientConfig: {
    readonly url?: string;
    readonly service?: {
      readonly namespace: string;
      readonly name: string;
      readonly path?: string;
      readonly port?: number;
    };
    readonly caBundle?: string;
  };
  readonly rules?: readonly WebhookRule[];
  readonly failurePolicy?: 'Fail' | 'Ignore';
  readonly timeoutSeconds?: number;
  readonly namespaceSelector?: LabelSelector;
  readonly objectSelector?: LabelSelector;
}

/** What is asked about. */
export interface Admitted {
  readonly operation: 'CONNECT' | 'CREATE' | 'UPDATE' | 'DELETE';
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  /** Labels of the object and the old object; undefined where there is no metadata, as for the options of a CONNECT. */
  readonly labels: readonly Readonly<Record<string, string>>[] | undefined;
}

/** The webhooks of all configurations of a kind that match, in the order they are called in. */
export function matchingWebhooks(
  store: Store,
  resource: 'mutatingwebhookconfigurations' | 'validatingwebhookconfigurations',
  about: Admitted,
): Webhook[] {
  return store
    .list({ group: webhookGroup, resource })
    .flatMap((configuration: KubeObject) => (configuration['webhooks'] ?? []) as readonly Webhook[])
    .filter((webhook) => matchesRules(store, webhook, about));
}

/** What decides whether a webhook or a policy is about a request. */
export interface Matching {
  readonly rules?: readonly WebhookRule[] | undefined;
  readonly namespaceSelector?: LabelSelector | undefined;
  readonly objectSelector?: LabelSelector | undefined;
}

export function matchesRules(store: Store, matching: Matching, about: Admitted): boolean {
  if (!(matching.rules ?? []).some((rule) => ruleMatches(rule, about))) return false;
  return namespaceMatches(store, matching.namespaceSelector ?? {}, about) && objectMatches(matching, about);
}

function ruleMatches(rule: WebhookRule, about: Admitted): boolean {
  const any = (list: readonly string[] | undefined, value: string): boolean =>
    list?.some((item) => item === '*' || item === value) ?? false;
  const scope = rule.scope ?? '*';
  const isScope = scope === '*' || (scope === 'Namespaced') === (about.namespace !== '');
  return (
    isScope &&
    any(rule.operations, about.operation) &&
    any(rule.apiGroups, about.group) &&
    any(rule.apiVersions, about.version) &&
    (rule.resources ?? []).some((pattern) => resourceMatches(pattern, about))
  );
}

/** `pods` means pods without subresources, `pods/*` both, `*` + `/*` everything, `*` all resources but no subresource. */
function resourceMatches(pattern: string, { resource, subresource }: Admitted): boolean {
  const [wantedResource = '', wantedSubresource = ''] = pattern.split('/');
  const isResource = wantedResource === '*' || wantedResource === resource;
  return isResource && (wantedSubresource === '*' || wantedSubresource === subresource);
}

/** A cluster-scoped object has no namespace to select by, so it always matches. */
function namespaceMatches(store: Store, selector: LabelSelector, { namespace }: Admitted): boolean {
  if (namespace === '' || isEmpty(selector)) return true;
  const object = store.get({ group: '', resource: 'namespaces', namespace: '', name: namespace });
  return object !== undefined && selects(selector, object.metadata.labels ?? {});
}

function objectMatches({ objectSelector = {} }: Matching, { labels }: Admitted): boolean {
  if (isEmpty(objectSelector)) return true;
  return labels?.some((set) => selects(objectSelector, set)) ?? false;
}

function isEmpty(selector: LabelSelector): boolean {
  return Object.keys(selector.matchLabels ?? {}).length === 0 && (selector.matchExpressions ?? []).length === 0;
}
