// The HTTP proxy on the way to other clusters, with its files, which may be replaced under a running process. What is wrong with them is said at the start;
// nothing of their content ever is.

import { X509Certificate } from 'node:crypto';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { RotatedFile } from '../clusters/kubelet-access.ts';
import type { Config } from '../config/schema.ts';
import type { ProxyChoice } from '../kube/tunnel.ts';
import { HttpProxy } from '../net/http-proxy.ts';
import { NoProxy } from '../net/no-proxy.ts';
import { readProxyUrl } from '../net/proxy-url.ts';

/**
 * @returns which way leads where; undefined if no proxy is set.
 * @throws KexerError config for a file that cannot be read, or in which is not what belongs there.
 */
export function composeClusterProxy(
  deps: { clock: Clock; version: string },
  { proxyUrl, noProxy, proxyCaFile, proxyCredentialsFile }: Config['clusters'],
): ProxyChoice | undefined {
  if (proxyUrl === undefined) return undefined;
  const address = readProxyUrl(proxyUrl);
  if ('problem' in address) throw new KexerError('config', `Cannot use --cluster-proxy-url: it is ${address.problem}`);
  const { clock, version } = deps;
  const ca = fileOf(clock, proxyCaFile, '--cluster-proxy-ca-file');
  if (ca !== undefined && !isPem(ca.text)) {
    throw new KexerError(
      'config',
      `Cannot use --cluster-proxy-ca-file ${quote(proxyCaFile ?? '')}: it has no PEM certificate`,
    );
  }
  const credentials = fileOf(clock, proxyCredentialsFile, '--cluster-proxy-credentials-file');
  if (credentials !== undefined) readCredentials(credentials.text, 'config');
  const proxy = new HttpProxy(
    { clock },
    {
      address,
      userAgent: `kexer/${version}`,
      ...(ca === undefined ? {} : { ca: () => ca.text }),
      ...(credentials === undefined ? {} : { credentials: () => readCredentials(credentials.text, 'badGateway') }),
    },
  );
  const straight = new NoProxy(noProxy);
  return (host, port) => (straight.has(host, port) ? undefined : proxy);
}

function fileOf(clock: Clock, file: string | undefined, setting: string): RotatedFile | undefined {
  return file === undefined ? undefined : new RotatedFile({ clock }, { file, setting });
}

/** Node itself would only complain at each connection. */
function isPem(text: string): boolean {
  try {
    void new X509Certificate(text);
    return true;
  } catch {
    return false; // what is wrong with it is a matter of ASN.1, which nobody would read
  }
}

/** A user name has no colon (RFC 7617); the line's end, which editors write, belongs to nothing. */
function readCredentials(text: string, code: 'config' | 'badGateway'): string {
  const line = text.replace(/\r?\n$/, '');
  // eslint-disable-next-line no-control-regex -- they are what is looked for
  if (!line.includes(':') || /[\u0000-\u001f\u007f]/.test(line)) {
    throw new KexerError(
      code,
      'Cannot use the file of clusters.proxyCredentialsFile: want one line USER:PASSWORD in it',
    );
  }
  return line;
}
