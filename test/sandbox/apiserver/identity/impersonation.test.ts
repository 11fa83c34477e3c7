import { expect } from 'chai';

import { systemClock } from '../../../../src/base/clock.ts';
import { type DeniedAction, StatusError } from '../../../../src/kube/status.ts';
import { makeUser, type UserInfo } from '../../../../src/kube/user.ts';
import { Impersonator } from '../../../../src/sandbox/apiserver/identity/impersonation.ts';
import { type PolicyRule, RbacAuthorizer, rbacGroup } from '../../../../src/sandbox/apiserver/identity/rbac.ts';
import type { HeaderPairs } from '../../../../src/sandbox/apiserver/exchange.ts';
import { Store } from '../../../../src/sandbox/apiserver/store.ts';

const listPods: DeniedAction = {
  isResourceRequest: true,
  path: '/api/v1/namespaces/default/pods',
  verb: 'list',
  apiGroup: '',
  resource: 'pods',
  subresource: '',
  namespace: 'default',
  name: '',
};

const carol = makeUser({ name: 'carol', groups: ['system:authenticated'] });

function impersonator(rules: readonly PolicyRule[]): Impersonator {
  const store = new Store({ clock: systemClock });
  const metadata = { name: 'x' };
  store.create(
    { group: rbacGroup, resource: 'clusterroles' },
    { apiVersion: 'v1', kind: 'ClusterRole', metadata, rules },
  );
  store.create(
    { group: rbacGroup, resource: 'clusterrolebindings' },
    {
      apiVersion: 'v1',
      kind: 'ClusterRoleBinding',
      metadata,
      roleRef: { kind: 'ClusterRole', name: 'x' },
      subjects: [{ kind: 'User', name: 'carol' }],
    },
  );
  return new Impersonator({ authorizer: new RbacAuthorizer({ store }) });
}

const legacy = (resources: string[], apiGroups = [''], resourceNames?: string[]): PolicyRule => ({
  verbs: ['impersonate'],
  apiGroups,
  resources,
  ...(resourceNames === undefined ? {} : { resourceNames }),
});

function shown(user: UserInfo): object {
  return { name: user.name, uid: user.uid, groups: user.groups, extra: Object.fromEntries(user.extra) };
}

/** The user that comes out, the text of the refusal, or undefined when nobody is to be impersonated. */
function outcome(rules: readonly PolicyRule[], headers: HeaderPairs, action = listPods, requestor = carol): unknown {
  try {
    const result = impersonator(rules).impersonate(requestor, headers, action);
    return result === undefined ? undefined : shown(result.user);
  } catch (error) {
    if (error instanceof StatusError) return `${error.status.code} ${error.message}`;
    throw error;
  }
}

