// May they: SubjectAccessReview about a user, remembered for ten seconds, allow and deny alike. The key is the whole question, the user's
// groups and extras included. An error is never an answer: it denies, as a 500, and is not remembered.

import type { Clock } from '../base/clock.ts';
import { codeOf } from '../base/errors.ts';
import { SingleFlight, TtlCache } from '../base/ttl-cache.ts';
import type { AccessAnswer, AccessQuestion, Reviews } from '../kube/reviews.ts';
import { forbiddenAction, internalError, StatusError, tooManyRequests } from '../kube/status.ts';
import { groupMasters, type UserInfo, userToReviewSpec } from '../kube/user.ts';

export type { AccessAnswer, AccessQuestion } from '../kube/reviews.ts';

const ttlMs = 10_000;
/** As k8s.io/apiserver's webhook authorizer. */
const maxEntries = 8192;
/** What a caller controls of the key, in bytes; longer questions are asked each time, so that nobody can fill memory with them. */
const maxRememberedBytes = 10_000;
const defaultMaxInFlight = 1024;
const retryAfterSeconds = 1;

/** kube-apiserver's own answer for this group (authorizerfactory.NewPrivilegedGroups), without asking. */
const privileged: AccessAnswer = Object.freeze({ isAllowed: true, isDenied: false, reason: '', evaluationError: '' });

/** What {@link Authorizer.authorize} refuses; the audit log tells the authorizer's reason apart. */
export class AccessRefused extends StatusError {
  readonly reason: string;

  constructor(user: UserInfo, question: AccessQuestion, reason: string) {
    super(forbiddenAction(user, question, reason));
    this.reason = reason;
  }
}

/** Since the start: questions by where their answer came from, and those refused because too many were under way. */
export interface AccessCounts {
  readonly hit: number;
  readonly joined: number;
  readonly miss: number;
  readonly refused: number;
}

export class Authorizer {
  readonly #reviews: Pick<Reviews, 'reviewAccess'>;
  readonly #maxInFlight: number;
  readonly #cache: TtlCache<AccessAnswer>;
  readonly #flights: SingleFlight<AccessAnswer>;
  readonly #userKeys: WeakMap<UserInfo, string>;
  readonly #counts: { -readonly [K in keyof AccessCounts]: number };

  constructor(deps: { reviews: Pick<Reviews, 'reviewAccess'>; clock: Clock }, options: { maxInFlight?: number } = {}) {
    this.#reviews = deps.reviews;
    this.#maxInFlight = options.maxInFlight ?? defaultMaxInFlight;
    this.#cache = new TtlCache({ clock: deps.clock }, { maxEntries });
    this.#flights = new SingleFlight();
    this.#userKeys = new WeakMap();
    this.#counts = { hit: 0, joined: 0, miss: 0, refused: 0 };
  }

  get counts(): AccessCounts {
    return { ...this.#counts };
  }

  /** @throws StatusError 403 with kube-apiserver's words, and what {@link review} throws. */
  async authorize(user: UserInfo, question: AccessQuestion): Promise<void> {
    const answer = await this.review(user, question);
    if (!answer.isAllowed) throw new AccessRefused(user, question, answer.reason);
  }

  /** The bare answer. @throws StatusError 500 if the review failed, 429 if too many are under way; KexerError unreachable, timeout. */
  async review(user: UserInfo, question: AccessQuestion): Promise<AccessAnswer> {
    if (user.groups.includes(groupMasters)) return privileged;
    const key = keyOf(question, this.#keyOf(user));
    const known = this.#cache.get(key);
    if (known !== undefined) {
      this.#counts.hit += 1;
      return known;
    }
    this.#counts[this.#flights.has(key) ? 'joined' : 'miss'] += 1;
    return this.#flights.run(key, () => this.#ask(key, user, question));
  }

  /** Whether an allowing answer is remembered, so that work may start before `authorize` resolves. */
  isRemembered(user: UserInfo, question: AccessQuestion): boolean {
    return (
      user.groups.includes(groupMasters) || this.#cache.get(keyOf(question, this.#keyOf(user)))?.isAllowed === true
    );
  }

  /** A user is a value: the same one, as of a token that is remembered, is written once. */
  #keyOf(user: UserInfo): string {
    let key = this.#userKeys.get(user);
    if (key === undefined) {
      key = JSON.stringify(userToReviewSpec(user));
      this.#userKeys.set(user, key);
    }
    return key;
  }

  async #ask(key: string, user: UserInfo, question: AccessQuestion): Promise<AccessAnswer> {
    // This flight is not in `size` yet.
    if (this.#flights.size >= this.#maxInFlight) {
      this.#counts.refused += 1;
      throw new StatusError(
        tooManyRequests('too many access reviews are under way, please try again', retryAfterSeconds),
      );
    }
    let answer: AccessAnswer;
    try {
      answer = await this.#reviews.reviewAccess(user, question);
    } catch (error) {
      throw refusalOf(error);
    }
    if (callerControlledBytes(question) < maxRememberedBytes) this.#cache.set(key, answer, ttlMs);
    return answer;
  }
}

/** A failed review: the apiserver's absence stays what it is (503, 504); all else is a 500 that names no account of kexer's. */
function refusalOf(error: unknown): unknown {
  const code = error instanceof StatusError ? 'internal' : codeOf(error);
  if (code === 'unreachable' || code === 'timeout' || code === 'draining') return error;
  const text =
    error instanceof StatusError
      ? `the access review was answered with ${error.status.code}`
      : 'the access review failed';
  return new StatusError(internalError(text), { cause: error });
}

/** Texts in JSON, so that no two questions have one key whatever is in their parts. */
function keyOf(question: AccessQuestion, userKey: string): string {
  const { isResourceRequest, path, verb, apiGroup, apiVersion, resource, subresource, namespace, name } = question;
  const asked = isResourceRequest ? [namespace, verb, apiGroup, apiVersion, resource, subresource, name] : [path, verb];
  return `${JSON.stringify(asked)} ${userKey}`;
}

/** Webhook authorizer: shouldCache. */
function callerControlledBytes(question: AccessQuestion): number {
  const { namespace, verb, apiGroup, apiVersion, resource, subresource, name, path } = question;
  return [namespace, verb, apiGroup, apiVersion, resource, subresource, name, path].reduce(
    (sum, text) => sum + Buffer.byteLength(text),
    0,
  );
}
