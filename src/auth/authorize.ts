// May they: SubjectAccessReview about a user, remembered for ten seconds, allow and deny alike. An error is never an answer.

import type { AccessAnswer, AccessQuestion } from '../kube/reviews.ts';
import type { UserInfo } from '../kube/user.ts';

export type { AccessQuestion } from '../kube/reviews.ts';

export class Authorizer {
  /** @throws StatusError 403 with kube-apiserver's words, 500 if the review failed; KexerError unreachable, timeout. */
  authorize(_user: UserInfo, _question: AccessQuestion): Promise<void> {
    throw new Error('not written yet');
  }

  /** The bare answer. @throws as {@link authorize}, but for 403. */
  review(_user: UserInfo, _question: AccessQuestion): Promise<AccessAnswer> {
    throw new Error('not written yet');
  }

  /** Whether an allowing answer is remembered, so that work may start before `authorize` resolves. */
  isRemembered(_user: UserInfo, _question: AccessQuestion): boolean {
    return false;
  }
}
