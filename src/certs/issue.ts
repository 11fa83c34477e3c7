// What kexer issues for itself, and when it issues the next: an authority that lives ten years, so that kubeconfigs stay valid, and leaves
// under it that live three months and are renewed after two of them, so that renewal is a habit and not an event. An authority of an earlier
// kexer has an RSA key and keeps it for its ten years; what it signs from now on has an ECDSA one.

import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';

import { generateAuthority, generateServing, type KeyPairPem } from './generate.ts';

const dayMs = 24 * 60 * 60 * 1000;
const authorityLifeMs = 3650 * dayMs;
const leafLifeMs = 90 * dayMs;
/** An authority with less than this left signs nothing any more: its leaves would be renewed all the time. */
const minAuthorityLeftMs = 30 * dayMs;
/** Clocks of other machines may be behind by so much. */
const backdateMs = 5 * 60 * 1000;
/** When a leaf is renewed, as a part of its life, and over how much more of it replicas spread. */
const renewAfter = 2 / 3;
const renewSpread = 1 / 20;

/** A new authority. `days`: its life. */
export function issueAuthority(nowMs: number, days = authorityLifeMs / dayMs): Promise<KeyPairPem> {
  return generateAuthority({
    commonName: `kexer-ca@${Math.floor(nowMs / 1000)}`,
    notBefore: new Date(nowMs - backdateMs),
    notAfter: new Date(nowMs + days * dayMs),
  });
}

/** A leaf with its chain: `cert` is the leaf, then the authority. It never outlives the authority. */
export async function issueLeaf(
  authority: KeyPairPem,
  names: readonly string[],
  nowMs: number,
  days = leafLifeMs / dayMs,
): Promise<KeyPairPem> {
  const endMs = Math.min(nowMs + days * dayMs, new X509Certificate(authority.cert).validToDate.getTime());
  const leaf = await generateServing(authority, {
    commonName: `kexer@${Math.floor(nowMs / 1000)}`,
    dnsNames: names.filter((name) => isIP(name) === 0),
    ipAddresses: names.filter((name) => isIP(name) !== 0),
    notBefore: new Date(nowMs - backdateMs),
    notAfter: new Date(endMs),
  });
  return { cert: leaf.cert + authority.cert, key: leaf.key };
}

/** Whether an authority has enough life left to sign a leaf. */
export function isLasting(authority: X509Certificate, nowMs: number): boolean {
  return authority.validToDate.getTime() - nowMs > minAuthorityLeftMs;
}

/** @param random from 0 to 1; another for each replica, so that one of them is first and the others find it done. */
export function renewalMs(leaf: X509Certificate, random: number): number {
  const fromMs = leaf.validFromDate.getTime();
  const lifeMs = leaf.validToDate.getTime() - fromMs;
  return fromMs + lifeMs * (renewAfter + renewSpread * random);
}
