import { expect } from 'chai';

import { systemClock } from '../../../../src/base/clock.ts';
import type { DeniedAction } from '../../../../src/kube/status.ts';
import { makeUser, type UserInfo } from '../../../../src/kube/user.ts';
import {
  type PolicyRule,
  RbacAuthorizer,
  rbacGroup,
  ruleAllows,
} from '../../../../src/sandbox/apiserver/identity/rbac.ts';
import { type KubeObject, Store } from '../../../../src/sandbox/apiserver/store.ts';

const none: DeniedAction = {
  isResourceRequest: true,
  path: '',
  verb: 'get',
  apiGroup: '',
  resource: 'pods',
  subresource: '',
  namespace: 'default',
  name: '',
};

const pods: PolicyRule = { verbs: ['get'], apiGroups: [''], resources: ['pods'] };

const rules: readonly { what: string; rule: PolicyRule; action: Partial<DeniedAction>; isAllowed: boolean }[] = [
  { what: 'the resource itself', rule: pods, action: {}, isAllowed: true },
  { what: 'no other verb', rule: pods, action: { verb: 'list' }, isAllowed: false },
  { what: 'no other group', rule: pods, action: { apiGroup: 'apps' }, isAllowed: false },
  { what: 'no subresource of it', rule: pods, action: { subresource: 'exec' }, isAllowed: false },
  {
    what: 'a subresource that is named',
    rule: { ...pods, resources: ['pods/exec'] },
    action: { subresource: 'exec' },
    isAllowed: true,
  },
  {
    what: 'a subresource of any resource by */exec',
    rule: { ...pods, resources: ['*/exec'] },
    action: { subresource: 'exec' },
    isAllowed: true,
  },
  {
    what: 'not the resource by */exec',
    rule: { ...pods, resources: ['*/exec'] },
    action: {},
    isAllowed: false,
  },
  {
    what: 'no wildcard behind the slash: userextras/* is a name',
    rule: { verbs: ['get'], apiGroups: [''], resources: ['pods/*'] },
    action: { subresource: 'exec' },
    isAllowed: false,
  },
  {
    what: 'everything by *',
    rule: { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
    action: { subresource: 'exec' },
    isAllowed: true,
  },
  { what: 'a named object', rule: { ...pods, resourceNames: ['a'] }, action: { name: 'a' }, isAllowed: true },
  { what: 'no other object', rule: { ...pods, resourceNames: ['a'] }, action: { name: 'b' }, isAllowed: false },
  {
    what: 'no list by a rule with names',
    rule: { ...pods, verbs: ['list'], resourceNames: ['a'] },
    action: { verb: 'list' },
    isAllowed: false,
  },
  {
    what: 'a path',
    rule: { verbs: ['get'], nonResourceURLs: ['/version'] },
    action: { isResourceRequest: false, path: '/version' },
    isAllowed: true,
  },
  {
    what: 'paths by prefix',
    rule: { verbs: ['get'], nonResourceURLs: ['/apis/*'] },
    action: { isResourceRequest: false, path: '/apis/apps/v1' },
    isAllowed: true,
  },
  {
    what: 'not the prefix without its slash',
    rule: { verbs: ['get'], nonResourceURLs: ['/apis/*'] },
    action: { isResourceRequest: false, path: '/apis' },
    isAllowed: false,
  },
  {
    what: 'no resource by a rule for paths',
    rule: { verbs: ['*'], nonResourceURLs: ['*'] },
    action: {},
    isAllowed: false,
  },
  {
    what: 'no path by a rule for resources',
    rule: { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
    action: { isResourceRequest: false, path: '/version' },
    isAllowed: false,
  },
];

describe('sandbox ruleAllows', () => {
  for (const { what, rule, action, isAllowed } of rules) {
    it(`${isAllowed ? 'allows' : 'allows not:'} ${what}`, () => {
      expect(ruleAllows(rule, { ...none, ...action })).to.equal(isAllowed);
    });
  }
});

function object(kind: string, metadata: { name: string; namespace?: string }, rest: object): KubeObject {
  return { apiVersion: `${rbacGroup}/v1`, kind, metadata, ...rest };
}

function storeWith(...objects: KubeObject[]): Store {
  const store = new Store({ clock: systemClock });
  for (const item of objects) store.create({ group: rbacGroup, resource: `${item.kind.toLowerCase()}s` }, item);
  return store;
}

const readPods = object('ClusterRole', { name: 'read-pods' }, { rules: [pods] });
const ref = (kind: string, name: string): object => ({ roleRef: { apiGroup: rbacGroup, kind, name } });
const bob: UserInfo = makeUser({ name: 'bob', groups: ['devs'] });

describe('sandbox RbacAuthorizer', () => {
  it('names the binding, the role and the subject that allow', () => {
    const authorizer = new RbacAuthorizer({
      store: storeWith(
        readPods,
        object(
          'ClusterRoleBinding',
          { name: 'everybody' },
          { ...ref('ClusterRole', 'read-pods'), subjects: [{ kind: 'Group', name: 'devs' }] },
        ),
      ),
    });
    expect(authorizer.authorize(bob, none)).to.deep.equal({
      isAllowed: true,
      reason: 'RBAC: allowed by ClusterRoleBinding "everybody" of ClusterRole "read-pods" to Group "devs"',
    });
  });

  it('lets a RoleBinding count in its own namespace only', () => {
    const authorizer = new RbacAuthorizer({
      store: storeWith(
        object('Role', { name: 'r', namespace: 'default' }, { rules: [pods] }),
        object(
          'RoleBinding',
          { name: 'b', namespace: 'default' },
          { ...ref('Role', 'r'), subjects: [{ kind: 'User', name: 'bob' }] },
        ),
      ),
    });
    expect({
      here: authorizer.authorize(bob, none),
      there: authorizer.authorize(bob, { ...none, namespace: 'other' }).isAllowed,
      everywhere: authorizer.authorize(bob, { ...none, namespace: '' }).isAllowed,
    }).to.deep.equal({
      here: { isAllowed: true, reason: 'RBAC: allowed by RoleBinding "b/default" of Role "r" to User "bob"' },
      there: false,
      everywhere: false,
    });
  });

  it('takes a service account without a namespace for one of the binding', () => {
    const account = makeUser({ name: 'system:serviceaccount:default:sa' });
    const subjects = [{ kind: 'ServiceAccount', name: 'sa' }];
    const store = storeWith(
      readPods,
      object('RoleBinding', { name: 'b', namespace: 'default' }, { ...ref('ClusterRole', 'read-pods'), subjects }),
      object('ClusterRoleBinding', { name: 'c' }, { ...ref('ClusterRole', 'read-pods'), subjects }),
    );
    const authorizer = new RbacAuthorizer({ store });
    expect(authorizer.authorize(account, none).reason).to.equal(
      'RBAC: allowed by RoleBinding "b/default" of ClusterRole "read-pods" to ServiceAccount "sa/"',
    );
    expect(authorizer.authorize(account, { ...none, namespace: 'kube-system' }).isAllowed).to.equal(false);
  });

  it('says which role is missing', () => {
    const authorizer = new RbacAuthorizer({
      store: storeWith(
        object(
          'ClusterRoleBinding',
          { name: 'b' },
          { ...ref('ClusterRole', 'gone'), subjects: [{ kind: 'User', name: 'bob' }] },
        ),
      ),
    });
    expect(authorizer.authorize(bob, none)).to.deep.equal({
      isAllowed: false,
      reason: 'RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found',
    });
  });

  it('allows system:masters everything without a reason, and strangers nothing', () => {
    const authorizer = new RbacAuthorizer({ store: storeWith() });
    expect([
      authorizer.authorize(makeUser({ name: 'root', groups: ['system:masters'] }), none),
      authorizer.authorize(bob, none),
    ]).to.deep.equal([
      { isAllowed: true, reason: '' },
      { isAllowed: false, reason: '' },
    ]);
  });

  it('lists the rules of a user, those of the namespace last', () => {
    const own: PolicyRule = { verbs: ['delete'], apiGroups: [''], resources: ['pods'] };
    const authorizer = new RbacAuthorizer({
      store: storeWith(
        readPods,
        object('Role', { name: 'r', namespace: 'default' }, { rules: [own] }),
        object(
          'RoleBinding',
          { name: 'a', namespace: 'default' },
          { ...ref('Role', 'r'), subjects: [{ kind: 'User', name: 'bob' }] },
        ),
        object(
          'ClusterRoleBinding',
          { name: 'z' },
          { ...ref('ClusterRole', 'read-pods'), subjects: [{ kind: 'User', name: 'bob' }] },
        ),
      ),
    });
    expect(authorizer.rulesFor(bob, 'default')).to.deep.equal({ rules: [pods, own], error: '' });
  });
});