describe('sandbox Impersonator', () => {
  it('does nothing without headers', () => {
    expect(outcome([], [['X-Impersonate-User', 'bob']])).to.equal(undefined);
  });

  it('refuses a group without a user in the words of Go', () => {
    expect(outcome([], [['Impersonate-Group', 'devs']])).to.equal(
      '400 requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"devs"}, Extra:map[string][]string(nil)} without impersonating a user name',
    );
    expect(outcome([], [['Impersonate-Uid', '7']])).to.equal(
      '400 requested &user.DefaultInfo{Name:"", UID:"7", Groups:[]string(nil), Extra:map[string][]string(nil)} without impersonating a user name',
    );
  });

  it('shows the refusal of the constrained mode that was tried first', () => {
    expect(outcome([], [['Impersonate-User', 'bob']])).to.equal(
      '403 pods is forbidden: User "carol" cannot impersonate-on:user-info:list resource "pods" in API group "" in the namespace "default"',
    );
    expect(outcome([], [['Impersonate-User', 'system:serviceaccount:default:sa']])).to.equal(
      '403 pods is forbidden: User "carol" cannot impersonate-on:serviceaccount:list resource "pods" in API group "" in the namespace "default"',
    );
    expect(outcome([], [['Impersonate-User', 'system:node:n1']])).to.equal(
      '403 pods is forbidden: User "carol" cannot impersonate-on:arbitrary-node:list resource "pods" in API group "" in the namespace "default"',
    );
    const apis = { ...listPods, isResourceRequest: false, verb: 'get', path: '/apis' };
    expect(outcome([], [['Impersonate-User', 'bob']], apis)).to.equal(
      '403 forbidden: User "carol" cannot impersonate-on:user-info:get path "/apis"',
    );
  });

  it('takes the legacy verb on each part, with the defaults of groups', () => {
    const rules = [
      legacy(['users'], [''], ['bob']),
      legacy(['groups'], [''], ['devs']),
      legacy(['uids', 'userextras/scopes'], ['authentication.k8s.io']),
    ];
    expect(outcome(rules, [['Impersonate-User', 'bob']])).to.deep.equal({
      name: 'bob',
      uid: '',
      groups: ['system:authenticated'],
      extra: {},
    });
    const all: HeaderPairs = [
      ['impersonate-user', 'bob'],
      ['Impersonate-Group', 'devs'],
      ['Impersonate-Uid', '7'],
      ['Impersonate-Extra-Scopes', 'a'],
      ['Impersonate-Extra-scopes', 'b'],
    ];
    expect(outcome(rules, all)).to.deep.equal({
      name: 'bob',
      uid: '7',
      groups: ['devs', 'system:authenticated'],
      extra: { scopes: ['a', 'b'] },
    });
  });

  it('checks each group, each uid and each value of an extra', () => {
    const onlyBob = [legacy(['users'], [''], ['bob'])];
    const first = 'cannot impersonate-on:user-info:list';
    for (const more of [
      ['Impersonate-Group', 'admins'],
      ['Impersonate-Uid', '7'],
      ['Impersonate-Extra-Scopes', 'a'],
    ] as const) {
      expect(outcome(onlyBob, [['Impersonate-User', 'bob'], more])).to.include(first);
    }
  });

  it('names the legacy check once legacy is what last worked for the user', () => {
    const subject = impersonator([legacy(['users'], [''], ['bob'])]);
    subject.impersonate(carol, [['Impersonate-User', 'bob']], listPods);
    expect(() => subject.impersonate(carol, [['Impersonate-User', 'eve']], listPods)).to.throw(
      StatusError,
      'users "eve" is forbidden: User "carol" cannot impersonate resource "users" in API group "" at the cluster scope',
    );
  });

  it('gives service accounts their groups, and takes given groups instead', () => {
    const rules = [legacy(['serviceaccounts', 'groups'])];
    const user = ['Impersonate-User', 'system:serviceaccount:ns:sa'] as const;
    expect(outcome(rules, [user])).to.have.deep.property('groups', [
      'system:serviceaccounts',
      'system:serviceaccounts:ns',
      'system:authenticated',
    ]);
    expect(outcome(rules, [user, ['Impersonate-Group', 'devs']])).to.have.deep.property('groups', [
      'devs',
      'system:authenticated',
    ]);
  });

  it('makes system:anonymous unauthenticated', () => {
    expect(outcome([legacy(['users'])], [['Impersonate-User', 'system:anonymous']])).to.have.deep.property('groups', [
      'system:unauthenticated',
    ]);
  });

  it('unescapes extra keys and wants a grant for each key', () => {
    const key = 'authentication.kubernetes.io/pod-name';
    const header = ['Impersonate-Extra-Authentication.kubernetes.io%2Fpod-Name', 'p'] as const;
    const user = ['Impersonate-User', 'bob'] as const;
    const rules = [legacy(['users']), legacy([`userextras/${key}`], ['authentication.k8s.io'])];
    expect(outcome(rules, [user, header])).to.have.deep.property('extra', { [key]: ['p'] });
    expect(outcome([legacy(['users']), legacy(['userextras/*'], ['authentication.k8s.io'])], [user, header])).to.be.a(
      'string',
    );
  });

  it('allows user-info by its two verbs, but never system:masters', () => {
    const rules: PolicyRule[] = [
      { verbs: ['impersonate-on:user-info:list'], apiGroups: [''], resources: ['pods'] },
      { verbs: ['impersonate:user-info'], apiGroups: ['authentication.k8s.io'], resources: ['users', 'groups'] },
    ];
    const user = ['Impersonate-User', 'bob'] as const;
    expect(outcome(rules, [user])).to.have.property('name', 'bob');
    expect(outcome(rules, [user], { ...listPods, verb: 'delete' })).to.include('impersonate-on:user-info:delete');
    expect(outcome(rules, [user, ['Impersonate-Group', 'system:masters']])).to.equal(
      '403 groups.authentication.k8s.io "system:masters" is forbidden: User "carol" cannot impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope: impersonating the system:masters group is not allowed',
    );
  });

  it('lets a pod of a node be that node', () => {
    const agent = makeUser({
      name: 'system:serviceaccount:kube-system:carol',
      extra: new Map([['authentication.kubernetes.io/node-name', ['n1']]]),
    });
    expect(outcome([], [['Impersonate-User', 'system:node:n1']], listPods, agent)).to.include(
      'impersonate-on:associated-node:list',
    );
    expect(outcome([], [['Impersonate-User', 'system:node:n2']], listPods, agent)).to.include(
      'impersonate-on:arbitrary-node:list',
    );
  });
});
