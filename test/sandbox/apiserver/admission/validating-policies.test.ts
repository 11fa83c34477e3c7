import { expect } from 'chai';

import { type Sandbox, startSandbox } from '../../../../src/sandbox/sandbox.ts';
import type { KubeObject } from '../../../../src/sandbox/apiserver/store.ts';
import { ask, refusal } from '../support/ask.ts';

const group = 'admissionregistration.k8s.io';
const path = '/api/v1/namespaces/default/pods/unbound/exec?command=id&stdout=true';
/** The pod has no node: the answer of a request that admission let pass. */
const passed = '400 pod unbound does not have a host assigned';
const rules = [{ operations: ['CONNECT'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods/exec'] }];
const denied =
  "pods \"unbound\" is forbidden: ValidatingAdmissionPolicy 'no-exec' with binding 'everywhere' denied request:";

describe('sandbox apiserver: validating admission policies', () => {
  let sandbox: Sandbox;

  before(async () => {
    sandbox = await startSandbox({ hasKubelets: false });
    sandbox.store.create(
      { group: '', resource: 'pods' },
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'unbound', namespace: 'default' },
        spec: { containers: [{ name: 'c' }] },
      },
    );
  });

  after(() => sandbox.stop());

  afterEach(() => {
    for (const resource of ['validatingadmissionpolicies', 'validatingadmissionpolicybindings']) {
      for (const { metadata } of sandbox.store.list({ group, resource })) {
        sandbox.store.delete({ group, resource, namespace: '', name: metadata.name });
      }
    }
  });

  function create(resource: string, name: string, spec: Record<string, unknown>): void {
    const kind = resource.endsWith('bindings') ? 'ValidatingAdmissionPolicyBinding' : 'ValidatingAdmissionPolicy';
    const object: KubeObject = { apiVersion: `${group}/v1`, kind, metadata: { name }, spec };
    sandbox.store.create({ group, resource }, object);
  }

  async function answerWith(policy: Record<string, unknown>, binding: Record<string, unknown> = {}): Promise<string> {
    create('validatingadmissionpolicies', 'no-exec', {
      matchConstraints: { resourceRules: rules },
      validations: [{ expression: 'false', message: 'nobody enters' }],
      ...policy,
    });
    create('validatingadmissionpolicybindings', 'everywhere', {
      policyName: 'no-exec',
      validationActions: ['Deny'],
      ...binding,
    });
    return refusal(
      await ask(sandbox, {
        method: 'POST',
        path,
        headers: { 'Impersonate-User': 'admin-2', 'Impersonate-Group': 'system:masters' },
      }),
    );
  }

  const cases: readonly {
    name: string;
    policy?: Record<string, unknown>;
    binding?: Record<string, unknown>;
    want: string;
  }[] = [
    { name: 'denies with 422 unless the policy says otherwise', want: `422 ${denied} nobody enters` },
    {
      name: 'denies with the code of the reason',
      policy: { validations: [{ expression: 'false', reason: 'Forbidden' }] },
      want: `403 ${denied} failed expression: false`,
    },
    { name: 'lets pass what is true', policy: { validations: [{ expression: 'true' }] }, want: passed },
    {
      name: 'fails closed on what it cannot evaluate',
      policy: { validations: [{ expression: 'object.stdin' }] },
      want: `422 ${denied} expression 'object.stdin' resulted in error: the sandbox evaluates no expression but true and false`,
    },
    {
      name: 'lets pass what it cannot evaluate if failures are ignored',
      policy: { validations: [{ expression: 'object.stdin' }], failurePolicy: 'Ignore' },
      want: passed,
    },
    {
      name: 'is not asked about other subresources',
      policy: { matchConstraints: { resourceRules: [{ ...rules[0], resources: ['pods/attach'] }] } },
      want: passed,
    },
    { name: 'has no say without rules', policy: { matchConstraints: {} }, want: passed },
    { name: 'denies nothing without a binding that denies', binding: { validationActions: ['Audit'] }, want: passed },
    { name: 'has no say by the binding of another', binding: { policyName: 'another' }, want: passed },
    {
      name: 'is narrowed by its binding',
      binding: {
        matchResources: { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'elsewhere' } } },
      },
      want: passed,
    },
  ];
  for (const { name, policy = {}, binding = {}, want } of cases) {
    it(name, async () => {
      expect(await answerWith(policy, binding)).to.equal(want);
    });
  }
});
