// The lines about certificates and about what must be read before kexer is ready; the policy is that of log-lines.ts. No key and no content
// of a Secret is ever a field.

import type { Logger } from './logger.ts';

/** The pair in use is a new one; connections that are open keep theirs. */
export function servingPairTaken(
  log: Logger,
  { isFirst, ...fields }: { names: readonly string[]; notAfter: string; isFirst: boolean },
): void {
  log.info(fields, isFirst ? 'serving certificate loaded' : 'serving certificate reloaded');
}

export function servingPairIssued(
  log: Logger,
  {
    isAuthorityReplaced,
    ...fields
  }: { names: readonly string[]; notAfter: string; reason: string; isAuthorityReplaced: boolean },
): void {
  // Whoever was given the old authority must be given the new one.
  if (isAuthorityReplaced) log.warn(fields, 'serving certificate issued by a new authority');
  else log.info(fields, 'serving certificate issued');
}

export function servingSecretUnusable(log: Logger, err: unknown): void {
  log.error({ err }, 'cannot use the serving certificate in the Secret; the old one stays in use');
}

export function servingSecretNotWritten(log: Logger, fields: { err: unknown; missing?: string }): void {
  log.error(fields, 'cannot write the serving certificate; trying again');
}

export function servingSecretGone(
  log: Logger,
  { isRecreated, ...fields }: { isRecreated: boolean; err?: unknown },
): void {
  if (isRecreated) log.warn(fields, 'the Secret with the serving certificate was gone and has been made again');
  else log.error(fields, 'the Secret with the serving certificate is not there');
}

/** It serves, and kube-aggregator will not accept it. */
export function servingNamesMissing(log: Logger, fields: { missing: readonly string[] }): void {
  log.warn(fields, 'the serving certificate lacks names that clients use');
}

/** For probes only, until the right one is there. */
export function temporaryPairUsed(log: Logger, fields: { problem: string }): void {
  log.warn(fields, 'no serving certificate yet: using a temporary one; not ready');
}

export function caBundleWritten(log: Logger, fields: { apiService: string; authorities: number }): void {
  log.info(fields, 'caBundle written');
}

/** Calls through kube-apiserver fail until somebody decides. */
export function caBundleForeign(log: Logger, fields: { apiService: string; reason: string }): void {
  log.warn(fields, 'the caBundle does not verify the serving certificate and is left as it is');
}

export function caBundleNotWritten(log: Logger, fields: { apiService: string; err: unknown; missing?: string }): void {
  log.error(fields, 'cannot write the caBundle; trying again');
}

/** In the words of a Role; the feature that needs it waits. */
export function rightMissing(log: Logger, fields: { part: string; missing: string }): void {
  log.error(fields, 'a right is missing');
}

/** Callers by certificate and through kube-apiserver cannot be told apart from strangers. */
export function trustMissing(log: Logger): void {
  log.error('the ConfigMap kube-system/extension-apiserver-authentication is missing; not ready until it is there');
}
