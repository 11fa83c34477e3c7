// TokenReview and SubjectAccessReview: the questions kexer asks kube-apiserver about others, with the retry policy of k8s.io/apiserver's
// webhook clients, the whole bounded by ten seconds. No caching here. A review that failed is an error, never an answer.

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import type { KubeClient } from './client.ts';
import { isRecord } from './objects.ts';
import { StatusError } from './status.ts';
import { diedBeforeAnswer } from './transport-error.ts';
import { makeUser, type UserInfo, userToReviewSpec } from './user.ts';

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

/** k8s.io/apiserver/pkg/util/webhook: DefaultRetryBackoffWithInitialDelay. */
const tries = 5;
const firstDelayMs = 500;
const delayFactor = 1.5;
const jitter = 0.2;
const deadlineMs = 10_000;

export class Reviews {
  readonly #client: Pick<KubeClient, 'json'>;
  readonly #clock: Clock;
  readonly #random: () => number;

  constructor(deps: { client: Pick<KubeClient, 'json'>; clock: Clock; random?: () => number }) {
    this.#client = deps.client;
    this.#clock = deps.clock;
    this.#random = deps.random ?? Math.random;
  }

  /**
   * @param audience whom the token must be meant for; left out: kube-apiserver.
   * @throws StatusError, KexerError if no answer was had: never a sign that the token is bad.
   */
  async reviewToken(token: string, audience?: string): Promise<TokenAnswer> {
    const answer = await this.#ask('/apis/authentication.k8s.io/v1/tokenreviews', {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      spec: { token, ...(audience === undefined ? {} : { audiences: [audience] }) },
    });
    const status = recordAt(answer, 'status');
    if (status['authenticated'] !== true) {
      return { isAuthenticated: false, error: textAt(status, 'error') };
    }
    // An authenticator that knows no audiences leaves them out, and would let a token for anything else pass.
    if (audience !== undefined && !textsAt(status, 'audiences').includes(audience)) {
      return { isAuthenticated: false, error: `the token is not known to be for the audience ${audience}` };
    }
    const user = recordAt(status, 'user');
    const name = textAt(user, 'username');
    if (name === '') throw unreadable('TokenReview', 'the user has no name');
    const extra = user['extra'] === undefined ? {} : recordAt(user, 'extra');
    return {
      isAuthenticated: true,
      user: makeUser({
        name,
        uid: textAt(user, 'uid'),
        groups: textsAt(user, 'groups'),
        extra: new Map(Object.keys(extra).map((key) => [key, textsAt(extra, key)])),
      }),
    };
  }

  /** @throws StatusError, KexerError if no answer was had. */
  async reviewAccess(user: UserInfo, question: AccessQuestion): Promise<AccessAnswer> {
    const answer = await this.#ask('/apis/authorization.k8s.io/v1/subjectaccessreviews', {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      spec: accessReviewSpec(user, question),
    });
    const status = recordAt(answer, 'status');
    const isDenied = status['denied'] === true;
    if (isDenied && status['allowed'] === true) {
      throw unreadable('SubjectAccessReview', 'it returned both allow and deny');
    }
    return {
      isAllowed: status['allowed'] === true,
      isDenied,
      reason: textAt(status, 'reason'),
      evaluationError: textAt(status, 'evaluationError'),
    };
  }

  async #ask(target: string, body: object): Promise<unknown> {
    const endMs = this.#clock.monotonic() + deadlineMs;
    let delayMs = firstDelayMs;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#client.json({ method: 'POST', target, body, timeoutMs: endMs - this.#clock.monotonic() });
      } catch (error) {
        if (attempt === tries || !isRetriable(error)) throw error;
        const waitMs = Math.max(delayMs * (1 + this.#random() * jitter), retryAfterMs(error));
        if (this.#clock.monotonic() + waitMs >= endMs) throw error;
        await new Promise<void>((resolve) => {
          this.#clock.after(waitMs, resolve);
        });
        // A timer may be late, in a busy process by much.
        if (this.#clock.monotonic() >= endMs) throw error;
        delayMs *= delayFactor;
      }
    }
  }
}

/** The `spec` of a SubjectAccessReview, as client-go writes it; also the key under which an answer is remembered. */
export function accessReviewSpec(user: UserInfo, question: AccessQuestion): object {
  const attributes = question.isResourceRequest
    ? {
        resourceAttributes: withoutEmpty({
          namespace: question.namespace,
          verb: question.verb,
          group: question.apiGroup,
          version: question.apiVersion,
          resource: question.resource,
          subresource: question.subresource,
          name: question.name,
        }),
      }
    : { nonResourceAttributes: withoutEmpty({ path: question.path, verb: question.verb }) };
  return { ...attributes, ...userToReviewSpec(user) };
}

function withoutEmpty(fields: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ''));
}

/** DefaultShouldRetry: a connection that was reset, an overloaded or failing apiserver, a suggested delay. */
function isRetriable(error: unknown): boolean {
  if (error instanceof StatusError) {
    const { code, details } = error.status;
    return code === 429 || code === 500 || code === 504 || details?.retryAfterSeconds !== undefined;
  }
  if (!(error instanceof KexerError)) return false;
  return diedBeforeAnswer(error) || error.code === 'cut';
}

function retryAfterMs(error: unknown): number {
  return error instanceof StatusError ? (error.status.details?.retryAfterSeconds ?? 0) * 1000 : 0;
}

function recordAt(value: unknown, key: string): Record<string, unknown> {
  if (isRecord(value)) {
    const inner = value[key];
    if (isRecord(inner)) return inner;
  }
  throw unreadable('review', `it has no ${key}`);
}

function textAt(record: Record<string, unknown>, key: string): string {
  const value = record[key];
  if (value === undefined || value === null) return '';
  if (typeof value !== 'string') throw unreadable('review', `${key} is no string`);
  return value;
}

function textsAt(record: Record<string, unknown>, key: string): string[] {
  const value = record[key];
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) {
    throw unreadable('review', `${key} is no list of strings`);
  }
  return value;
}

function unreadable(kind: string, reason: string): KexerError {
  return new KexerError('badGateway', `Cannot use the apiserver's ${kind}: ${reason}`);
}
