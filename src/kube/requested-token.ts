// A token that kexer asks for itself: a TokenRequest for one ServiceAccount, made with kexer's own credential, which RBAC allows for that
// account alone. So nothing that could impersonate, or enter pods, lies in a file or a Secret, and what leaks is worth an hour. Renewed as
// kubelets renew theirs, at 80 % of its life; only at `read`, so that what nobody uses is not asked for. An old token is used while it lives
// when a renewal fails: an outage of kube-apiserver costs nobody a call that would not need it.

import type { Clock } from '../base/clock.ts';
import { codeOf, KexerError } from '../base/errors.ts';
import { SingleFlight } from '../base/ttl-cache.ts';
import type { KubeClient } from './client.ts';
import type { TokenSource } from './credential.ts';
import { isRecord } from './objects.ts';
import { badGateway, StatusError } from './status.ts';

/** kubectl's and the TokenRequest API's default; a kube-apiserver may give less (--service-account-max-token-expiration). */
const wantedLifeSeconds = 3600;
/** pkg/kubelet/token/token_manager.go: a token is renewed when a fifth of its life is left, up to ten seconds earlier. */
const renewAfter = 0.8;
const maxJitterMs = 10_000;
/** Between a renewal that failed and the next, as long as the token in hand lives. */
const retryMs = 10_000;
/** Between a renewal for a 401 and the next: an apiserver that refuses every token must not be asked for one with each call. */
const refusedRetryMs = 1000;
const timeoutMs = 10_000;

export interface RequestedTokenOptions {
  readonly namespace: string;
  readonly name: string;
  /** What the account is to kexer, as a user may be told: `kexer's impersonator`. */
  readonly purpose: string;
}

interface HeldToken {
  readonly text: string;
  readonly renewAtMs: number;
  readonly expiresAtMs: number;
}

export class RequestedToken implements TokenSource {
  readonly #client: Pick<KubeClient, 'json'>;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #onFailure: (error: unknown) => void;
  readonly #options: RequestedTokenOptions;
  readonly #flight: SingleFlight<string>;
  readonly #counts: { requested: number; failed: number };
  #held: HeldToken | undefined;
  /** kube-apiserver answered 401 to the token in hand. */
  #isRefused: boolean;
  /** Before this, a token that lives is used as it is. */
  #nextTryMs: number;

  constructor(
    deps: {
      /** With kexer's own credential. */
      client: Pick<KubeClient, 'json'>;
      clock: Clock;
      /** From 0 to below 1. */
      random?: () => number;
      /** Each request that brought no token; told even while an older one still serves. */
      onFailure?: (error: unknown) => void;
    },
    options: RequestedTokenOptions,
  ) {
    this.#client = deps.client;
    this.#clock = deps.clock;
    this.#random = deps.random ?? Math.random;
    this.#onFailure = deps.onFailure ?? (() => {});
    this.#options = options;
    this.#flight = new SingleFlight();
    this.#counts = { requested: 0, failed: 0 };
    this.#held = undefined;
    this.#isRefused = false;
    this.#nextTryMs = 0;
  }

  /** Requests made, and those of them that brought no token. */
  get counts(): { readonly requested: number; readonly failed: number } {
    return { ...this.#counts };
  }

  /** When the token in hand ends, by the wall clock; undefined: there is none yet. */
  get expiresAtMs(): number | undefined {
    if (this.#held === undefined) return undefined;
    return Math.round(this.#clock.now() + this.#held.expiresAtMs - this.#clock.monotonic());
  }

  /** kube-apiserver refused the token in hand, say because the account was made anew: the next `read` asks for another. */
  invalidate(): void {
    this.#isRefused = true;
  }

  /**
   * Waits for a request only when there is no token that lives, or when the one in hand was refused.
   * @throws StatusError 502 that names what is missing and no account; KexerError unreachable, timeout, tls and their like.
   */
  async read(): Promise<string> {
    const nowMs = this.#clock.monotonic();
    const held = this.#held;
    if (held === undefined || nowMs >= held.expiresAtMs) return this.#renewed();
    const isDue = this.#isRefused || nowMs >= held.renewAtMs;
    if (!isDue || nowMs < this.#nextTryMs) return held.text;
    const renewal = this.#renewed().catch(() => held.text); // it was told; the old one may still do
    return this.#isRefused ? renewal : held.text;
  }

  #renewed(): Promise<string> {
    return this.#flight.run('', () => this.#request());
  }

  async #request(): Promise<string> {
    const { namespace, name, purpose } = this.#options;
    // Counted from before the question, and by a clock that does not jump: kexer's idea of the date does not matter.
    const askedAtMs = this.#clock.monotonic();
    this.#counts.requested += 1;
    try {
      const answer = await this.#client.json({
        method: 'POST',
        target: `/api/v1/namespaces/${encodeURIComponent(namespace)}/serviceaccounts/${encodeURIComponent(name)}/token`,
        body: {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'TokenRequest',
          // No audience: kube-apiserver then takes its own.
          spec: { expirationSeconds: wantedLifeSeconds },
        },
        timeoutMs,
      });
      const { text, lifeMs } = readTokenRequest(answer, purpose);
      this.#held = {
        text,
        renewAtMs: askedAtMs + lifeMs * renewAfter - this.#random() * maxJitterMs,
        expiresAtMs: askedAtMs + lifeMs,
      };
      this.#nextTryMs = this.#isRefused ? this.#clock.monotonic() + refusedRetryMs : 0;
      this.#isRefused = false;
      return text;
    } catch (error) {
      this.#counts.failed += 1;
      this.#nextTryMs = this.#clock.monotonic() + retryMs;
      const told = explained(error, purpose);
      if (codeOf(told) !== 'draining') this.#onFailure(told);
      throw told;
    }
  }
}

/** What failed was a call of kexer's own: its words, which name kexer's account, are the cause and for the log alone. */
function explained(error: unknown, purpose: string): unknown {
  if (!(error instanceof StatusError)) return error;
  const { code } = error.status;
  if (code >= 500 || code === 429)
    return new KexerError('unreachable', cannot(purpose, `the apiserver answered ${code}`));
  return new StatusError(badGateway(cannot(purpose, reasonOf(code))), { cause: error });
}

function reasonOf(code: number): string {
  if (code === 401) return "kube-apiserver does not accept kexer's own credential";
  if (code === 403) return 'kexer needs the verb "create" on "serviceaccounts/token" of its account';
  if (code === 404) return 'its service account does not exist';
  return `the apiserver answered ${code}`;
}

function cannot(purpose: string, why: string): string {
  return `Cannot get a token of ${purpose}: ${why}`;
}

/** The answer's own `expirationSeconds` is what was really given: kube-apiserver shortens what exceeds its maximum. */
function readTokenRequest(answer: unknown, purpose: string): { text: string; lifeMs: number } {
  const spec = isRecord(answer) ? answer['spec'] : undefined;
  const status = isRecord(answer) ? answer['status'] : undefined;
  const text = isRecord(status) ? status['token'] : undefined;
  const seconds = isRecord(spec) ? spec['expirationSeconds'] : undefined;
  if (typeof text !== 'string' || !/^[\x21-\x7e]+$/.test(text) || typeof seconds !== 'number' || !(seconds > 0)) {
    throw new KexerError('badGateway', cannot(purpose, 'the answer is no TokenRequest with a token in it'));
  }
  return { text, lifeMs: seconds * 1000 };
}
