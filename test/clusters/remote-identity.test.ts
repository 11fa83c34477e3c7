// As whom a call leaves for another cluster, and what of this cluster's names may mean somebody there.

import { expect } from 'chai';

import type { Caller } from '../../src/auth/caller.ts';
import { remoteIdentity, remoteUser } from '../../src/clusters/remote-identity.ts';
import type { AccessQuestion } from '../../src/kube/reviews.ts';
import { forbiddenAction, StatusError } from '../../src/kube/status.ts';
import { makeUser, type UserInfo } from '../../src/kube/user.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';

const alice = makeUser({
  name: 'alice',
  uid: 'u1',
  groups: ['devs', 'system:masters', 'system:authenticated', 'system:serviceaccounts'],
  extra: new Map([
    ['authentication.kubernetes.io/credential-id', ['JTI=1']],
    ['Authentication.Kubernetes.io/pod-name', ['p']],
    ['example.org/team', ['a', 'b']],
  ]),
});

describe('remoteIdentity', () => {
  let asked: [string, AccessQuestion][];
  let isAllowed: boolean;

  beforeEach(() => {
    asked = [];
    isAllowed = true;
  });

  function identify(
    identity: 'shared' | 'impersonate',
    user: UserInfo,
    options: { prefix?: string; headers?: RawHeaders; via?: 'certificate' | 'token' | 'frontProxy' } = {},
  ): ReturnType<typeof remoteIdentity> {
    const { prefix = '', headers = [], via = 'token' } = options;
    const caller: Caller = via === 'token' ? { via, user, token: 'users-own' } : { via, user };
    const authorizer = {
      authorize: async (who: UserInfo, question: AccessQuestion) => {
        asked.push([who.name, question]);
        if (!isAllowed) throw new StatusError(forbiddenAction(who, question));
      },
    };
    return remoteIdentity({ authorizer }, caller, headers, { namespace: 'clusters', name: 'far', identity, prefix });
  }

  it('is the account alone where it is shared, for who has the verb use', async () => {
    const identity = await identify('shared', alice);
    expect(identity).to.deep.equal({
      credential: 'cluster',
      headers: [],
      effectiveUser: alice,
      isEffectiveProven: true,
    });
    expect(asked).to.have.length(1);
    expect(asked[0]?.[1]).to.deep.include({
      verb: 'use',
      apiGroup: 'backup.cv.io',
      resource: 'clusters',
      subresource: '',
      namespace: 'clusters',
      name: 'far',
    });
    isAllowed = false;
    expect(await failure(identify('shared', alice))).to.deep.equal([
      403,
      'clusters.backup.cv.io "far" is forbidden: User "alice" cannot use resource "clusters" in API group "backup.cv.io" in the namespace "clusters"',
    ]);
  });

  it('names the caller where they are impersonated, and asks nothing', async () => {
    for (const via of ['certificate', 'token', 'frontProxy'] as const) {
      const { headers, effectiveUser, credential } = await identify('impersonate', alice, { prefix: 'hub:', via });
      expect([credential, effectiveUser.name]).to.deep.equal(['cluster', 'alice']);
      expect(headers).to.deep.equal(
        [
          ['Impersonate-User', 'hub:alice'],
          ['Impersonate-Group', 'hub:devs'],
          ['Impersonate-Group', 'system:authenticated'],
          ['Impersonate-Extra-example.org%2fteam', 'a'],
          ['Impersonate-Extra-example.org%2fteam', 'b'],
        ].map(([name = '', value]) => [name.replace('%2f', '%2F'), value]),
      );
    }
    expect(asked).to.deep.equal([]);
  });

  for (const name of ['system:admin', 'system:serviceaccount:a:b', 'system:node:n', 'system:anonymous']) {
    it(`passes ${name} on to nobody, whatever the prefix`, async () => {
      for (const prefix of ['', 'hub:']) {
        expect(await failure(identify('impersonate', makeUser({ name }), { prefix }))).to.deep.equal([
          403,
          `forbidden: User "${name}" cannot be passed on to cluster "clusters/far": names that begin with system: are not`,
        ]);
      }
    });
  }

  for (const identity of ['shared', 'impersonate'] as const) {
    for (const header of ['Impersonate-User', 'impersonate-group', 'Impersonate-Extra-a', 'IMPERSONATE-UID']) {
      it(`refuses ${header} of a caller, ${identity}`, async () => {
        const [code, message] = await failure(identify(identity, alice, { headers: [[header, 'root']] }));
        expect([code, asked]).to.deep.equal([403, []]);
        expect(message).to.equal(
          `forbidden: User "alice" cannot impersonate in cluster "clusters/far": nobody's --as goes to another cluster`,
        );
      });
    }
  }

  it('makes no group of the system out of one with a prefix', () => {
    const user = makeUser({ name: 'x', groups: ['masters', 'system:masters'] });
    expect(remoteUser(user, 'hub:').groups).to.deep.equal(['hub:masters']);
  });
});

async function failure(result: Promise<unknown>): Promise<[number, string | undefined]> {
  const error: unknown = await result.catch((reason: unknown) => reason);
  if (!(error instanceof StatusError)) throw new Error(`no refusal: ${String(error)}`);
  return [error.status.code, error.status.message];
}
