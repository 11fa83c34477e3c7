// ValidatingAdmissionPolicies, between the mutating and the validating webhooks as in the real one. Of CEL the sandbox knows two expressions,
// `true` and `false`; any other cannot be evaluated here, which the policy's failurePolicy judges, as it does any evaluation error. Match
// conditions and parameters are not looked at.

import { failure, StatusError } from '../../../kube/status.ts';
import { array, at, records, text } from '../objects/fields.ts';
import type { KubeObject, Store } from '../store.ts';
import { type Admitted, type LabelSelector, matchesRules, type WebhookRule, webhookGroup } from './webhook-rules.ts';

/** reasonToCode of the plugin; any other reason of a policy is refused when it is written. */
const codes: Readonly<Record<string, number>> = {
  Forbidden: 403,
  Invalid: 422,
  RequestEntityTooLarge: 413,
  Unauthorized: 401,
};

const everything: readonly WebhookRule[] = [
  { operations: ['*'], apiGroups: ['*'], apiVersions: ['*'], resources: ['*/*'] },
];

/** @throws StatusError for the first denial, in the words of kube-apiserver. */
export function validateByPolicies(store: Store, about: Admitted, name: string): void {
  for (const policy of store.list({ group: webhookGroup, resource: 'validatingadmissionpolicies' })) {
    if (!isMatched(store, at(policy, 'spec', 'matchConstraints'), [], about)) continue;
    const bindings = store
      .list({ group: webhookGroup, resource: 'validatingadmissionpolicybindings' })
      .filter((binding) => text(at(binding, 'spec', 'policyName')) === policy.metadata.name)
      .filter((binding) => array(at(binding, 'spec', 'validationActions')).includes('Deny'))
      .filter((binding) => isMatched(store, at(binding, 'spec', 'matchResources'), everything, about));
    for (const binding of bindings) {
      const denied = denialOf(policy);
      if (denied === undefined) continue;
      const who = `ValidatingAdmissionPolicy '${policy.metadata.name}' with binding '${binding.metadata.name}'`;
      throw new StatusError(denialStatus(about, name, `${who} denied request: ${denied.message}`, denied.reason));
    }
  }
}

/** @param rulesIfNone a policy without rules matches nothing; a binding without any narrows nothing. */
function isMatched(store: Store, matching: unknown, rulesIfNone: readonly WebhookRule[], about: Admitted): boolean {
  const { resourceRules, namespaceSelector, objectSelector } = (matching ?? {}) as {
    resourceRules?: readonly WebhookRule[];
    namespaceSelector?: LabelSelector;
    objectSelector?: LabelSelector;
  };
  return matchesRules(store, { rules: resourceRules ?? rulesIfNone, namespaceSelector, objectSelector }, about);
}

function denialOf(policy: KubeObject): { message: string; reason: string } | undefined {
  const mayFail = text(at(policy, 'spec', 'failurePolicy')) === 'Ignore';
  for (const validation of records(at(policy, 'spec', 'validations'))) {
    const expression = text(validation['expression']).trim();
    const message = text(validation['message']);
    const reason = text(validation['reason']) === '' ? 'Invalid' : text(validation['reason']);
    if (expression === 'true') continue;
    if (expression === 'false')
      return { message: message === '' ? `failed expression: ${expression}` : message, reason };
    if (mayFail) continue;
    const error = 'the sandbox evaluates no expression but true and false';
    return { message: `expression '${expression}' resulted in error: ${error}`, reason };
  }
  return undefined;
}

function denialStatus(about: Admitted, name: string, message: string, reason: string): StatusError['status'] {
  return failure(codes[reason] ?? 422, reason, `${about.resource} ${JSON.stringify(name)} is forbidden: ${message}`, {
    name,
    ...(about.group === '' ? {} : { group: about.group }),
    kind: about.resource,
    causes: [{ message }],
  });
}
