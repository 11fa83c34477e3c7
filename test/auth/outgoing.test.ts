import { expect } from 'chai';
import fc from 'fast-check';

import type { Caller } from '../../src/auth/caller.ts';
import { completeUser, impersonationQuestions, wantedUser, writeImpersonation } from '../../src/auth/impersonation.ts';
import { type IdentitySettings, type ImpersonationContext, OutgoingIdentities } from '../../src/auth/outgoing.ts';
import { KexerError } from '../../src/base/errors.ts';
import type { AccessAnswer, AccessQuestion } from '../../src/kube/reviews.ts';
import { encodeStatus, StatusError, statusOf } from '../../src/kube/status.ts';
import { makeUser, type UserInfo } from '../../src/kube/user.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import { readAnswers } from '../support/recordings.ts';

const recorded = (name: string): string | undefined =>
  readAnswers('apiserver-answers').find((answer) => answer.name === name)?.response.body;

const alice = makeUser({ name: 'alice', groups: ['devs', 'system:authenticated'] });
const admin = makeUser({ name: 'admin', groups: ['system:masters', 'system:authenticated'] });
const byCertificate = (user: UserInfo): Caller => ({ via: 'certificate', user });

/** An authorizer by rule that remembers its questions. */
class Rules {
  readonly asked: string[] = [];
  readonly #allows: (question: AccessQuestion) => boolean;

  constructor(allows: (question: AccessQuestion) => boolean = () => false) {
    this.#allows = allows;
  }

  review(user: UserInfo, question: AccessQuestion): Promise<AccessAnswer> {
    const { verb, apiGroup, apiVersion, resource, subresource, namespace, name } = question;
    const what = [apiGroup, apiVersion, namespace, resource, subresource].filter((part) => part !== '').join('/');
    this.asked.push(`${user.name} ${verb} ${what} ${name}`);
    return Promise.resolve({ isAllowed: this.#allows(question), isDenied: false, reason: '', evaluationError: '' });
  }
}

const on: IdentitySettings = { impersonation: true, allowPrivileged: true };

function identities(rules: Rules, settings: Partial<IdentitySettings> = {}): OutgoingIdentities {
  return new OutgoingIdentities({ authorizer: rules }, { ...on, ...settings });
}

async function refusalOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'no error';
  } catch (error) {
    return encodeStatus(statusOf(error)).toString();
  }
}

