// The impersonator's part of the object graph: the credential by which callers without a token of their own are carried. A file that cannot
// be read ends the start. A token that kexer asks for itself does not: kube-apiserver may be away for the moment, and callers with tokens
// need no impersonator; what is missing is logged at once, and told to those who need it.

import type { Clock } from '../base/clock.ts';
import type { Config } from '../config/schema.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Credential } from '../kube/credential.ts';
import { RequestedToken } from '../kube/requested-token.ts';
import { fileCertificate, fileToken } from '../kube/sources.ts';
import * as lines from '../observe/log-lines.ts';
import type { Logger } from '../observe/logger.ts';

export interface Impersonator {
  readonly credential: Credential;
  /** kube-apiserver does not accept the credential: the next call has another, where there is another to be had. */
  readonly refused?: () => void;
  /** Only of a token that kexer asks for: how often it did. */
  readonly tokens?: Pick<RequestedToken, 'counts' | 'expiresAtMs'>;
  /** Asks for the first token, so that what is missing is known before somebody needs it. Never rejects. */
  readonly start: () => Promise<void>;
}

/** @param own the client with kexer's own credential. @throws KexerError config; undefined if impersonation is off. */
export async function composeImpersonator(
  deps: { clock: Clock; log: Logger; own: KubeClient },
  config: Config['identity'],
): Promise<Impersonator | undefined> {
  const { clock } = deps;
  if (!config.impersonation) return undefined;
  const { serviceAccount, tokenFile, clientCertificate, clientKey } = config.impersonator;
  const start = (): Promise<void> => Promise.resolve();
  if (serviceAccount !== undefined) {
    const token = requestedToken(deps, serviceAccount, "kexer's impersonator");
    const ask = async (): Promise<void> => {
      await token.read().catch(() => {}); // it was logged, and the first call that needs one tries again
    };
    // Not for every 401 that passes, which may be an application's behind a proxy subresource: nobody must make kexer ask for tokens.
    const read = (): Promise<string> => token.read();
    return {
      credential: { kind: 'token', token: { read, invalidate: () => {} } },
      refused: () => token.invalidate(),
      tokens: token,
      start: ask,
    };
  }
  if (tokenFile !== undefined) {
    const token = fileToken({ clock }, tokenFile);
    // Read once now, so that a file that is missing stops the start and not the first call.
    await token.read();
    return { credential: { kind: 'token', token }, start };
  }
  if (clientCertificate === undefined || clientKey === undefined) return undefined;
  const certificate = fileCertificate({ clock }, { certFile: clientCertificate, keyFile: clientKey });
  await certificate.read();
  return { credential: { kind: 'certificate', certificate }, start };
}

/** @param account NAMESPACE/NAME; @param purpose as a user may be told. */
export function requestedToken(
  { clock, log, own }: { clock: Clock; log: Logger; own: KubeClient },
  account: string,
  purpose: string,
): RequestedToken {
  const [namespace = '', name = ''] = account.split('/');
  return new RequestedToken(
    { client: own, clock, onFailure: (err) => lines.requestedTokenFailed(log, { account, err }) },
    { namespace, name, purpose },
  );
}
