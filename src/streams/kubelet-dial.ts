// A TLS connection to a kubelet, verified, and what to say when there is none: the operator reads it in a user's terminal, so it names
// the node, the name that was dialled, the names in the certificate and the setting that cures it, and nothing of kexer's account.

import type { TLSSocket } from 'node:tls';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import type { KubeletAccess } from '../clusters/cluster.ts';
import { DialError, dialTls } from '../net/dial.ts';
import { ReadTap } from '../net/read-tap.ts';
import { type CallStages, noStages } from '../observe/stages.ts';
import type { RawHeader } from '../protocol/raw-headers.ts';
import type { Target } from './target.ts';

/** A node that does not answer within this is down for a user who waits at a prompt. */
const dialTimeoutMs = 10_000;

/** @throws KexerError unreachable, tls, timeout with a text for people; clientGone when `signal` aborts. */
export async function dialKubelet(
  deps: { clock: Clock; stages?: CallStages },
  access: KubeletAccess,
  target: Target,
  signal: AbortSignal,
): Promise<TLSSocket> {
  try {
    return await (deps.stages ?? noStages).run('dial', () => dial(deps, access, target, signal));
  } catch (error) {
    if (error instanceof DialError) throw explained(error, access, target);
    if (!(error instanceof KexerError) || error.code !== 'badGateway') throw error;
    // The guard's: there kubelets may not be.
    throw new KexerError('badGateway', `Cannot reach the kubelet of node ${target.node}`, { cause: error });
  }
}

async function dial(
  deps: { clock: Clock },
  access: KubeletAccess,
  target: Target,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const { ca } = access;
  if (access.isVerified && ca === undefined) {
    throw new KexerError(
      'tls',
      `Cannot verify the kubelet of node ${target.node}: no CA is configured (${access.caSource}); set ${caSettingOf(access)}`,
    );
  }
  return dialTls({
    host: target.host,
    port: target.port,
    ...(ca === undefined ? {} : { ca }),
    certificate: access.certificate(),
    isVerified: access.isVerified,
    alpn: ['http/1.1'], // an upgrade has no meaning in HTTP/2
    memory: access.tls,
    tap: new ReadTap(), // most bytes of most sessions come from here
    guard: access.guard,
    proxy: access.proxyFor?.(target.host, target.port),
    timeoutMs: dialTimeoutMs,
    signal,
    clock: deps.clock,
  });
}

/** The token goes out only when there is no certificate, and never over unverified TLS: any node could replay it. */
export async function kubeletCredential(access: KubeletAccess): Promise<RawHeader[]> {
  if (access.certificate() !== undefined || !access.isVerified) return [];
  const token = await access.token();
  return token === undefined ? [] : [['Authorization', `Bearer ${token}`]];
}

function caSettingOf({ caSetting = '--kubelet-certificate-authority' }: KubeletAccess): string {
  return caSetting;
}

function explained(error: DialError, access: KubeletAccess, target: Target): KexerError {
  const where = `the kubelet of node ${target.node} at ${error.address}`;
  // It is not the node that is away, so nobody is told to come again.
  if (error.proxyProblem !== undefined) {
    return new KexerError('badGateway', `Cannot reach ${where}: ${error.proxyProblem}`);
  }
  switch (error.code) {
    case 'unreachable':
      return new KexerError('unreachable', `Cannot reach ${where}: ${error.systemCode ?? 'no connection'}`);
    case 'timeout':
      return new KexerError('timeout', `Cannot reach ${where}: no answer within ${dialTimeoutMs / 1000} s`);
    case 'tls':
      return new KexerError('tls', `Cannot trust ${where}: ${tlsProblem(error, access)}`, { cause: error.cause });
    default:
      return error;
  }
}

function tlsProblem(error: DialError, access: KubeletAccess): string {
  if (error.systemCode === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const names = error.subjectAltName ?? '';
    return `its certificate is not for ${error.servername} but for ${names === '' ? 'no name at all' : names}; change --kubelet-preferred-address-types, or the certificate`;
  }
  const names = error.subjectAltName === undefined ? '' : ` (its certificate is for ${error.subjectAltName})`;
  return `${error.systemCode ?? 'the TLS handshake failed'}${names}; its certificate must be signed by the CA in ${access.caSource}, set by ${caSettingOf(access)}`;
}