describe('OutgoingIdentities', () => {
  describe('of a token caller', () => {
    const caller: Caller = { via: 'token', user: alice, token: 'secret' };

    it('is the same token, even with impersonation off', async () => {
      const rules = new Rules();
      expect(
        await identities(rules, { impersonation: false, allowPrivileged: false }).resolve(caller, []),
      ).to.deep.equal({
        headers: [['Authorization', 'Bearer secret']],
        credential: 'none',
        effectiveUser: alice,
        isEffectiveProven: true,
      });
      expect(rules.asked).to.deep.equal([]);
    });

    it('passes the Impersonate-* that kube-apiserver reads as they are, and claims their user without proof', async () => {
      const rules = new Rules();
      const own: RawHeaders = [
        ['impersonate-user', 'bob'],
        ['Impersonate-User', 'second'],
        ['IMPERSONATE-GROUP', 'a,b'],
        ['Impersonate-Extra-Key%2Fx', 'v'],
        ['Impersonate-Uid', '1'],
      ];
      const inbound: RawHeaders = [
        ['Authorization', 'Bearer other'],
        ['Connection', 'Impersonate-User'],
        ['Accept', '*/*'],
        ['Impersonate-Future', 'x'],
        ...own,
      ];
      expect(await identities(rules).resolve(caller, inbound)).to.deep.equal({
        headers: [['Authorization', 'Bearer secret'], ...own],
        credential: 'none',
        effectiveUser: makeUser({
          name: 'bob',
          uid: '1',
          groups: ['a,b', 'system:authenticated'],
          extra: new Map([['key/x', ['v']]]),
        }),
        isEffectiveProven: false,
      });
      expect(rules.asked).to.deep.equal([]);
    });

    it('leaves it to kube-apiserver to refuse what is malformed', async () => {
      const inbound: RawHeaders = [['Impersonate-Group', 'devs']];
      expect(await identities(new Rules()).resolve(caller, inbound)).to.deep.include({
        headers: [['Authorization', 'Bearer secret'], ...inbound],
        effectiveUser: alice,
      });
    });
  });

  describe('of a certificate or front-proxy caller', () => {
    it('is impersonated whole: name, UID, every group, every extra', async () => {
      const user = makeUser({
        name: 'jöe',
        uid: 'u-1',
        groups: ['a,b', 'system:authenticated'],
        extra: new Map([
          ['authentication.kubernetes.io/credential-id', ['X509SHA256=00']],
          ['Scopes', ['x', 'y, z']],
        ]),
      });
      for (const via of ['certificate', 'frontProxy'] as const) {
        expect(await identities(new Rules()).resolve({ via, user }, [['Authorization', 'Bearer x']])).to.deep.equal({
          headers: [
            ['Impersonate-User', 'j\u00c3\u00b6e'],
            ['Impersonate-Uid', 'u-1'],
            ['Impersonate-Group', 'a,b'],
            ['Impersonate-Group', 'system:authenticated'],
            ['Impersonate-Extra-authentication.kubernetes.io%2Fcredential-id', 'X509SHA256=00'],
            ['Impersonate-Extra-%53copes', 'x'],
            ['Impersonate-Extra-%53copes', 'y, z'],
          ],
          credential: 'impersonator',
          effectiveUser: user,
          isEffectiveProven: true,
        });
      }
    });

    it('is refused with impersonation off, by a text that names the setting and says that tokens work', async () => {
      const text = await refusalOf(identities(new Rules(), { impersonation: false }).resolve(byCertificate(alice), []));
      expect(text).to.match(/"code":403/);
      expect(text).to.match(
        /User \\"alice\\" cannot be passed on .* identity\.impersonation is off; bearer tokens work/,
      );
    });

    it('needs identity.allowPrivileged for system:masters and nodes', async () => {
      const node = makeUser({ name: 'system:node:node1', groups: ['system:nodes'] });
      const narrow = identities(new Rules(), { allowPrivileged: false });
      expect(await refusalOf(narrow.resolve(byCertificate(admin), []))).to.match(/identity\.allowPrivileged is off/);
      expect(await refusalOf(narrow.resolve(byCertificate(node), []))).to.match(/identity\.allowPrivileged is off/);
      expect((await narrow.resolve(byCertificate(alice), [])).effectiveUser).to.equal(alice);
    });

    it('fails where the identity cannot be written exactly', async () => {
      const users: [string, UserInfo][] = [
        ['a line break in the name', makeUser({ name: 'a\r\nImpersonate-Group: system:masters' })],
        ['a blank at an end', makeUser({ name: 'alice ' })],
        ['a tab at an end', makeUser({ name: '\talice' })],
        ['NUL', makeUser({ name: 'a\0b' })],
        ['DEL in a group', makeUser({ name: 'a', groups: ['x\x7f'] })],
        ['a lone surrogate', makeUser({ name: 'a', groups: ['\ud800'] })],
        ['a line break in an extra', makeUser({ name: 'a', extra: new Map([['k', ['v\n']]]) })],
        ['a line break in a UID', makeUser({ name: 'a', uid: '1\n' })],
        ['a lone surrogate in a key', makeUser({ name: 'a', extra: new Map([['\ud800', ['v']]]) })],
      ];
      for (const [name, user] of users) {
        const error = await identities(new Rules())
          .resolve(byCertificate(user), [])
          .catch((thrown: unknown) => thrown);
        expect(error, name).to.be.instanceOf(KexerError).and.include({ code: 'forbidden' });
      }
    });
  });

  describe('of a certificate caller with --as', () => {
    const inbound: RawHeaders = [
      ['Impersonate-User', 'bob'],
      ['Impersonate-Uid', '7'],
      ['Impersonate-Group', 'a,b'],
      ['Impersonate-Group', 'c'],
      ['Impersonate-Extra-Key%2Fx', 'v'],
      ['Impersonate-Extra-backup.cv.io%2Foriginal-user', 'somebody-else'],
    ];

    it('asks for each part, then is that user, with the caller in an extra that nobody can write', async () => {
      const rules = new Rules(() => true);
      const identity = await identities(rules).resolve(byCertificate(alice), inbound);
      expect(rules.asked).to.deep.equal([
        'alice impersonate v1/users bob',
        'alice impersonate authentication.k8s.io/v1/uids 7',
        'alice impersonate v1/groups a,b',
        'alice impersonate v1/groups c',
        'alice impersonate authentication.k8s.io/v1/userextras/key/x v',
        'alice impersonate authentication.k8s.io/v1/userextras/backup.cv.io/original-user somebody-else',
      ]);
      expect(identity).to.deep.include({ credential: 'impersonator', isEffectiveProven: true });
      expect(identity.headers).to.deep.equal([
        ['Impersonate-User', 'bob'],
        ['Impersonate-Uid', '7'],
        ['Impersonate-Group', 'a,b'],
        ['Impersonate-Group', 'c'],
        ['Impersonate-Group', 'system:authenticated'],
        ['Impersonate-Extra-key%2Fx', 'v'],
        ['Impersonate-Extra-backup.cv.io%2Foriginal-user', 'alice'],
      ]);
      expect(identity.effectiveUser.name).to.equal('bob');
    });

    it('is refused when one part is, in the words of kube-apiserver up to 1.35', async () => {
      const refused = async (denied: string, headers = inbound): Promise<string | undefined> => {
        const rules = new Rules(({ resource }) => resource !== denied);
        const error = await identities(rules)
          .resolve(byCertificate(alice), headers)
          .catch((thrown: unknown) => thrown);
        return error instanceof StatusError ? error.status.message : String(error);
      };
      const account: RawHeaders = [['Impersonate-User', 'system:serviceaccount:ns1:sa1']];
      expect([
        await refused('users'),
        await refused('groups'),
        await refused('uids'),
        await refused('userextras'),
        await refused('serviceaccounts', account),
      ]).to.deep.equal([
        'users "bob" is forbidden: User "alice" cannot impersonate resource "users" in API group "" at the cluster scope',
        'groups "a,b" is forbidden: User "alice" cannot impersonate resource "groups" in API group "" at the cluster scope',
        'uids.authentication.k8s.io "7" is forbidden: User "alice" cannot impersonate resource "uids" in API group "authentication.k8s.io" at the cluster scope',
        'userextras.authentication.k8s.io "v" is forbidden: User "alice" cannot impersonate resource "userextras/key/x" in API group "authentication.k8s.io" at the cluster scope',
        'serviceaccounts "sa1" is forbidden: User "alice" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "ns1"',
      ]);
    });

    const context: ImpersonationContext = {
      isConstrained: true,
      inner: {
        isResourceRequest: true,
        path: '',
        verb: 'list',
        apiGroup: '',
        apiVersion: 'v1',
        resource: 'pods',
        subresource: '',
        namespace: 'default',
        name: '',
      },
    };

    it('is refused in the words of kube-apiserver since 1.36, as recorded', async () => {
      const sched = byCertificate(makeUser({ name: 'system:kube-scheduler' }));
      const text = await refusalOf(identities(new Rules()).resolve(sched, [['Impersonate-User', 'bob']], context));
      expect(text).to.equal(recorded('as bob by somebody who may not'));
    });

    it('names the mode that takes the wanted user', async () => {
      const messages: unknown[] = [];
      const users: RawHeaders[] = [
        [['Impersonate-User', 'system:serviceaccount:ns1:sa1']],
        [['Impersonate-User', 'system:node:node1']],
        // No constrained mode takes an account with groups: the legacy refusal is the first.
        [
          ['Impersonate-User', 'system:serviceaccount:ns1:sa1'],
          ['Impersonate-Group', 'g'],
        ],
      ];
      for (const headers of users) {
        const error = await identities(new Rules())
          .resolve(byCertificate(alice), headers, context)
          .catch((thrown: unknown) => thrown);
        messages.push((error as StatusError).status.message?.replace(/.*cannot (\S+) .*/, '$1'));
      }
      expect(messages).to.deep.equal([
        'impersonate-on:serviceaccount:list',
        'impersonate-on:arbitrary-node:list',
        'impersonate',
      ]);
    });

    it('is refused by the legacy rule once the caller has impersonated by it, as kube-apiserver remembers too', async () => {
      const mayBeBob = new Rules(({ resource }) => resource === 'users');
      const asMember: RawHeaders = [
        ['Impersonate-User', 'bob'],
        ['Impersonate-Group', 'devs'],
      ];
      const outgoing = identities(mayBeBob);
      const verbOf = async (user: UserInfo): Promise<string | undefined> => {
        const text = await refusalOf(outgoing.resolve(byCertificate(user), asMember, context));
        return /cannot (\S+) /.exec(text)?.[1];
      };
      expect(await verbOf(alice)).to.equal('impersonate-on:user-info:list');
      await outgoing.resolve(byCertificate(alice), [['Impersonate-User', 'bob']], context);
      expect([await verbOf(alice), await verbOf(makeUser({ name: 'carol' }))]).to.deep.equal([
        'impersonate',
        'impersonate-on:user-info:list',
      ]);
    });

    it('answers a group, UID or extra without a user as recorded', async () => {
      const resolve = (headers: RawHeaders): Promise<string> =>
        refusalOf(identities(new Rules(() => true)).resolve(byCertificate(alice), headers));
      expect(await resolve([['Impersonate-Group', 'devs']])).to.equal(recorded('group without user'));
      expect(await resolve([['Impersonate-Uid', '1']])).to.include(String.raw`UID:\"1\", Groups:[]string(nil)`);
      expect(
        await resolve([
          ['Impersonate-Extra-B', '1'],
          ['Impersonate-Extra-A', '2'],
        ]),
      ).to.include(String.raw`Extra:map[string][]string{\"a\":[]string{\"2\"}, \"b\":[]string{\"1\"}}}`);
    });

    it('needs identity.allowPrivileged for a privileged wish, though the caller may have it', async () => {
      const narrow = identities(new Rules(() => true), { allowPrivileged: false });
      const asMasters: RawHeaders = [
        ['Impersonate-User', 'bob'],
        ['Impersonate-Group', 'system:masters'],
      ];
      expect(await refusalOf(narrow.resolve(byCertificate(alice), asMasters))).to.match(/allowPrivileged is off/);
      // And a privileged caller who becomes somebody ordinary is ordinary.
      const down = await narrow.resolve(byCertificate(admin), [['Impersonate-User', 'bob']]);
      expect(down.effectiveUser.groups).to.deep.equal(['system:authenticated']);
    });

    it('asks no more than a bounded number of questions', async () => {
      const many: RawHeaders = [
        ['Impersonate-User', 'bob'],
        ...Array.from({ length: 300 }, (_, at) => ['Impersonate-Group', `g${at}`] as const),
      ];
      const rules = new Rules(() => true);
      expect(await refusalOf(identities(rules).resolve(byCertificate(alice), many))).to.match(/more than 256/);
      expect(rules.asked).to.deep.equal([]);
    });

    it('cannot be hidden by a Connection header', async () => {
      const headers: RawHeaders = [
        ['Connection', 'Impersonate-User'],
        ['Impersonate-User', 'bob'],
      ];
      const identity = await identities(new Rules(() => true)).resolve(byCertificate(admin), headers);
      expect(identity.effectiveUser.name).to.equal('bob');
    });
  });
});

