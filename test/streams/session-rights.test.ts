// What a session stands on, read from its call.

import { expect } from 'chai';

import type { Cluster } from '../../src/clusters/cluster.ts';
import { useQuestion } from '../../src/clusters/remote-identity.ts';
import { makeUser } from '../../src/kube/user.ts';
import { basisOf } from '../../src/streams/session-rights.ts';
import { makeCall } from './support/calls.ts';

const cluster = { name: 'local' } as Cluster;

describe('basisOf', () => {
  const cases: readonly (readonly [
    method: string,
    target: string,
    isUpgrade: boolean,
    inner: string,
    outer: string,
  ])[] = [
    ['POST', 'pods/demo/exec?command=x', true, 'create pods/exec demo', 'create'],
    ['GET', 'pods/demo/exec?command=x', true, 'create pods/exec demo', 'create'],
    ['GET', 'pods/demo/attach', true, 'create pods/attach demo', 'create'],
    ['GET', 'pods/demo/portforward', true, 'create pods/portforward demo', 'create'],
    ['GET', 'pods/demo/log', false, 'get pods/log demo', 'get'],
    ['GET', 'pods/demo/log', true, 'get pods/log demo', 'create'],
    ['GET', 'services/web/proxy/x', true, 'get services/proxy web', 'create'],
    ['GET', 'pods?watch=1', true, 'watch pods/ ', 'create'],
  ];
  for (const [method, target, isUpgrade, wantedInner, wantedOuter] of cases) {
    it(`${method} ${target}${isUpgrade ? '' : ' without an upgrade'}: ${wantedInner}, and ${wantedOuter} of the cluster`, () => {
      const { rights } = basisOf({ ...makeCall(cluster, method, target), isUpgrade });
      const texts = rights.map(
        ({ question }) =>
          `${question.verb} ${question.apiGroup === '' ? '' : `${question.apiGroup}/`}${question.resource}/${question.subresource} ${question.name}`,
      );
      expect(texts).to.deep.equal([wantedInner, `${wantedOuter} backup.cv.io/clusters/exec local`]);
    });
  }

  it('asks the inner right of the effective user and the outer one of the caller', () => {
    const call = makeCall(cluster, 'POST', 'pods/demo/exec');
    const effectiveUser = makeUser({ name: 'bob', groups: ['ops'] });
    const { rights } = basisOf({ ...call, identity: { ...call.identity, effectiveUser } });
    expect(rights.map(({ user }) => user)).to.deep.equal([effectiveUser, call.caller.user]);
  });

  it('asks in another cluster what somebody may do there, and here for the use of its account', () => {
    const useRight = useQuestion({ namespace: 'clusters', name: 'far' });
    const there = {
      user: makeUser({ name: 'hub:alice' }),
      cluster: 'clusters/far',
      key: 'k',
      ask: () => Promise.reject(new Error('nobody asks yet')),
    };
    const rightThere = (): typeof there => there;
    for (const more of [{}, { rightThere }, { useRight, rightThere }]) {
      const far = { name: 'far', kind: 'remote', ...more } as unknown as Cluster;
      const call = { ...makeCall(far, 'POST', 'pods/demo/exec'), clusterNamespace: 'clusters' };
      const { rights } = basisOf(call);
      const texts = rights.map(
        (right) =>
          `${right.user.name} ${right.question.verb} ${right.question.resource}/${right.question.subresource} ${right.there?.cluster ?? 'here'}`,
      );
      expect(texts).to.deep.equal([
        ...('rightThere' in more ? ['hub:alice create pods/exec clusters/far'] : []),
        ...('useRight' in more ? ['alice use clusters/ here'] : []),
        'alice create clusters/exec here',
      ]);
    }
  });

  it('knows when the credential expires, if the caller does', () => {
    const call = makeCall(cluster, 'POST', 'pods/demo/exec');
    const user = makeUser({ name: 'x' });
    expect([
      basisOf({ ...call, caller: { via: 'certificate', user, expiresAtMs: 5 } }).credentialExpiresAtMs,
      basisOf({ ...call, caller: { via: 'token', user, token: 't' } }).credentialExpiresAtMs,
      basisOf({ ...call, caller: { via: 'frontProxy', user } }).credentialExpiresAtMs,
    ]).to.deep.equal([5, undefined, undefined]);
  });
});
