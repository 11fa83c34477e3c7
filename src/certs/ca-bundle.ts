// The caBundle of an APIService as a value: which authorities are in it, what it becomes when kexer's changes, and whether it verifies a
// serving certificate. PEM in, PEM out.

import { X509Certificate } from 'node:crypto';

import { splitPem } from './verify-chain.ts';

/** How many authorities of before stay: replicas that have not heard of the new one yet still serve under the last. */
const maxFormer = 1;
const maxDepth = 5;

/** `wanted`, then the last of those in `before` that are not in it and whose time is not over. */
export function extendBundle(before: string, wanted: string, nowMs: number): string {
  const current = readAll(wanted);
  const former = readAll(before).filter(
    ({ raw, validToDate }) =>
      validToDate.getTime() > nowMs && !current.some((certificate) => certificate.raw.equals(raw)),
  );
  return [...current, ...former.slice(0, maxFormer)].map(String).join('');
}

/** Whether each certificate of `wanted` is in `bundle`. */
export function containsAll(bundle: string, wanted: string): boolean {
  const present = readAll(bundle);
  return readAll(wanted).every(({ raw }) => present.some((certificate) => certificate.raw.equals(raw)));
}

/** Whether a client that trusts `bundle` alone finds a path from the first certificate of `chain` by the others in it. Time is not looked at. */
export function verifiesChain(bundle: string, chain: string): boolean {
  const roots = readAll(bundle);
  const [leaf, ...intermediates] = readAll(chain);
  let certificate = leaf;
  for (let depth = 0; certificate !== undefined && depth < maxDepth; depth += 1) {
    const child = certificate;
    if (roots.some((root) => root.raw.equals(child.raw) || isIssuedBy(child, root))) return true;
    certificate = intermediates.find((candidate) => !candidate.raw.equals(child.raw) && isIssuedBy(child, candidate));
  }
  return false;
}

function isIssuedBy(child: X509Certificate, issuer: X509Certificate): boolean {
  return child.checkIssued(issuer) && child.verify(issuer.publicKey);
}

/** What cannot be read is left out: it verifies nothing. */
function readAll(pem: string): X509Certificate[] {
  return splitPem(pem).flatMap((text) => {
    try {
      return [new X509Certificate(text)];
    } catch {
      return [];
    }
  });
}
