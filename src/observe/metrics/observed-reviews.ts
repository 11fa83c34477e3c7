// Reviews that are counted: each question that kube-apiserver is really asked, by the answer's status. What is remembered is counted elsewhere.

import type { Clock } from '../../base/clock.ts';
import type { Reviews } from '../../kube/reviews.ts';
import { StatusError } from '../../kube/status.ts';

import type { RequestMetrics, ReviewName } from './request-metrics.ts';

/** kube-apiserver answers a review as it answers the creation of an object. */
const createdStatus = 201;

export class ObservedReviews implements Pick<Reviews, 'reviewToken' | 'reviewAccess'> {
  readonly #reviews: Pick<Reviews, 'reviewToken' | 'reviewAccess'>;
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #metrics: Pick<RequestMetrics, 'reviewed'>;

  constructor(deps: {
    reviews: Pick<Reviews, 'reviewToken' | 'reviewAccess'>;
    clock: Pick<Clock, 'monotonic'>;
    metrics: Pick<RequestMetrics, 'reviewed'>;
  }) {
    this.#reviews = deps.reviews;
    this.#clock = deps.clock;
    this.#metrics = deps.metrics;
  }

  reviewToken(...args: Parameters<Reviews['reviewToken']>): ReturnType<Reviews['reviewToken']> {
    return this.#counted('TokenReview', () => this.#reviews.reviewToken(...args));
  }

  reviewAccess(...args: Parameters<Reviews['reviewAccess']>): ReturnType<Reviews['reviewAccess']> {
    return this.#counted('SubjectAccessReview', () => this.#reviews.reviewAccess(...args));
  }

  async #counted<T>(review: ReviewName, ask: () => Promise<T>): Promise<T> {
    const startedMs = this.#clock.monotonic();
    const ended = (code: number | undefined): void => {
      this.#metrics.reviewed(review, this.#clock.monotonic() - startedMs, code);
    };
    try {
      const answer = await ask();
      ended(createdStatus);
      return answer;
    } catch (error) {
      ended(error instanceof StatusError ? error.status.code : undefined);
      throw error;
    }
  }
}
