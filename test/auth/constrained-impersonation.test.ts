import { expect } from 'chai';

import type { AccessQuestion } from '../../src/auth/authorize.ts';
import { constrainedRefusal } from '../../src/auth/constrained-impersonation.ts';
import { makeUser, type UserInfo } from '../../src/kube/user.ts';

const alice = makeUser({ name: 'alice' });
const inner: AccessQuestion = {
  isResourceRequest: true,
  path: '',
  verb: 'list',
  apiGroup: 'backup.cv.io',
  apiVersion: 'v1',
  resource: 'sessions',
  subresource: '',
  namespace: 'default',
  name: '',
};

/** @returns what is refused and why, up to the place; undefined: nothing. */
async function refusalOf(
  wanted: UserInfo,
  granted: (question: AccessQuestion) => boolean,
): Promise<string | undefined> {
  const review = async (_user: UserInfo, question: AccessQuestion): Promise<never> =>
    ({ isAllowed: granted(question), isDenied: false, reason: '', evaluationError: '' }) as never;
  const error = await constrainedRefusal({ review }, alice, wanted, inner);
  return error?.status.message?.replace(/ is forbidden: User "alice" cannot/, ':');
}

const extra = (entries: Record<string, string[]>): UserInfo =>
  makeUser({ name: 'bob', extra: new Map(Object.entries(entries)) });

describe('constrainedRefusal', () => {
  const mayDo = ({ verb }: AccessQuestion): boolean => verb.startsWith('impersonate-on:');
  const place = 'in API group "authentication.k8s.io" at the cluster scope';

  const cases: readonly (readonly [
    what: string,
    wanted: UserInfo,
    granted: (question: AccessQuestion) => boolean,
    refusal: string | undefined,
  ])[] = [
    [
      'the deed comes first',
      makeUser({ name: 'bob' }),
      () => false,
      'sessions.backup.cv.io: impersonate-on:user-info:list resource "sessions" in API group "backup.cv.io" in the namespace "default"',
    ],
    [
      'then the user',
      makeUser({ name: 'bob', uid: '7', groups: ['g'] }),
      mayDo,
      `users.authentication.k8s.io "bob": impersonate:user-info resource "users" ${place}`,
    ],
    [
      'a node by its name',
      makeUser({ name: 'system:node:n1' }),
      mayDo,
      `nodes.authentication.k8s.io "n1": impersonate:arbitrary-node resource "nodes" ${place}`,
    ],
    [
      'a service account in its namespace',
      makeUser({ name: 'system:serviceaccount:ns1:sa1' }),
      mayDo,
      'serviceaccounts.authentication.k8s.io "sa1": impersonate:serviceaccount resource "serviceaccounts" in API group "authentication.k8s.io" in the namespace "ns1"',
    ],
    [
      'a UID',
      makeUser({ name: 'bob', uid: '7', groups: ['g'] }),
      (question) => mayDo(question) || question.resource === 'users',
      `uids.authentication.k8s.io "7": impersonate:user-info resource "uids" ${place}`,
    ],
    [
      'each group',
      makeUser({ name: 'bob', groups: ['a', 'b'] }),
      ({ resource, name }) => resource !== 'groups' || name === 'a',
      `groups.authentication.k8s.io "b": impersonate:user-info resource "groups" ${place}`,
    ],
    [
      'of four groups one that is not granted, nor all of them',
      makeUser({ name: 'bob', groups: ['a', 'b', 'c', 'd'] }),
      ({ resource, name }) => resource !== 'groups' || !['*', 'd'].includes(name),
      `groups.authentication.k8s.io "d": impersonate:user-info resource "groups" ${place}`,
    ],
    [
      'nothing of four groups where all are granted',
      makeUser({ name: 'bob', groups: ['a', 'b', 'c', 'd'] }),
      ({ resource, name }) => resource !== 'groups' || name === '*',
      undefined,
    ],
    [
      'system:masters, whatever is granted',
      makeUser({ name: 'bob', groups: ['a', 'system:masters'] }),
      () => true,
      `groups.authentication.k8s.io "system:masters": impersonate:user-info resource "groups" ${place}: impersonating the system:masters group is not allowed`,
    ],
    [
      'the empty group',
      makeUser({ name: 'bob', groups: ['', 'a'] }),
      () => true,
      `groups.authentication.k8s.io: impersonate:user-info resource "groups" ${place}: impersonating the empty string group is not allowed`,
    ],
    [
      'an extra',
      extra({ 'acme.io/team': ['x'] }),
      ({ resource }) => resource !== 'userextras',
      `userextras.authentication.k8s.io "x": impersonate:user-info resource "userextras/acme.io/team" ${place}`,
    ],
    [
      'an extra without a domain',
      extra({ team: ['x'] }),
      () => true,
      `userextras.authentication.k8s.io: impersonate:user-info resource "userextras" ${place}: impersonating an invalid key in extra is not allowed: extra.key: Invalid value: "team": must be a domain-prefixed path (such as "acme.io/foo")`,
    ],
    [
      'an empty value of an extra',
      extra({ 'acme.io/team': ['x', ''] }),
      () => true,
      `userextras.authentication.k8s.io: impersonate:user-info resource "userextras" ${place}: impersonating the empty string value in extra is not allowed`,
    ],
    ['nothing that is granted', makeUser({ name: 'bob', uid: '7', groups: ['a'] }), () => true, undefined],
    [
      'nobody whom no mode takes',
      makeUser({ name: 'system:serviceaccount:ns1:sa1', groups: ['g'] }),
      () => false,
      undefined,
    ],
  ];
  for (const [what, wanted, granted, refusal] of cases) {
    it(`refuses ${what}`, async () => {
      expect(await refusalOf(wanted, granted)).to.equal(refusal);
    });
  }
});
