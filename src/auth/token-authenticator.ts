// Bearer tokens by TokenReview, remembered for ten seconds: success and refusal alike, errors never. Concurrent requests with one token ask
// once; the number of questions under way is bounded, for every stranger can make kexer ask one.

import { createHmac, randomBytes } from 'node:crypto';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { SingleFlight, TtlCache } from '../base/ttl-cache.ts';
import type { Reviews, TokenAnswer } from '../kube/reviews.ts';
import { StatusError, tooManyRequests } from '../kube/status.ts';

const ttlMs = 10_000;
const maxEntries = 4096;
const retryAfterSeconds = 1;

export class TokenAuthenticator {
  readonly #reviews: Pick<Reviews, 'reviewToken'>;
  readonly #maxInFlight: number;
  readonly #cache: TtlCache<TokenAnswer>;
  readonly #flights: SingleFlight<TokenAnswer>;
  /** Of this process: the cache holds no token and nothing that could be compared with one elsewhere. */
  readonly #hmacKey: Buffer;

  constructor(deps: { reviews: Pick<Reviews, 'reviewToken'>; clock: Clock }, options: { maxInFlight: number }) {
    this.#reviews = deps.reviews;
    this.#maxInFlight = options.maxInFlight;
    this.#cache = new TtlCache({ clock: deps.clock }, { maxEntries });
    this.#flights = new SingleFlight();
    this.#hmacKey = randomBytes(32);
  }

  /**
   * @throws StatusError 429 if too many reviews are under way; KexerError unreachable, timeout and their like if kube-apiserver had no
   * answer, internal if it refused to answer kexer.
   */
  async authenticate(token: string): Promise<TokenAnswer> {
    const key = createHmac('sha256', this.#hmacKey).update(token).digest('base64');
    const known = this.#cache.get(key);
    if (known !== undefined) return known;
    return this.#flights.run(key, async () => {
      // Inside the flight, so that a token somebody already asks about does not count twice; this flight is not in `size` yet.
      if (this.#flights.size >= this.#maxInFlight) {
        throw new StatusError(
          tooManyRequests('too many tokens are being reviewed, please try again', retryAfterSeconds),
        );
      }
      const answer = await this.#reviews.reviewToken(token).catch(rethrow);
      this.#cache.set(key, answer, ttlMs);
      return answer;
    });
  }
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
