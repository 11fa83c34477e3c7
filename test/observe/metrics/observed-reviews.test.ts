import { expect } from 'chai';

import { KexerError } from '../../../src/base/errors.ts';
import type { Reviews } from '../../../src/kube/reviews.ts';
import { makeUser } from '../../../src/kube/user.ts';
import { StatusError, unauthorized } from '../../../src/kube/status.ts';
import { ObservedReviews } from '../../../src/observe/metrics/observed-reviews.ts';
import { FakeClock } from '../../support/fake-clock.ts';

describe('ObservedReviews', () => {
  it('counts each question by its answer, and changes neither', async () => {
    const clock = new FakeClock();
    const counted: unknown[] = [];
    const answer = { isAllowed: true, isDenied: false, reason: '', evaluationError: '' };
    const failures = [new StatusError(unauthorized()), new KexerError('timeout', 'slow')];
    const left = failures.slice();
    const asked: unknown[] = [];
    const reviews = new ObservedReviews({
      clock,
      metrics: { reviewed: (...args) => void counted.push(args) },
      reviews: {
        reviewAccess: async (...args: Parameters<Reviews['reviewAccess']>) => {
          asked.push(args[0]);
          clock.advance(5);
          return answer;
        },
        reviewToken: async () => {
          clock.advance(7);
          throw left.shift() ?? new Error('no more');
        },
      },
    });
    const user = makeUser({ name: 'alice' });
    const question = {} as Parameters<Reviews['reviewAccess']>[1];
    expect(await reviews.reviewAccess(user, question)).to.equal(answer);
    for (const failure of failures) {
      expect(await reviews.reviewToken('t').catch((error: unknown) => error)).to.equal(failure);
    }
    expect(asked).to.deep.equal([user]);
    expect(counted).to.deep.equal([
      ['SubjectAccessReview', 5, 201],
      ['TokenReview', 7, 401],
      ['TokenReview', 7, undefined],
    ]);
  });
});
