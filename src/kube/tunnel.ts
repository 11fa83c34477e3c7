// The way to a peer that leads through a proxy: a connection that another has made for kexer, on which TLS is then spoken with the peer itself. What
// a proxy is stands in net/; here is only what a client of an apiserver has to know of one.

import type { Socket } from 'node:net';

import type { AddressGuard } from './address-guard.ts';

export interface TunnelTarget {
  /** A name or an address. A name is resolved by kexer, since the proxy would resolve it to something that nobody has judged. */
  readonly host: string;
  readonly port: number;
  /** Which addresses the tunnel may lead to; left out: any. It does not judge the proxy's own. */
  readonly guard?: AddressGuard | undefined;
  /** For everything until the tunnel is open. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface TunnelProxy {
  /** `host:port`, for messages. */
  readonly name: string;
  /**
   * A connection that is the target's from its first byte to its last. It has an error listener.
   * @throws KexerError unreachable, badGateway with a sentence about the proxy where it is at fault; clientGone when `signal` aborts.
   */
  open(target: TunnelTarget): Promise<Socket>;
}

/** The way to a peer: the proxy that leads there; undefined: straight. @param host without brackets. */
export type ProxyChoice = (host: string, port: number) => TunnelProxy | undefined;

const httpsPort = 443;

/** The proxy that leads to an `https:` endpoint. @param choice left out: all is reached straight. */
export function proxyForUrl(choice: ProxyChoice | undefined, endpointUrl: string): TunnelProxy | undefined {
  const { hostname, port } = new URL(endpointUrl);
  return choice?.(hostname.replace(/^\[|\]$/g, ''), port === '' ? httpsPort : Number(port));
}

/** What is said of a tunnel that ended before the peer had proven itself. */
export function cutTunnelProblem({ name }: TunnelProxy): string {
  return `the proxy ${name} opened a tunnel that was closed before TLS was established`;
}
