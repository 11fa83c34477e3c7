// TokenReview and SubjectAccessReview: the questions kexer asks kube-apiserver about others, with the retry policy of k8s.io/apiserver's
// webhook clients, the whole bounded by ten seconds. No caching here.

import type { Clock } from '../base/clock.ts';
import type { KubeClient } from './client.ts';
import type { UserInfo } from './user.ts';

/** What a SubjectAccessReview is about; the fields of RequestInfo. */
export interface AccessQuestion {
  readonly isResourceRequest: boolean;
  /** Only for requests that name no resource. */
  readonly path: string;
  readonly verb: string;
  readonly apiGroup: string;
  readonly apiVersion: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
}

export type TokenAnswer =
  | { readonly isAuthenticated: true; readonly user: UserInfo }
  | { readonly isAuthenticated: false; readonly error: string };

export interface AccessAnswer {
  readonly isAllowed: boolean;
  /** An authorizer refused outright; false with `isAllowed` false means nobody had an opinion. */
  readonly isDenied: boolean;
  readonly reason: string;
  readonly evaluationError: string;
}

export class Reviews {
  constructor(_deps: { client: KubeClient; clock: Clock; random?: () => number }) {}

  /** @throws StatusError, KexerError if no answer was had: never a sign that the token is bad. */
  reviewToken(_token: string): Promise<TokenAnswer> {
    throw new Error('not written yet');
  }

  /** @throws StatusError, KexerError if no answer was had. */
  reviewAccess(_user: UserInfo, _question: AccessQuestion): Promise<AccessAnswer> {
    throw new Error('not written yet');
  }
}
