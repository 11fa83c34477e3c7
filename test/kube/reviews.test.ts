import { expect } from 'chai';

import { KexerError } from '../../src/base/errors.ts';
import { accessReviewSpec, type AccessQuestion, Reviews } from '../../src/kube/reviews.ts';
import { failure, StatusError, tooManyRequests } from '../../src/kube/status.ts';
import { makeUser } from '../../src/kube/user.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { readAnswers } from '../support/recordings.ts';

const recorded = (name: string): unknown =>
  JSON.parse(readAnswers('apiserver-answers').find((answer) => answer.name === name)?.response.body ?? '');

const question: AccessQuestion = {
  isResourceRequest: true,
  path: '/api/v1/namespaces/default/pods/tools/exec',
  verb: 'create',
  apiGroup: '',
  apiVersion: 'v1',
  resource: 'pods',
  subresource: 'exec',
  namespace: 'default',
  name: 'tools',
};

interface Call {
  target: string;
  body?: unknown;
  timeoutMs?: number;
}

/** Answers in turn; an Error is thrown. Time passes only while the reviews wait. */
function reviewsWith(...answers: unknown[]): { reviews: Reviews; calls: Call[]; clock: FakeClock } {
  const calls: Call[] = [];
  const clock = new FakeClock();
  const client = {
    json: async (call: Call): Promise<unknown> => {
      calls.push(call);
      const answer = answers.shift();
      if (answer instanceof Error) {
        // The wait begins when this has been thrown.
        setImmediate(() => clock.advance(4000));
        throw answer;
      }
      return answer;
    },
  };
  return { reviews: new Reviews({ client, clock, random: () => 0 }), calls, clock };
}

const reset = new KexerError('unreachable', 'x', {
  cause: Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET', syscall: 'read' }),
});
const refusedConnect = new KexerError('unreachable', 'x', {
  cause: Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED', syscall: 'connect' }),
});