describe('impersonation', () => {
  it('completes a wish as kube-apiserver does', () => {
    const groupsOf = (name: string, ...groups: string[]): readonly string[] =>
      completeUser(makeUser({ name, groups })).groups;
    expect([
      groupsOf('bob'),
      groupsOf('bob', 'x'),
      groupsOf('bob', 'system:authenticated'),
      groupsOf('bob', 'system:unauthenticated'),
      groupsOf('system:anonymous'),
      groupsOf('system:serviceaccount:ns:sa'),
      groupsOf('system:serviceaccount:ns:sa', 'x'),
    ]).to.deep.equal([
      ['system:authenticated'],
      ['x', 'system:authenticated'],
      ['system:authenticated'],
      ['system:unauthenticated'],
      ['system:unauthenticated'],
      ['system:serviceaccounts', 'system:serviceaccounts:ns', 'system:authenticated'],
      ['x', 'system:authenticated'],
    ]);
  });

  it('reads back exactly what it writes, for any text that may stand in a header', () => {
    const text = fc
      .string({ unit: 'binary', minLength: 1 })
      .filter((value) => value.isWellFormed() && !/[\0-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]$/.test(value));
    const key = fc.string({ unit: 'binary', minLength: 1 }).filter((value) => value.isWellFormed());
    fc.assert(
      fc.property(
        fc.record({
          name: text,
          uid: text,
          groups: fc.array(text),
          extra: fc.array(fc.tuple(key, fc.array(text, { minLength: 1 }))),
        }),
        ({ name, uid, groups, extra }) => {
          const user = makeUser({ name, uid, groups, extra: new Map(extra) });
          expect(wantedUser(writeImpersonation(user))).to.deep.equal(user);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('asks about a service account as such only where the name is one', () => {
    const resources = ['system:serviceaccount:a:b', 'system:serviceaccount:a:b:c', 'system:serviceaccount::b', 'x'].map(
      (name) => impersonationQuestions(makeUser({ name }))[0]?.resource,
    );
    expect(resources).to.deep.equal(['serviceaccounts', 'users', 'users', 'users']);
  });
});
