import { expect } from 'chai';

import { Authorizer } from '../../src/auth/authorize.ts';
import { KexerError } from '../../src/base/errors.ts';
import type { AccessAnswer, AccessQuestion } from '../../src/kube/reviews.ts';
import { failure, StatusError } from '../../src/kube/status.ts';
import { makeUser, type UserInfo } from '../../src/kube/user.ts';
import { FakeClock } from '../support/fake-clock.ts';

const question: AccessQuestion = {
  isResourceRequest: true,
  path: '',
  verb: 'create',
  apiGroup: 'backup.cv.io',
  apiVersion: 'v1',
  resource: 'clusters',
  subresource: 'exec',
  namespace: 'default',
  name: 'local',
};
const bob = makeUser({ name: 'bob', groups: ['devs'] });

class Stand {
  readonly clock = new FakeClock();
  readonly asked: string[] = [];
  readonly authorizer: Authorizer;
  answer: Partial<AccessAnswer> | Error = { isAllowed: true };

  constructor() {
    const reviews = {
      reviewAccess: (user: UserInfo): Promise<AccessAnswer> => {
        this.asked.push(user.name);
        if (this.answer instanceof Error) return Promise.reject(this.answer);
        return Promise.resolve({ isAllowed: false, isDenied: false, reason: '', evaluationError: '', ...this.answer });
      },
    };
    this.authorizer = new Authorizer({ reviews, clock: this.clock }, { maxInFlight: 2 });
  }

  async try(user = bob, about: Partial<AccessQuestion> = {}): Promise<unknown> {
    try {
      await this.authorizer.authorize(user, { ...question, ...about });
      return 'allowed';
    } catch (error) {
      if (error instanceof StatusError) return `${error.status.code} ${error.status.message}`;
      return error instanceof KexerError ? error.code : error;
    }
  }
}

describe('Authorizer', () => {
  let stand: Stand;
  beforeEach(() => {
    stand = new Stand();
  });

  it('refuses with the words of kube-apiserver, the reason of the authorizer included', async () => {
    stand.answer = { isAllowed: false, reason: 'no rule' };
    expect(await stand.try()).to.equal(
      '403 clusters.backup.cv.io "local" is forbidden: User "bob" cannot create resource "clusters/exec" in API group "backup.cv.io" in the namespace "default": no rule',
    );
    expect(await stand.try(bob, { isResourceRequest: false, path: '/metrics', verb: 'get' })).to.equal(
      '403 forbidden: User "bob" cannot get path "/metrics": no rule',
    );
  });

  it('remembers allow and deny for ten seconds, for concurrent and later questions', async () => {
    expect(await Promise.all([stand.try(), stand.try()])).to.deep.equal(['allowed', 'allowed']);
    stand.answer = { isAllowed: false };
    stand.clock.advance(9999);
    expect([await stand.try(), stand.asked.length]).to.deep.equal(['allowed', 1]);
    stand.clock.advance(1);
    expect(await stand.try()).to.match(/^403/);
    stand.answer = { isAllowed: true };
    expect(await stand.try()).to.match(/^403/);
    expect(stand.asked).to.have.length(2);
  });

  it('takes no answer for another question or another user, down to the last group and extra', async () => {
    const variants: [UserInfo, Partial<AccessQuestion>][] = [
      [bob, {}],
      [makeUser({ name: 'bob', groups: ['devs', 'admins'] }), {}],
      [makeUser({ name: 'bob', groups: ['devs,admins'] }), {}],
      [makeUser({ name: 'bob', groups: ['devs'], uid: '1' }), {}],
      [makeUser({ name: 'bob', groups: ['devs'], extra: new Map([['k', ['v']]]) }), {}],
      [bob, { verb: 'get' }],
      [bob, { namespace: 'other' }],
      [bob, { name: 'other' }],
      [bob, { subresource: '' }],
      [bob, { isResourceRequest: false, path: '/x' }],
    ];
    for (const [user, about] of variants) await stand.try(user, about);
    expect(stand.asked).to.have.length(variants.length);
  });

  it('takes equal users for one, and no question for another however their parts run together', async () => {
    await stand.try();
    await stand.try(makeUser({ name: 'bob', groups: ['devs'] }));
    expect(stand.asked).to.have.length(1);
    const parts = ['a', 'a"', 'a","', '","a', '"a', 'a\n', '\na', ' ', '[', ']'];
    const asked = new Set<string>();
    for (const namespace of parts) {
      for (const verb of parts) {
        await stand.try(bob, { namespace, verb, apiGroup: '' });
        await stand.try(makeUser({ name: namespace, groups: [verb] }), { namespace: '', verb: '', name: '' });
        asked.add(`${namespace}\0${verb}`);
      }
    }
    expect(stand.asked).to.have.length(1 + 2 * asked.size);
  });

  it('does not remember questions that a caller made long', async () => {
    const name = 'x'.repeat(10_000);
    await stand.try(bob, { name });
    await stand.try(bob, { name });
    expect(stand.asked).to.have.length(2);
  });

  it('allows system:masters without asking', async () => {
    expect(await stand.try(makeUser({ name: 'admin', groups: ['system:masters'] }))).to.equal('allowed');
    expect(stand.asked).to.deep.equal([]);
  });

  it('denies on errors: 500 without a word of kexer’s account, 503 and 504 as they are, and remembers none', async () => {
    const outcomes: unknown[] = [];
    for (const error of [
      new StatusError(failure(403, 'Forbidden', 'User "system:serviceaccount:kexec-system:kexer" cannot create')),
      new KexerError('badGateway', 'nonsense'),
      new Error('boom'),
      new KexerError('unreachable', 'away'),
      new KexerError('timeout', 'late'),
    ]) {
      stand.answer = error;
      outcomes.push(await stand.try());
    }
    stand.answer = { isAllowed: true };
    outcomes.push(await stand.try());
    expect(outcomes).to.deep.equal([
      '500 Internal error occurred: the access review was answered with 403',
      '500 Internal error occurred: the access review failed',
      '500 Internal error occurred: the access review failed',
      'unreachable',
      'timeout',
      'allowed',
    ]);
  });

  it('allows when an authorizer allows in spite of an evaluation error, and not because of one', async () => {
    stand.answer = { isAllowed: true, evaluationError: 'clusterrole "x" not found' };
    expect(await stand.try()).to.equal('allowed');
    stand.answer = { isAllowed: false, evaluationError: 'clusterrole "x" not found' };
    expect(await stand.try(bob, { name: 'other' })).to.match(/^403/);
  });

  it('bounds the reviews under way', async () => {
    const outcomes = await Promise.all(['a', 'b', 'c', 'a'].map((name) => stand.try(bob, { name })));
    expect(outcomes.map((outcome) => String(outcome).slice(0, 3))).to.deep.equal(['all', 'all', '429', 'all']);
  });

  it('tells whether an allowing answer is remembered', async () => {
    const known = (): boolean => stand.authorizer.isRemembered(bob, question);
    const seen = [known()];
    await stand.try();
    seen.push(known());
    stand.clock.advance(10_000);
    seen.push(known());
    stand.answer = { isAllowed: false };
    await stand.try();
    seen.push(known());
    expect(seen).to.deep.equal([false, true, false, false]);
  });
});
