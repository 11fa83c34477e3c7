// What a Secret with a serving certificate holds, and whose it is. Three kinds: an empty one, which is kexer's to fill; one that kexer
// filled, known by the authority's key in it; and any other, which is an operator's or cert-manager's and is never written. Data in, value
// out: nothing here talks to anybody.

import { createPrivateKey, X509Certificate } from 'node:crypto';

import { describeError, KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { isRecord, type KubeObject } from '../kube/objects.ts';
import type { ObjectName } from './certificate-names.ts';
import type { KeyPairPem } from './generate.ts';
import { checkPair } from './pair.ts';
import { splitPem } from './verify-chain.ts';

/** Keys of the Secret: those of kubernetes.io/tls and cert-manager, and one of kexer's own. */
export const secretKeys = {
  cert: 'tls.crt',
  key: 'tls.key',
  ca: 'ca.crt',
  /** Nobody else writes it: a Secret that has it was filled by kexer. */
  caKey: 'kexer-ca.key',
} as const;

export type SecretContent =
  | { readonly kind: 'empty' }
  | {
      readonly kind: 'own';
      readonly authority: KeyPairPem;
      /** Undefined: there is none, it is broken, or its time is over; a new one is due. */
      readonly pair: KeyPairPem | undefined;
    }
  | {
      readonly kind: 'given';
      readonly pair: KeyPairPem;
      /** PEM; undefined: it does not say who signed it. */
      readonly ca: string | undefined;
    }
  /** A sentence for people. `isEarly`: its time is still to come. */
  | { readonly kind: 'unusable'; readonly problem: KexerError; readonly isEarly: boolean };

/** Keys and values of a Secret, decoded; anything that is no text is left out. */
export type SecretData = Readonly<Record<string, string>>;

export function secretDataOf(object: KubeObject): SecretData {
  const { data } = object;
  if (!isRecord(data)) return {};
  return Object.fromEntries(
    Object.entries(data).flatMap(([key, value]) =>
      typeof value === 'string' ? [[key, Buffer.from(value, 'base64').toString('utf8')]] : [],
    ),
  );
}

export function readSecret(secret: ObjectName, data: SecretData, nowMs: number): SecretContent {
  const of = (key: string): string => data[key] ?? '';
  if (of(secretKeys.caKey) !== '') return readOwn(secret, data, nowMs);
  if (of(secretKeys.cert) === '' && of(secretKeys.key) === '') return { kind: 'empty' };
  const pair = { cert: of(secretKeys.cert), key: of(secretKeys.key) };
  const problem = problemOf(secret, pair, nowMs);
  if (problem !== undefined) return { kind: 'unusable', ...problem };
  const ca = splitPem(of(secretKeys.ca)).map((pem) => `${pem}\n`);
  return { kind: 'given', pair, ca: ca.length === 0 ? undefined : ca.join('') };
}

function readOwn(secret: ObjectName, data: SecretData, nowMs: number): SecretContent {
  const authority = { cert: firstPem(data[secretKeys.ca]), key: data[secretKeys.caKey] ?? '' };
  try {
    checkAuthority(secret, authority);
  } catch (problem) {
    // A new authority would be trusted by no kubeconfig, so that is for an operator to order, by emptying the Secret.
    const text = `${describeError(problem)}; it is left as it is: restore it, or empty the Secret for a new authority`;
    return { kind: 'unusable', problem: new KexerError('config', text), isEarly: false };
  }
  const pair = { cert: data[secretKeys.cert] ?? '', key: data[secretKeys.key] ?? '' };
  const problem = problemOf(secret, pair, nowMs);
  if (problem === undefined) return { kind: 'own', authority, pair };
  // Made by a replica whose clock is ahead: another one would look the same to that replica.
  if (problem.isEarly) return { kind: 'unusable', ...problem };
  return { kind: 'own', authority, pair: undefined };
}

/** @throws KexerError config */
function checkAuthority(secret: ObjectName, authority: KeyPairPem): void {
  const names = { cert: labelOf(secret, secretKeys.ca), key: labelOf(secret, secretKeys.caKey) };
  if (authority.cert === '')
    throw new KexerError('config', `Cannot use ${quote(names.cert)}: it holds no PEM certificate`);
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(authority.cert);
  } catch (cause) {
    throw new KexerError('config', `Cannot use ${quote(names.cert)}: a certificate in it cannot be read`, { cause });
  }
  let isItsKey: boolean;
  try {
    isItsKey = certificate.checkPrivateKey(createPrivateKey(authority.key));
  } catch {
    // OpenSSL's reason says nothing to people, and what it quotes is secret.
    throw new KexerError('config', `Cannot use ${quote(names.key)}: want a PEM private key`);
  }
  if (!isItsKey)
    throw new KexerError('config', `Cannot use ${quote(names.key)}: it is not the key of ${quote(names.cert)}`);
}

function problemOf(
  secret: ObjectName,
  pair: KeyPairPem,
  nowMs: number,
): { readonly problem: KexerError; readonly isEarly: boolean } | undefined {
  try {
    checkPair(pair, { certFile: labelOf(secret, secretKeys.cert), keyFile: labelOf(secret, secretKeys.key) }, nowMs);
    return undefined;
  } catch (error) {
    const problem =
      error instanceof KexerError ? error : new KexerError('config', 'Cannot use the Secret', { cause: error });
    return { problem, isEarly: startOf(pair) > nowMs };
  }
}

function startOf(pair: KeyPairPem): number {
  try {
    return new X509Certificate(pair.cert).validFromDate.getTime();
  } catch {
    return 0; // unreadable is another problem than early
  }
}

function labelOf({ namespace, name }: ObjectName, key: string): string {
  return `${key} of the Secret ${namespace}/${name}`;
}

function firstPem(text: string | undefined): string {
  const [first] = splitPem(text ?? '');
  return first === undefined ? '' : `${first}\n`;
}
