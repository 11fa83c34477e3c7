// Who is it: the union of front proxy, client certificate and bearer token, in the order of k8s.io/apiserver's delegating authenticator.
// The first success wins; errors are collected; no credential at all is 401 too, for kexer is never anonymous, not even by proxy.

import type { Clock } from '../base/clock.ts';
import { codeOf, KexerError } from '../base/errors.ts';
import { StatusError, unauthorized } from '../kube/status.ts';
import { groupUnauthenticated, userAnonymous, type UserInfo, withAuthenticatedGroup } from '../kube/user.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';
import { bearerTokenOf } from './bearer.ts';
import type { Caller } from './caller.ts';
import { userOfCertificate } from './certificate-user.ts';
import { frontProxyUser } from './front-proxy.ts';
import type { PeerIdentity } from './peer-identity.ts';
import type { TokenAuthenticator } from './token-authenticator.ts';
import { tokenExpiryMs } from './token-expiry.ts';
import type { TrustSource } from './trust.ts';

export type { PeerIdentity } from './peer-identity.ts';

export interface AuthenticationInput {
  /** The peer of the connection, undefined if it showed no certificate. The same object for each request on a connection. */
  readonly peer: PeerIdentity | undefined;
  /** Raw and complete: repeated names apart. */
  readonly headers: RawHeaders;
  /** Address of the socket. No header has a say in it: before authentication nobody is believed. */
  readonly source: string;
}

export class Authenticator {
  readonly #trust: TrustSource;
  readonly #tokens: Pick<TokenAuthenticator, 'authenticate'>;
  readonly #clock: Clock;
  /** In their order. */
  readonly #ways: readonly ((input: AuthenticationInput) => Caller | undefined | Promise<Caller | undefined>)[];
  /** By whom the authenticators name: a remembered token names the same one each time, and so does what is made of it. */
  readonly #admittedUsers: WeakMap<UserInfo, UserInfo>;

  constructor(deps: { trust: TrustSource; tokens: Pick<TokenAuthenticator, 'authenticate'>; clock: Clock }) {
    this.#trust = deps.trust;
    this.#tokens = deps.tokens;
    this.#clock = deps.clock;
    this.#ways = [
      (input) => this.#byFrontProxy(input),
      (input) => this.#byCertificate(input),
      (input) => this.#byToken(input),
    ];
    this.#admittedUsers = new WeakMap();
  }

  /** The ConfigMap with the CAs was looked for; before that no certificate counts. */
  get hasSynced(): boolean {
    return this.#trust.hasSynced;
  }

  /**
   * @throws StatusError 401, its cause an AggregateError of what each way objected; 429 when too many reviews are in flight.
   * KexerError unreachable, timeout when kube-apiserver could not be asked about a token and nothing else proved an identity.
   */
  async authenticate(input: AuthenticationInput): Promise<Caller> {
    const objections: unknown[] = [];
    for (const way of this.#ways) {
      try {
        const found = way(input);
        const caller = found instanceof Promise ? await found : found;
        if (caller !== undefined) return this.#admitted(caller);
      } catch (error) {
        if (isNoAnswer(error)) throw error;
        objections.push(error);
      }
    }
    throw new StatusError(unauthorized(), {
      cause: new AggregateError(objections, objections.length === 0 ? 'no credential' : ''),
    });
  }

  #admitted(caller: Caller): Caller {
    const { user } = caller;
    if (isAnonymous(user)) throw new KexerError('unauthenticated', 'Cannot serve an anonymous user');
    let admitted = this.#admittedUsers.get(user);
    if (admitted === undefined) {
      admitted = withAuthenticatedGroup(user);
      this.#admittedUsers.set(user, admitted);
    }
    return { ...caller, user: admitted };
  }

  #byFrontProxy({ peer, headers }: AuthenticationInput): Caller | undefined {
    const trust = this.#trust.current.requestHeader;
    if (peer === undefined || trust === undefined) return undefined;
    const user = frontProxyUser(trust, peer, headers, this.#clock.now());
    return user === undefined ? undefined : { via: 'frontProxy', user };
  }

  #byCertificate({ peer }: AuthenticationInput): Caller | undefined {
    const { clientCa, requestHeader } = this.#trust.current;
    const leaf = peer?.chain[0];
    if (peer === undefined || leaf === undefined || clientCa === undefined) return undefined;
    const nowMs = this.#clock.now();
    const { isTrusted, reason, expiresAtMs } = peer.check(clientCa, nowMs);
    if (!isTrusted) throw new KexerError('unauthenticated', `Cannot trust the client certificate: ${reason}`);
    const user = userOfCertificate(leaf);
    if (user === undefined) return undefined;
    // Where one CA signs both, the front proxy's own certificate must not become a user because its X-Remote-User was lost.
    if (
      requestHeader !== undefined &&
      requestHeader.allowedNames.includes(user.name) &&
      peer.check(requestHeader.ca, nowMs).isTrusted
    ) {
      throw new KexerError('unauthenticated', 'Cannot take the front proxy for a user: it names nobody it speaks for');
    }
    return { via: 'certificate', user, expiresAtMs };
  }

  async #byToken({ headers, source }: AuthenticationInput): Promise<Caller | undefined> {
    const token = bearerTokenOf(headers);
    if (token === undefined) return undefined;
    const answer = await this.#tokens.authenticate(token, source);
    if (!answer.isAuthenticated) throw new KexerError('unauthenticated', `Cannot trust the token: ${answer.error}`);
    const expiresAtMs = tokenExpiryMs(token);
    return { via: 'token', user: answer.user, token, ...(expiresAtMs === undefined ? {} : { expiresAtMs }) };
  }
}

/** The token could not be asked about: that is no refusal of the token, and a client must not throw it away. */
function isNoAnswer(error: unknown): boolean {
  if (error instanceof StatusError) return error.status.code === 429;
  const code = codeOf(error);
  return code === 'unreachable' || code === 'timeout' || code === 'tls' || code === 'cut' || code === 'draining';
}

function isAnonymous(user: UserInfo): boolean {
  return user.name === userAnonymous || user.groups.includes(groupUnauthenticated);
}
