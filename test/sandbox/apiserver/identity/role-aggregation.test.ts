import { expect } from 'chai';

import { systemClock } from '../../../../src/base/clock.ts';
import { rbacGroup } from '../../../../src/sandbox/apiserver/identity/rbac.ts';
import { RoleAggregation, selects } from '../../../../src/sandbox/apiserver/identity/role-aggregation.ts';
import { type KubeObject, Store } from '../../../../src/sandbox/apiserver/store.ts';

const roles = { group: rbacGroup, resource: 'clusterroles' };
const rule = (verb: string): object => ({ verbs: [verb], apiGroups: [''], resources: ['pods'] });

function role(name: string, labels: Record<string, string>, rest: object): KubeObject {
  return { apiVersion: `${rbacGroup}/v1`, kind: 'ClusterRole', metadata: { name, labels }, ...rest };
}

const aggregating = (label: string): object => ({
  rules: [],
  aggregationRule: { clusterRoleSelectors: [{ matchLabels: { [label]: 'true' } }] },
});

describe('sandbox RoleAggregation', () => {
  it('gathers rules through roles that gather themselves, and follows changes', () => {
    const store = new Store({ clock: systemClock });
    store.create(roles, role('edit', {}, aggregating('to-edit')));
    store.create(roles, role('view', { 'to-edit': 'true' }, aggregating('to-view')));
    store.create(roles, role('a', { 'to-view': 'true' }, { rules: [rule('get')] }));
    const aggregation = new RoleAggregation({ store });
    aggregation.start();
    const rulesOf = (name: string): unknown => store.get({ ...roles, namespace: '', name })?.['rules'];
    const atStart = rulesOf('edit');
    store.create(roles, role('b', { 'to-view': 'true' }, { rules: [rule('list')] }));
    const later = [rulesOf('view'), rulesOf('edit')];
    aggregation.stop();
    store.delete({ ...roles, namespace: '', name: 'a' });
    const both = [rule('get'), rule('list')];
    expect([atStart, later, rulesOf('edit')]).to.deep.equal([[rule('get')], [both, both], both]);
  });

  const labels = { a: '1' };
  const selectors: readonly [selector: Parameters<typeof selects>[0], isMatch: boolean][] = [
    [{}, true],
    [{ matchLabels: { a: '1' } }, true],
    [{ matchLabels: { a: '2' } }, false],
    [{ matchExpressions: [{ key: 'a', operator: 'In', values: ['1', '2'] }] }, true],
    [{ matchExpressions: [{ key: 'b', operator: 'In', values: ['1'] }] }, false],
    [{ matchExpressions: [{ key: 'b', operator: 'NotIn', values: ['1'] }] }, true],
    [{ matchExpressions: [{ key: 'a', operator: 'Exists' }] }, true],
    [{ matchExpressions: [{ key: 'a', operator: 'DoesNotExist' }] }, false],
    [{ matchExpressions: [{ key: 'a', operator: 'Like', values: ['1'] }] }, false],
  ];
  for (const [selector, isMatch] of selectors) {
    it(`${isMatch ? 'selects' : 'selects not'} by ${JSON.stringify(selector)}`, () => {
      expect(selects(selector, labels)).to.equal(isMatch);
    });
  }
});
