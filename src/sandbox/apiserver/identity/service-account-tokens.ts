// Service account tokens: ES256 JWTs of the sandbox's own key, made as the TokenRequest API makes them and checked as
// kube-apiserver checks them: signature, issuer, audience, time, and that every object the token is bound to still lives.

import { createHash, generateKeyPairSync, type KeyObject, randomUUID, sign, verify } from 'node:crypto';

import type { Clock } from '../../../base/clock.ts';
import { makeUser, serviceAccountGroups, type UserInfo } from '../../../kube/user.ts';
import { tellSecret } from '../../made-secrets.ts';
import type { Store } from '../store.ts';

export const defaultAudience = 'https://kubernetes.default.svc';
const issuer = 'https://kubernetes.default.svc';

/** The object a token dies with, and for pods the node it runs on. */
export interface BoundObject {
  readonly kind: 'Pod' | 'Node' | 'Secret';
  readonly name: string;
  readonly uid: string;
  readonly node?: { readonly name: string; readonly uid: string };
}

export interface TokenOptions {
  readonly audiences?: readonly string[];
  readonly expiresInSeconds?: number;
  readonly bound?: BoundObject;
}

interface Named {
  name: string;
  uid: string;
}

interface Claims {
  aud: string[];
  exp: number;
  iat: number;
  nbf: number;
  iss: string;
  jti: string;
  sub: string;
  'kubernetes.io': { namespace: string; serviceaccount: Named; pod?: Named; node?: Named; secret?: Named };
}

export class ServiceAccountTokens {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #privateKey: KeyObject;
  readonly #publicKey: KeyObject;
  readonly #keyId: string;

  constructor(deps: { store: Store; clock: Clock }) {
    this.#store = deps.store;
    this.#clock = deps.clock;
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#privateKey = pair.privateKey;
    this.#publicKey = pair.publicKey;
    const der = pair.publicKey.export({ type: 'spki', format: 'der' });
    this.#keyId = createHash('sha256').update(der).digest('base64url');
  }

  /** @throws StatusError 404 if the account does not exist. */
  issue(namespace: string, name: string, options: TokenOptions = {}): { token: string; expiresAtMs: number } {
    const account = this.#store.mustGet({ group: '', resource: 'serviceaccounts', namespace, name });
    const nowSeconds = Math.floor(this.#clock.now() / 1000);
    const expiresAt = nowSeconds + (options.expiresInSeconds ?? 3600);
    const { bound } = options;
    const claims: Claims = {
      aud:
        options.audiences === undefined || options.audiences.length === 0 ? [defaultAudience] : [...options.audiences],
      exp: expiresAt,
      iat: nowSeconds,
      nbf: nowSeconds,
      iss: issuer,
      jti: randomUUID(),
      sub: `system:serviceaccount:${namespace}:${name}`,
      'kubernetes.io': {
        namespace,
        serviceaccount: { name, uid: account.metadata.uid ?? '' },
        ...(bound?.kind === 'Pod' ? { pod: { name: bound.name, uid: bound.uid } } : {}),
        ...(bound?.kind === 'Secret' ? { secret: { name: bound.name, uid: bound.uid } } : {}),
        ...(bound?.kind === 'Node' ? { node: { name: bound.name, uid: bound.uid } } : {}),
        ...(bound?.node === undefined ? {} : { node: { ...bound.node } }),
      },
    };
    const head = base64url({ alg: 'ES256', kid: this.#keyId });
    const signed = `${head}.${base64url(claims)}`;
    const signature = sign('sha256', Buffer.from(signed), { key: this.#privateKey, dsaEncoding: 'ieee-p1363' });
    const token = `${signed}.${signature.toString('base64url')}`;
    tellSecret(`a token of the service account ${namespace}/${name}`, token);
    return { token, expiresAtMs: expiresAt * 1000 };
  }

  /** The user of a token and which of the wanted audiences it is for; undefined for anything that is not a valid one. */
  check(token: string, audiences: readonly string[]): { user: UserInfo; audiences: string[] } | undefined {
    const claims = this.#verified(token);
    if (claims === undefined) return undefined;
    const nowSeconds = this.#clock.now() / 1000;
    if (claims.iss !== issuer || claims.exp <= nowSeconds || claims.nbf > nowSeconds + 10) return undefined;
    const common = claims.aud.filter((audience) => audiences.includes(audience));
    if (common.length === 0) return undefined;
    const { namespace, serviceaccount, pod, node, secret } = claims['kubernetes.io'];
    const isAlive =
      this.#lives('serviceaccounts', namespace, serviceaccount) &&
      (pod === undefined || this.#lives('pods', namespace, pod)) &&
      (secret === undefined || this.#lives('secrets', namespace, secret)) &&
      (node === undefined || pod !== undefined || this.#lives('nodes', '', node));
    if (!isAlive) return undefined;
    const extra = new Map<string, readonly string[]>([
      ['authentication.kubernetes.io/credential-id', [`JTI=${claims.jti}`]],
    ]);
    if (node !== undefined) {
      extra.set('authentication.kubernetes.io/node-name', [node.name]);
      extra.set('authentication.kubernetes.io/node-uid', [node.uid]);
    }
    if (pod !== undefined) {
      extra.set('authentication.kubernetes.io/pod-name', [pod.name]);
      extra.set('authentication.kubernetes.io/pod-uid', [pod.uid]);
    }
    const user = makeUser({
      name: claims.sub,
      uid: serviceaccount.uid,
      groups: serviceAccountGroups(namespace),
      extra,
    });
    return { user, audiences: common };
  }

  #lives(resource: string, namespace: string, { name, uid }: Named): boolean {
    return this.#store.get({ group: '', resource, namespace, name })?.metadata.uid === uid;
  }

  #verified(token: string): Claims | undefined {
    const [head = '', body = '', signature = '', ...rest] = token.split('.');
    if (rest.length > 0 || signature === '') return undefined;
    const isSigned = verify(
      'sha256',
      Buffer.from(`${head}.${body}`),
      { key: this.#publicKey, dsaEncoding: 'ieee-p1363' },
      Buffer.from(signature, 'base64url'),
    );
    // Only tokens made above have a signature of this key, so the claims have the shape made there.
    return isSigned ? (JSON.parse(Buffer.from(body, 'base64url').toString()) as Claims) : undefined;
  }
}

function base64url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