describe('Reviews', () => {
  it('asks whether a token is for an audience, and takes no answer that does not say so', async () => {
    const status = { authenticated: true, user: { username: 'kexer' } };
    const { reviews, calls } = reviewsWith(
      { status: { ...status, audiences: ['peer'] } },
      { status: { ...status, audiences: ['https://kubernetes.default.svc'] } },
      // An authenticator that knows nothing of audiences.
      { status },
    );
    const answers: boolean[] = [];
    for (let turn = 0; turn < 3; turn += 1) {
      answers.push((await reviews.reviewToken('TOKEN', 'peer')).isAuthenticated);
    }
    expect(answers).to.deep.equal([true, false, false]);
    expect(calls[0])
      .to.have.nested.property('body.spec')
      .that.deep.equals({ token: 'TOKEN', audiences: ['peer'] });
  });

  it('reads a token review of a service account, as recorded', async () => {
    const { reviews, calls } = reviewsWith(recorded('TokenReview of a service account'));
    expect(await reviews.reviewToken('TOKEN')).to.deep.equal({
      isAuthenticated: true,
      user: makeUser({
        name: 'system:serviceaccount:default:default',
        uid: 'eb5dacf3-b529-4b40-84df-96d6ba1a2a66',
        groups: ['system:serviceaccounts', 'system:serviceaccounts:default', 'system:authenticated'],
        extra: new Map([['authentication.kubernetes.io/credential-id', ['JTI=44110154-92e8-466a-b7c7-74cd5be2bcb2']]]),
      }),
    });
    expect(calls[0]).to.deep.include({
      target: '/apis/authentication.k8s.io/v1/tokenreviews',
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token: 'TOKEN' } },
    });
  });

  it('reads a refused token, as recorded', async () => {
    const { reviews } = reviewsWith(recorded('TokenReview of garbage'));
    expect(await reviews.reviewToken('nope')).to.deep.equal({ isAuthenticated: false, error: 'invalid bearer token' });
  });

  it('reads access reviews, as recorded', async () => {
    const { reviews } = reviewsWith(
      recorded('SubjectAccessReview, no'),
      recorded('SubjectAccessReview, yes'),
      recorded('SubjectAccessReview by RBAC'),
    );
    const ask = (): Promise<unknown> => reviews.reviewAccess(makeUser({ name: 'bob' }), question);
    const none = { isDenied: false, reason: '', evaluationError: '' };
    expect([await ask(), await ask(), await ask()]).to.deep.equal([
      { ...none, isAllowed: false },
      { ...none, isAllowed: true },
      {
        ...none,
        isAllowed: true,
        reason:
          'RBAC: allowed by ClusterRoleBinding "system:kube-scheduler" of ClusterRole "system:kube-scheduler" to User "system:kube-scheduler"',
      },
    ]);
  });

  it('writes every part of the user and only the parts of the question that are set', () => {
    const user = makeUser({ name: 'bob', uid: 'u', groups: ['a,b', 'c'], extra: new Map([['k/x', ['1', '2']]]) });
    expect(accessReviewSpec(user, { ...question, name: '', subresource: '' })).to.deep.equal({
      resourceAttributes: { namespace: 'default', verb: 'create', version: 'v1', resource: 'pods' },
      user: 'bob',
      uid: 'u',
      groups: ['a,b', 'c'],
      extra: { 'k/x': ['1', '2'] },
    });
    expect(
      accessReviewSpec(makeUser({ name: 'b' }), { ...question, isResourceRequest: false, path: '/x' }),
    ).to.deep.equal({
      nonResourceAttributes: { path: '/x', verb: 'create' },
      user: 'b',
    });
  });

  it('asks again after a reset, an overload or a server error, within ten seconds', async () => {
    const good = recorded('SubjectAccessReview, yes');
    const cases: [name: string, error: Error, calls: number][] = [
      ['reset', reset, 2],
      ['429', new StatusError(tooManyRequests('slow down', 1)), 2],
      ['500', new StatusError(failure(500, 'InternalError', 'x')), 2],
      ['504', new StatusError(failure(504, 'Timeout', 'x')), 2],
      ['503 with a hint', new StatusError(failure(503, '', 'x', { retryAfterSeconds: 1 })), 2],
      ['403', new StatusError(failure(403, 'Forbidden', 'x')), 1],
      ['503 without a hint', new StatusError(failure(503, '', 'x')), 1],
      ['refused', refusedConnect, 1],
      ['a hint beyond the deadline', new StatusError(tooManyRequests('slow down', 60)), 1],
    ];
    for (const [name, error, count] of cases) {
      const { reviews, calls } = reviewsWith(error, good);
      const outcome = await reviews.reviewAccess(makeUser({ name: 'bob' }), question).then(
        () => 'answer',
        (thrown: unknown) => thrown,
      );
      expect([calls.length, outcome], name).to.deep.equal([count, count === 2 ? 'answer' : error]);
    }
  });

  it('gives up at its deadline, and no call may outlast it', async () => {
    const { reviews, calls } = reviewsWith(reset, reset, reset, reset, reset, reset);
    const outcome = await reviews.reviewToken('t').catch((error: unknown) => error);
    expect(outcome).to.equal(reset);
    expect(calls.map(({ timeoutMs }) => timeoutMs)).to.deep.equal([10_000, 6000, 2000]);
  });

  it('takes nothing that is malformed for an answer', async () => {
    const malformed: unknown[] = [
      null,
      {},
      { status: null },
      { status: { authenticated: true } },
      { status: { authenticated: true, user: { username: '' } } },
      { status: { authenticated: true, user: { username: 1 } } },
      { status: { authenticated: true, user: { username: 'a', groups: 'system:masters' } } },
      { status: { authenticated: true, user: { username: 'a', groups: [1] } } },
      { status: { authenticated: true, user: { username: 'a', extra: { k: 'v' } } } },
    ];
    for (const answer of malformed) {
      const { reviews } = reviewsWith(answer);
      const outcome = await reviews.reviewToken('t').catch((error: unknown) => error);
      expect(outcome, JSON.stringify(answer)).to.be.instanceOf(KexerError).and.include({ code: 'badGateway' });
    }
    const { reviews } = reviewsWith(
      { status: { authenticated: 'true' } },
      { status: { allowed: 'true' } },
      { status: { allowed: true, denied: true } },
    );
    expect(await reviews.reviewToken('t')).to.deep.include({ isAuthenticated: false });
    expect(await reviews.reviewAccess(makeUser({ name: 'b' }), question)).to.deep.include({ isAllowed: false });
    expect(await reviews.reviewAccess(makeUser({ name: 'b' }), question).catch(String)).to.match(/both allow and deny/);
  });
});
