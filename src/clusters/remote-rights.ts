// What somebody may do in a cluster that a Secret names, asked there: by a SelfSubjectAccessReview as whoever the call is there, which everybody may
// send. It leaves no trace of an exec that nobody ran, in no audit log and no admission webhook there. Only that cluster's own word is a
// refusal; whatever else keeps an answer away throws.

import { accessReviewSpec, type AccessAnswer, type AccessQuestion } from '../kube/reviews.ts';
import { isRecord } from '../kube/objects.ts';
import { badGateway, StatusError } from '../kube/status.ts';
import type { UserInfo } from '../kube/user.ts';

import type { Call } from './call.ts';
import type { ApiAnswer } from './cluster.ts';
import type { ClusterCalls } from './cluster-calls.ts';

const reviewTimeoutMs = 10_000;

/** A right in another cluster, as far as it can be asked for again while a session stands on it. */
export interface RightThere {
  /** Whom that cluster knows the call as. */
  readonly user: UserInfo;
  /** NAMESPACE/NAME of the Secret. */
  readonly cluster: string;
  /** The same for all calls that go to the same place in the same way. */
  readonly key: string;
  /** @throws StatusError, KexerError if no answer was had. */
  ask(question: AccessQuestion): Promise<AnswerThere>;
}

export interface AnswerThere extends AccessAnswer {
  /** Why nobody may, where that is not about the question: the account of the Secret lost its own rights. */
  readonly why?: string;
}

export interface ReviewOptions {
  /** NAMESPACE/NAME */
  readonly name: string;
  readonly userAgent: string;
  readonly signal: AbortSignal;
}

/** @throws StatusError 502 if what came is no review; what {@link ClusterCalls.post} throws. */
export async function reviewThere(
  calls: Pick<ClusterCalls, 'post'>,
  call: Call,
  question: AccessQuestion,
  { name, userAgent, signal }: ReviewOptions,
): Promise<AccessAnswer> {
  // Who asks is in the call's identity.
  const { resourceAttributes, nonResourceAttributes } = accessReviewSpec(call.caller.user, question) as {
    resourceAttributes?: object;
    nonResourceAttributes?: object;
  };
  const answer = await calls.post(call, {
    method: 'POST',
    target: '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
    headers: [
      ['Accept', 'application/json'],
      ['Content-Type', 'application/json'],
      ['User-Agent', userAgent],
    ],
    body: Buffer.from(
      JSON.stringify({
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectAccessReview',
        spec: { resourceAttributes, nonResourceAttributes },
      }),
    ),
    timeoutMs: reviewTimeoutMs,
    signal,
  });
  const status = reviewStatus(answer);
  if (status === undefined) {
    throw new StatusError(badGateway(`cluster "${name}" did not answer a SelfSubjectAccessReview (${answer.status})`));
  }
  return {
    isAllowed: status['allowed'] === true,
    isDenied: status['denied'] === true,
    reason: textAt(status, 'reason'),
    evaluationError: textAt(status, 'evaluationError'),
  };
}

/**
 * A failure to ask that is an answer all the same: that cluster refuses the account of the Secret, or refuses it to act as this user.
 * @returns undefined: no answer
 */
export function refusalOfAccount(error: unknown): AnswerThere | undefined {
  if (!(error instanceof StatusError) || !(error.cause instanceof StatusError)) return undefined;
  const { code } = error.cause.status;
  if (code !== 401 && code !== 403) return undefined;
  return { isAllowed: false, isDenied: false, reason: '', evaluationError: '', why: error.message };
}

function reviewStatus({ status, body }: ApiAnswer): Readonly<Record<string, unknown>> | undefined {
  if (status < 200 || status > 299) return undefined;
  try {
    const review: unknown = JSON.parse(body.toString('utf8'));
    const answer = isRecord(review) ? review['status'] : undefined;
    return isRecord(answer) ? answer : undefined;
  } catch {
    return undefined; // the caller says that there was no answer
  }
}

function textAt(record: Readonly<Record<string, unknown>>, key: string): string {
  const value = record[key];
  return typeof value === 'string' ? value : '';
}
