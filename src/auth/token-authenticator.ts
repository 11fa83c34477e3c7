// Bearer tokens by TokenReview, remembered for ten seconds: success and refusal alike, errors never. Concurrent requests with one token ask
// once; the number of questions under way is bounded, for every stranger can make kexer ask one, and so is what one address has of it: who
// tries tokens in bulk leaves room for others. An address is a socket's; what a stranger writes in headers is no address.

import { hash, randomBytes } from 'node:crypto';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { Slots } from '../base/slots.ts';
import { SingleFlight, TtlCache } from '../base/ttl-cache.ts';
import type { Reviews, TokenAnswer } from '../kube/reviews.ts';
import { StatusError, tooManyRequests } from '../kube/status.ts';

const ttlMs = 10_000;
const maxEntries = 4096;
const retryAfterSeconds = 1;

export interface TokenLimits {
  /** Reviews under way. */
  readonly maxInFlight: number;
  /** Of these, begun by requests of one address; 0 or absent: no limit. */
  readonly maxInFlightPerSource?: number;
  /** Requests of one address that wait for a review, their own or another's of the same token; 0 or absent: no limit. */
  readonly maxWaitingPerSource?: number;
}

/** Since the start. */
export interface TokenCounts {
  /** Questions by where their answer came from: memory, a review under way, a review of their own. */
  readonly hit: number;
  readonly joined: number;
  readonly miss: number;
  /** Refused because too many of one address waited, or too many reviews were under way. */
  readonly refusedWaiting: number;
  readonly refusedReviews: number;
}

export class TokenAuthenticator {
  readonly #reviews: Pick<Reviews, 'reviewToken'>;
  readonly #maxInFlight: number;
  readonly #reviewing: Slots;
  readonly #waiting: Slots;
  readonly #cache: TtlCache<TokenAnswer>;
  readonly #flights: SingleFlight<TokenAnswer>;
  /** Of this process: the cache holds no token and nothing that could be compared with one elsewhere. */
  readonly #salt: string;
  readonly #counts: { -readonly [K in keyof TokenCounts]: number };

  constructor(deps: { reviews: Pick<Reviews, 'reviewToken'>; clock: Clock }, options: TokenLimits) {
    this.#reviews = deps.reviews;
    this.#maxInFlight = options.maxInFlight;
    this.#reviewing = new Slots({ perKey: options.maxInFlightPerSource ?? 0, total: 0 });
    this.#waiting = new Slots({ perKey: options.maxWaitingPerSource ?? 0, total: 0 });
    this.#cache = new TtlCache({ clock: deps.clock }, { maxEntries });
    this.#flights = new SingleFlight();
    this.#salt = randomBytes(32).toString('base64');
    this.#counts = { hit: 0, joined: 0, miss: 0, refusedWaiting: 0, refusedReviews: 0 };
  }

  get counts(): TokenCounts {
    return { ...this.#counts };
  }

  /**
   * @param source address of the socket by which the token came.
   * @throws StatusError 429 if too many reviews are under way, or too many requests of this address wait for one; KexerError unreachable,
   * timeout and their like if kube-apiserver had no answer, internal if it refused to answer kexer.
   */
  async authenticate(token: string, source: string): Promise<TokenAnswer> {
    // In one step: an Hmac object cost 6 % of an ordinary call. Nobody sees the digests, so that they could be extended is no matter.
    const key = hash('sha256', this.#salt + token, 'base64');
    const known = this.#cache.get(key);
    if (known !== undefined) {
      this.#counts.hit += 1;
      return known;
    }
    if (this.#waiting.fullFor(source) !== undefined) {
      this.#counts.refusedWaiting += 1;
      throw refusal('too many requests from this address wait for their tokens to be reviewed, please try again');
    }
    const place = this.#waiting.take(source);
    this.#counts[this.#flights.has(key) ? 'joined' : 'miss'] += 1;
    try {
      return await this.#flights.run(key, () => this.#review(key, token, source));
    } finally {
      place.release();
    }
  }

  /** Runs as a flight, so that a token somebody already asks about does not count twice; this flight is not in `size` yet. */
  async #review(key: string, token: string, source: string): Promise<TokenAnswer> {
    if (this.#flights.size >= this.#maxInFlight) {
      this.#counts.refusedReviews += 1;
      throw refusal('too many tokens are being reviewed, please try again');
    }
    if (this.#reviewing.fullFor(source) !== undefined) {
      this.#counts.refusedReviews += 1;
      throw refusal('too many tokens from this address are being reviewed, please try again');
    }
    const slot = this.#reviewing.take(source);
    try {
      const answer = await this.#reviews.reviewToken(token).catch(rethrow);
      this.#cache.set(key, answer, ttlMs);
      return answer;
    } finally {
      slot.release();
    }
  }
}

function refusal(message: string): StatusError {
  return new StatusError(tooManyRequests(message, retryAfterSeconds));
}

/** A Status about kexer's own call is none of the caller's: it would name kexer's account, and look like an answer to the caller's call. */
function rethrow(error: unknown): never {
  if (!(error instanceof StatusError)) throw error;
  const { code } = error.status;
  throw new KexerError(
    code >= 500 || code === 429 ? 'unreachable' : 'internal',
    `Cannot review a token: the apiserver answered ${code}`,
    { cause: code >= 500 ? undefined : error },
  );
}
