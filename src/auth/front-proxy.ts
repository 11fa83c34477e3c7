// The user for whom kube-apiserver's aggregation layer speaks: X-Remote-* headers, believed only from a peer whose certificate leads to the
// request-header CA and has an allowed name (k8s.io/apiserver's headerrequest). Read from raw headers: a comma inside a group is part of it.

import { KexerError } from '../base/errors.ts';
import { makeUser, type UserInfo } from '../kube/user.ts';
import { getAllHeaders, getHeader, type RawHeaders } from '../protocol/raw-headers.ts';
import { commonNameOf } from './certificate-user.ts';
import { decodeHeaderText, unescapeExtraKey } from './header-text.ts';
import type { PeerIdentity } from './peer-identity.ts';
import type { RequestHeaderTrust } from './trust.ts';

/**
 * @returns the user; undefined if the headers name nobody (no opinion).
 * @throws KexerError unauthenticated if the peer is not the front proxy, or is it by name and speaks for nobody.
 */
export function frontProxyUser(
  trust: RequestHeaderTrust,
  peer: PeerIdentity,
  headers: RawHeaders,
  nowMs: number,
): UserInfo | undefined {
  const { isTrusted, reason } = peer.check(trust.ca, nowMs);
  if (!isTrusted) throw refuse(reason);
  const leaf = peer.chain[0];
  const commonName = leaf === undefined ? '' : commonNameOf(leaf);
  if (trust.allowedNames.length > 0 && !trust.allowedNames.includes(commonName)) {
    throw refuse(`subject with cn=${commonName} is not in the allowed list`);
  }
  const name = firstValue(headers, trust.usernameHeaders);
  if (name === '') return undefined;
  return makeUser({
    name: decodeHeaderText(name),
    uid: decodeHeaderText(firstValue(headers, trust.uidHeaders)),
    groups: trust.groupHeaders
      .flatMap((header) => getAllHeaders(headers, header))
      .filter((group) => group !== '')
      .map(decodeHeaderText),
    extra: readExtra(headers, trust.extraPrefixes),
  });
}

/** The first of `names` whose first occurrence is not empty. */
function firstValue(headers: RawHeaders, names: readonly string[]): string {
  return names.map((name) => getHeader(headers, name) ?? '').find((value) => value !== '') ?? '';
}

function readExtra(headers: RawHeaders, prefixes: readonly string[]): Map<string, string[]> {
  const extra = new Map<string, string[]>();
  for (const prefix of prefixes) {
    const wanted = prefix.toLowerCase();
    for (const [name, value] of headers) {
      if (!name.toLowerCase().startsWith(wanted)) continue;
      const key = unescapeExtraKey(name.slice(prefix.length));
      extra.set(key, [...(extra.get(key) ?? []), decodeHeaderText(value)]);
    }
  }
  return extra;
}

function refuse(reason: string): KexerError {
  return new KexerError('unauthenticated', `Cannot take the peer for the front proxy: ${reason}`);
}
