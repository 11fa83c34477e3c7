// The URL of an HTTP proxy: scheme, host and port, and nothing that could hold a secret. What is wrong with one is said without any part of it, since
// people write passwords into such URLs.

/** What such a URL has to be. */
export const proxyUrlWanted =
  'http://HOST[:PORT] or https://HOST[:PORT] and nothing more; user and password are for clusters.proxyCredentialsFile';

export interface ProxyAddress {
  /** Whether TLS is spoken with the proxy itself. */
  readonly isTls: boolean;
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
}

/** @returns what `text` is instead, as in "it is …". */
export function readProxyUrl(text: string): ProxyAddress | { readonly problem: string } {
  // The URL parser takes more than this for the same: backslashes, one slash, white space around and inside.
  if (!/^https?:\/\/[^\s\\]+$/i.test(text)) return { problem: 'no URL that begins with http:// or https://' };
  if (!URL.canParse(text)) return { problem: 'no URL that can be read' };
  const { protocol, hostname, port, username, password, pathname, search, hash } = new URL(text);
  if (text.includes('@') || username !== '' || password !== '') return { problem: 'a URL with a user or a password' };
  if (search !== '' || text.includes('?')) return { problem: 'a URL with a query' };
  if (hash !== '' || text.includes('#')) return { problem: 'a URL with a fragment' };
  if (pathname !== '/') return { problem: 'a URL with a path' };
  if (port === '0') return { problem: 'a URL with the port 0' };
  const isTls = protocol === 'https:';
  return { isTls, host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? (isTls ? 443 : 80) : Number(port) };
}

/** Whatever `value` is, without any of it. */
export function describeProxyUrl(value: unknown): string {
  if (typeof value !== 'string') return 'no text';
  const read = readProxyUrl(value);
  return 'problem' in read ? read.problem : 'a URL';
}
