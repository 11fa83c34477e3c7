// What in admission may change a stream's options, and so sends streams by kube-apiserver: read by the rules that serve reads it by, once.

import { describeError } from '../../base/errors.ts';
import { bindingMatches, type ConnectKind, policyMatches, webhookMatches } from '../../kube/admission-rules.ts';
import { type KubeObject, readList } from '../../kube/objects.ts';
import { askTimeoutMs, type DoctorClient, type Examination } from './examination.ts';
import { codeOfRefusal, fail, type Finding, ok, skip, warn } from './finding.ts';

const check = 'admission';
const group = '/apis/admissionregistration.k8s.io';
const fix = 'If it does not mean to change CONNECT, narrow its operations and resources: docs/detour.md.';

export async function checkAdmission({ client, config }: Examination): Promise<Finding[]> {
  if (config.streams.local === 'apiserver') {
    return [skip(check, 'All streams go by kube-apiserver: --streams-local apiserver')];
  }
  const findings: Finding[] = [];
  try {
    for (const configuration of await list(client, `${group}/v1/mutatingwebhookconfigurations`)) {
      for (const [webhook, kinds] of byName(webhookMatches(configuration))) {
        const who = `The webhook ${webhook} of ${configuration.metadata.name}`;
        findings.push(warn(check, `${who} may change ${kinds.join(', ')}: these streams go by kube-apiserver`, fix));
      }
    }
    for (const version of ['v1', 'v1beta1', 'v1alpha1']) findings.push(...(await policies(client, version)));
  } catch (error) {
    const what = `What may change a stream cannot be read, so that every stream goes by kube-apiserver: ${describeError(error)}`;
    if (codeOfRefusal(error) === 403) return [fail(check, what, 'Apply config/rbac/kexer.yaml.')];
    return [fail(check, what, 'See whether kube-apiserver is well.')];
  }
  return findings.length > 0
    ? findings
    : [ok(check, 'Nothing in admission changes a stream: they go straight to kubelets')];
}

/** A policy does nothing without a binding. */
async function policies(client: DoctorClient, version: string): Promise<Finding[]> {
  const bindings = (await list(client, `${group}/${version}/mutatingadmissionpolicybindings`)).map(bindingMatches);
  const findings: Finding[] = [];
  for (const policy of await list(client, `${group}/${version}/mutatingadmissionpolicies`)) {
    const { name } = policy.metadata;
    const bound = bindings.filter(({ policyName }) => policyName === name);
    const kinds = [...policyMatches(policy)].filter((kind) => bound.some((binding) => binding.kinds.has(kind)));
    if (kinds.length === 0) continue;
    const what = `The policy ${name} may change ${kinds.join(', ')}: these streams go by kube-apiserver`;
    findings.push(warn(check, what, fix));
  }
  return findings;
}

function byName(matches: ReadonlyMap<ConnectKind, string>): Map<string, ConnectKind[]> {
  const found = new Map<string, ConnectKind[]>();
  for (const [kind, name] of matches) found.set(name, [...(found.get(name) ?? []), kind]);
  return found;
}

/** Whole; empty where the API is not served. */
export async function list(client: DoctorClient, path: string, fieldSelector?: string): Promise<KubeObject[]> {
  const selector = fieldSelector === undefined ? '' : `&fieldSelector=${encodeURIComponent(fieldSelector)}`;
  const items: KubeObject[] = [];
  let next = '';
  do {
    const target = `${path}?limit=500${selector}${next === '' ? '' : `&continue=${encodeURIComponent(next)}`}`;
    let page: ReturnType<typeof readList>;
    try {
      page = readList(await client.json({ target, timeoutMs: askTimeoutMs }));
    } catch (error) {
      if (codeOfRefusal(error) === 404) return [];
      throw error;
    }
    items.push(...page.items);
    next = page.next;
  } while (next !== '');
  return items;
}
