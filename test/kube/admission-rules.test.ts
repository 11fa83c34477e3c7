import { expect } from 'chai';

import {
  type AdmissionRule,
  bindingMatches,
  type ConnectKind,
  connectKinds,
  matchesConnect,
  policyMatches,
  webhookMatches,
} from '../../src/kube/admission-rules.ts';

const whole: AdmissionRule = {
  operations: ['CONNECT'],
  apiGroups: [''],
  apiVersions: ['v1'],
  resources: ['pods/exec'],
  scope: '*',
};

function kindsOf(rule: Partial<AdmissionRule>): string {
  return connectKinds.filter((kind) => matchesConnect({ ...whole, ...rule }, kind)).join(' ');
}

function webhooks(...list: unknown[]): Record<string, string> {
  return Object.fromEntries(webhookMatches({ metadata: { name: 'c' }, webhooks: list }));
}

function policy(matchConstraints: unknown): string {
  return [...policyMatches({ metadata: { name: 'p' }, spec: { matchConstraints } })].join(' ');
}

const all = 'exec attach portforward';

describe('matchesConnect', () => {
  // rules.Matcher of k8s.io/apiserver, point by point.
  const table: readonly (readonly [rule: Partial<AdmissionRule>, kinds: string])[] = [
    [{}, 'exec'],
    [{ operations: ['*'] }, 'exec'],
    [{ operations: ['CREATE', 'CONNECT'] }, 'exec'],
    [{ operations: ['CREATE', 'UPDATE', 'DELETE'] }, ''],
    [{ operations: ['connect'] }, ''],
    [{ operations: [] }, ''],
    [{ apiGroups: ['*'] }, 'exec'],
    [{ apiGroups: ['apps', ''] }, 'exec'],
    [{ apiGroups: ['apps'] }, ''],
    [{ apiGroups: [] }, ''],
    [{ apiVersions: ['*'] }, 'exec'],
    [{ apiVersions: ['v1beta1', 'v1'] }, 'exec'],
    [{ apiVersions: ['v1beta1'] }, ''],
    [{ resources: ['pods/attach'] }, 'attach'],
    [{ resources: ['pods/portforward'] }, 'portforward'],
    [{ resources: ['pods/exec', 'pods/attach'] }, 'exec attach'],
    [{ resources: ['pods/*'] }, all],
    [{ resources: ['*/*'] }, all],
    [{ resources: ['*/exec'] }, 'exec'],
    [{ resources: ['*'] }, ''],
    [{ resources: ['pods'] }, ''],
    [{ resources: ['pods/log'] }, ''],
    [{ resources: ['pods/exec/deeper'] }, ''],
    [{ resources: ['services/*', 'nodes/proxy'] }, ''],
    [{ resources: ['Pods/exec'] }, ''],
    [{ resources: [] }, ''],
    [{ scope: 'Namespaced' }, 'exec'],
    [{ scope: 'Cluster' }, ''],
    [{ scope: 'Galaxy' }, ''],
  ];
  for (const [rule, kinds] of table) {
    it(`takes ${JSON.stringify(rule)} for ${kinds === '' ? 'nothing' : kinds}`, () => {
      expect(kindsOf(rule)).to.equal(kinds);
    });
  }
});

describe('webhookMatches', () => {
  it('names the first webhook of each kind, whatever selectors and conditions say', () => {
    expect(
      webhooks(
        { name: 'create', rules: [{ ...whole, operations: ['CREATE'] }] },
        {
          name: 'narrow',
          rules: [whole],
          namespaceSelector: { matchLabels: { never: 'there' } },
          objectSelector: { matchLabels: { never: 'there' } },
          matchConditions: [{ name: 'never', expression: 'false' }],
        },
        { name: 'wide', rules: [{ ...whole, resources: ['*/*'] }] },
      ),
    ).to.deep.equal({ exec: 'narrow', attach: 'wide', portforward: 'wide' });
  });

  it('finds nothing in nothing', () => {
    expect(webhooks()).to.deep.equal({});
    expect(webhooks({ name: 'none' }, { name: 'null', rules: null }, { name: 'empty', rules: [] })).to.deep.equal({});
    expect([...webhookMatches({ metadata: { name: 'c' } })]).to.deep.equal([]);
  });

  it('fails closed on what it cannot read', () => {
    const everything = (name: string): object => ({ exec: name, attach: name, portforward: name });
    expect(webhooks('a text')).to.deep.equal(everything(''));
    expect(webhooks({ name: 'w', rules: 'all of them' })).to.deep.equal(everything('w'));
    expect(webhooks({ name: 'w', rules: ['all of them'] })).to.deep.equal(everything('w'));
    expect(webhooks({ name: 'w', rules: [{ ...whole, operations: 'CONNECT' }] })).to.deep.equal({ exec: 'w' });
    expect(webhooks({ name: 'w', rules: [{ ...whole, resources: [7] }] })).to.deep.equal(everything('w'));
    expect(webhooks({ name: 'w', rules: [{ ...whole, scope: 7 }] })).to.deep.equal({ exec: 'w' });
    expect([...webhookMatches({ metadata: { name: 'c' }, webhooks: {} }).keys()]).to.deep.equal(connectKinds);
  });
});

describe('policyMatches', () => {
  const table: readonly (readonly [what: string, constraints: unknown, kinds: string])[] = [
    ['rules', { resourceRules: [whole] }, 'exec'],
    ['rules for other things', { resourceRules: [{ ...whole, resources: ['pods'] }] }, ''],
    ['no constraints', undefined, all],
    ['no rules', { namespaceSelector: {} }, all],
    ['names, which may be any', { resourceRules: [{ ...whole, resourceNames: ['demo'] }] }, 'exec'],
    [
      'an exclusion',
      { resourceRules: [{ ...whole, resources: ['pods/*'] }], excludeResourceRules: [whole] },
      'attach portforward',
    ],
    [
      'an exclusion of some names',
      { resourceRules: [whole], excludeResourceRules: [{ ...whole, resourceNames: ['demo'] }] },
      'exec',
    ],
    ['an exclusion without rules', { excludeResourceRules: [{ ...whole, resources: ['*/*'] }] }, ''],
    ['an exclusion that cannot be read', { resourceRules: [whole], excludeResourceRules: ['everything'] }, 'exec'],
    [
      'an exclusion of which a part cannot be read',
      { resourceRules: [whole], excludeResourceRules: [{ ...whole, apiGroups: '' }] },
      'exec',
    ],
  ];
  for (const [what, constraints, kinds] of table) {
    it(`reads ${what}`, () => {
      expect(policy(constraints)).to.equal(kinds);
    });
  }

  it('takes a policy without a spec for one that matches everything', () => {
    expect([...policyMatches({ metadata: { name: 'p' } })]).to.deep.equal(connectKinds);
  });
});

describe('bindingMatches', () => {
  const read = (spec: unknown): { policyName: string; kinds: ConnectKind[] } => {
    const { policyName, kinds } = bindingMatches({ metadata: { name: 'b' }, spec });
    return { policyName, kinds: [...kinds] };
  };

  it('restricts nothing without matchResources, and by its rules with them', () => {
    expect(read({ policyName: 'p' })).to.deep.equal({ policyName: 'p', kinds: connectKinds });
    expect(read({ policyName: 'p', matchResources: { resourceRules: [whole] } })).to.deep.equal({
      policyName: 'p',
      kinds: ['exec'],
    });
    expect(
      read({ policyName: 'p', matchResources: { namespaceSelector: { matchLabels: { a: 'b' } } } }).kinds,
    ).to.have.length(3);
    expect(read(undefined).policyName).to.equal('');
  });
});
