// Who is calling: client certificates of the client CA, static tokens, service account tokens, a bearer token in a WebSocket
// subprotocol, and nobody. A credential that was sent and is not good is an error (401) unless another one is; no credential at
// all is system:anonymous. The order and the rules are those of k8s.io/apiserver's union of authenticators.

import type { X509Certificate } from 'node:crypto';

import { anonymousUser, makeUser, type UserInfo, withAuthenticatedGroup } from '../../../kube/user.ts';
import type { HeaderPairs } from '../exchange.ts';
import { defaultAudience, type ServiceAccountTokens } from './service-account-tokens.ts';

/** What the TLS handshake said about the client; `isVerified`: its chain ends in the client CA and is meant for clients. */
export interface ClientCertificate {
  readonly certificate: X509Certificate;
  readonly isVerified: boolean;
}

/** A user and the headers that are left: what proved an identity goes no further, as in WithAuthentication. */
export interface Authenticated {
  readonly user: UserInfo;
  readonly headers: HeaderPairs;
}

export interface TokenAnswer {
  readonly user: UserInfo;
  readonly audiences: readonly string[];
}

const bearerProtocolPrefix = 'base64url.bearer.authorization.k8s.io.';
const userUidOid = '1.3.6.1.4.1.57683.2';

export class Authenticator {
  readonly #staticTokens: ReadonlyMap<string, UserInfo>;
  readonly #accounts: ServiceAccountTokens;

  constructor(deps: { accounts: ServiceAccountTokens }, options: { staticTokens: ReadonlyMap<string, UserInfo> }) {
    this.#accounts = deps.accounts;
    this.#staticTokens = options.staticTokens;
  }

  /** Undefined: 401. */
  authenticate(headers: HeaderPairs, client: ClientCertificate | undefined, nowMs: number): Authenticated | undefined {
    let hasFailed = false;
    if (client !== undefined) {
      const user = client.isVerified ? userOfCertificate(client.certificate, nowMs) : 'bad';
      if (user === 'bad') hasFailed = true;
      else if (user !== undefined) return { user: withAuthenticatedGroup(user), headers: withoutIdentity(headers) };
    }
    const bearer = bearerToken(headers);
    if (bearer !== undefined) {
      const answer = this.token(bearer, [defaultAudience]);
      if (answer !== undefined) return { user: answer.user, headers: withoutIdentity(headers) };
      hasFailed = true;
    }
    const protocol = protocolToken(headers);
    if (protocol !== undefined) {
      const answer = protocol === 'bad' ? undefined : this.token(protocol.token, [defaultAudience]);
      if (answer !== undefined && protocol !== 'bad') {
        return { user: answer.user, headers: withoutIdentity(protocol.headers) };
      }
      hasFailed = true;
    }
    return hasFailed ? undefined : { user: anonymousUser, headers: withoutIdentity(headers) };
  }

  /** A token's user, with system:authenticated, for any of the audiences. */
  token(token: string, audiences: readonly string[]): TokenAnswer | undefined {
    const known = this.#staticTokens.get(token);
    if (known !== undefined) {
      // The token file knows no audiences: its tokens are for the apiserver's own, and only for them.
      const common = audiences.filter((audience) => audience === defaultAudience);
      return common.length === 0 ? undefined : { user: withAuthenticatedGroup(known), audiences: common };
    }
    const account = this.#accounts.check(token, audiences);
    return account === undefined
      ? undefined
      : { user: withAuthenticatedGroup(account.user), audiences: account.audiences };
  }
}

/** x509.CommonNameUserConversion. Undefined: no opinion (no CN); 'bad': an error, as for a certificate out of its time. */
export function userOfCertificate(certificate: X509Certificate, nowMs: number): UserInfo | 'bad' | undefined {
  if (nowMs < certificate.validFromDate.getTime() || nowMs > certificate.validToDate.getTime()) return 'bad';
  const subject = certificate.toLegacyObject().subject as unknown as Record<string, string | string[] | undefined>;
  const name = all(subject['CN']).at(-1) ?? '';
  if (name === '') return undefined;
  const uids = all(subject[userUidOid]);
  if (uids.length > 1 || uids[0] === '') return 'bad';
  const hash = certificate.fingerprint256.replaceAll(':', '').toLowerCase();
  return makeUser({
    name,
    uid: uids[0] ?? '',
    groups: all(subject['O']),
    extra: new Map([['authentication.kubernetes.io/credential-id', [`X509SHA256=${hash}`]]]),
  });
}

function all(value: string | string[] | undefined): string[] {
  return value === undefined ? [] : Array.isArray(value) ? value : [value];
}

/** bearertoken.New: the scheme in any case, the token up to the next space. */
function bearerToken(headers: HeaderPairs): string | undefined {
  const value = headers.find(([name]) => name.toLowerCase() === 'authorization')?.[1].trim() ?? '';
  const [scheme = '', token = ''] = value.split(' ');
  return scheme.toLowerCase() === 'bearer' && token !== '' ? token : undefined;
}

/** websocket.NewProtocolAuthenticator: one token among at least one other subprotocol. */
function protocolToken(headers: HeaderPairs): { token: string; headers: HeaderPairs } | 'bad' | undefined {
  const isWebSocket = headers.some(
    ([name, value]) => name.toLowerCase() === 'upgrade' && value.toLowerCase() === 'websocket',
  );
  if (!isWebSocket) return undefined;
  const offered = headers
    .filter(([name]) => name.toLowerCase() === 'sec-websocket-protocol')
    .flatMap(([, value]) => value.split(','))
    .map((value) => value.trim());
  const tokens = offered.filter((value) => value.startsWith(bearerProtocolPrefix));
  if (tokens.length === 0) return undefined;
  const others = offered.filter((value) => !value.startsWith(bearerProtocolPrefix));
  const encoded = tokens[0]?.slice(bearerProtocolPrefix.length) ?? '';
  if (tokens.length > 1 || others.length === 0 || !/^[\w-]*$/.test(encoded)) return 'bad';
  const rest = headers.filter(([name]) => name.toLowerCase() !== 'sec-websocket-protocol');
  return {
    token: Buffer.from(encoded, 'base64url').toString('utf8'),
    headers: [...rest, ['Sec-WebSocket-Protocol', others.join(',')]],
  };
}

function withoutIdentity(headers: HeaderPairs): HeaderPairs {
  return headers.filter(([name]) => {
    const lower = name.toLowerCase();
    return lower !== 'authorization' && !lower.startsWith('x-remote-');
  });
}
