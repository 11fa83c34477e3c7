// Outgoing connections: TCP and TLS with a deadline, a CA of their own, and errors that say what failed and which names the peer's
// certificate had. Every socket handed out has an error listener already, so that a reset before the caller attaches its own cannot
// end the process. Nothing is written to a TLS socket before its peer is verified.

import { Buffer } from 'node:buffer';
import { connect as connectTcp, isIP, type LookupFunction, type Socket } from 'node:net';
import { checkServerIdentity, connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { type Clock, systemClock } from '../base/clock.ts';
import { type ErrorCode, KexerError } from '../base/errors.ts';
import { type AddressGuard, checkLiteral, guardedLookup } from '../kube/address-guard.ts';
import type { PeerCheck } from '../kube/credential.ts';
import { cutTunnelProblem, type TunnelProxy } from '../kube/tunnel.ts';
import { ignoreErrors } from './ignore-errors.ts';
import { keepAlive } from './keep-alive.ts';
import type { ReadTap } from './read-tap.ts';
import type { TlsMemory } from './tls-memory.ts';

export interface DialTcpOptions {
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** For the deadline; default the system's. */
  readonly clock?: Clock | undefined;
  /** Which addresses may be dialled, judged on what is connected to; default: any. */
  readonly guard?: AddressGuard | undefined;
  /** By whom the peer is reached; default: straight. The deadline is one for the way there and for TLS with the peer. */
  readonly proxy?: TunnelProxy | undefined;
}

export interface DialTlsOptions extends DialTcpOptions {
  /** The name the peer's certificate must carry (and SNI, unless it is an address); default `host`. */
  readonly servername?: string | undefined;
  /** PEM certificates that alone are trusted; default: the system's. */
  readonly ca?: readonly string[] | undefined;
  readonly certificate?: { readonly cert: string; readonly key: string } | undefined;
  /** false: any certificate is taken. No bearer token may ever go over such a connection. */
  readonly isVerified: boolean;
  readonly alpn?: readonly string[] | undefined;
  /** Of a certificate that is in order. */
  readonly checkPeer?: PeerCheck | undefined;
  /** Of earlier dials to peers of this kind: saves parsing and, where the peer is verified, signatures. */
  readonly memory?: TlsMemory | undefined;
  /** To be read by its taker, without memory for each read. */
  readonly tap?: ReadTap | undefined;
}

export interface DialErrorDetails {
  readonly address: string;
  readonly servername: string;
  readonly subjectAltName?: string | undefined;
  readonly systemCode?: string | undefined;
  readonly proxyProblem?: string | undefined;
  readonly cause?: unknown;
}

/** Why a dial failed. For code `tls`, the names a certificate had. */
export class DialError extends KexerError {
  /** `host:port` as dialled. */
  readonly address: string;
  /** The name the certificate should have carried. */
  readonly servername: string;
  /** The peer certificate's subjectAltName as Node prints it (`DNS:a, IP Address:1.2.3.4`); '' if it has none; undefined if none was shown. */
  readonly subjectAltName: string | undefined;
  /** Node's or OpenSSL's code: ECONNREFUSED, ERR_TLS_CERT_ALTNAME_INVALID, UNABLE_TO_VERIFY_LEAF_SIGNATURE … */
  readonly systemCode: string | undefined;
  /** If it is the proxy's failure and not the peer's: the sentence "the proxy HOST:PORT …". */
  readonly proxyProblem: string | undefined;

  constructor(code: ErrorCode, message: string, details: DialErrorDetails) {
    super(code, message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'DialError';
    this.address = details.address;
    this.servername = details.servername;
    this.subjectAltName = details.subjectAltName;
    this.systemCode = details.systemCode;
    this.proxyProblem = details.proxyProblem;
  }
}

/** @throws DialError unreachable, timeout; clientGone when `signal` aborts; KexerError badGateway if the guard allows no address, or a proxy refuses. */
export async function dialTcp(options: DialTcpOptions): Promise<Socket> {
  if (options.proxy !== undefined) return options.proxy.open(options);
  const socket = connectTcp({ host: options.host, port: options.port, noDelay: true, ...guarded(options) });
  keepAlive(socket);
  return established(socket, 'connect', options, options.host, (error) => failedConnect(options, error));
}

/** @throws as {@link dialTcp}; DialError tls. */
export async function dialTls(options: DialTlsOptions): Promise<TLSSocket> {
  const clock = options.clock ?? systemClock;
  const startedMs = clock.monotonic();
  // Without a proxy nothing waits: the deadline runs from this turn on.
  const tunnel = options.proxy === undefined ? undefined : await options.proxy.open(options);
  const leftMs = Math.max(1, options.timeoutMs - (clock.monotonic() - startedMs));
  const servername = options.servername ?? options.host;
  const sessionKey = `${addressText(options)}/${servername}`;
  const known = options.memory?.for({ ca: options.ca, certificate: options.certificate });
  // A session of an unverified peer would look like one of a verified.
  const sessions = options.isVerified ? known?.sessions : undefined;
  const session = sessions?.get(sessionKey);
  let names: string | undefined;
  let isConnected = false;
  // Node gives a tap to no socket that is made of another; whoever takes one then gives it afterwards.
  const tap = tunnel === undefined ? options.tap : undefined;
  const socket = connectTls({
    ...(tunnel === undefined ? { host: options.host, port: options.port, ...guarded(options) } : { socket: tunnel }),
    // RFC 6066 allows no address as SNI; the check below is by `servername` all the same.
    servername: isIP(servername) === 0 ? servername : '',
    rejectUnauthorized: options.isVerified,
    checkServerIdentity: identityCheck(servername, options.checkPeer),
    ...(known === undefined ? materialOf(options) : { secureContext: known.context }),
    ...(options.alpn === undefined ? {} : { ALPNProtocols: alpnWire(options.alpn) }),
    ...(session === undefined ? {} : { session }),
    ...(tap === undefined ? {} : { onread: tap.onread }),
  });
  tap?.attach(socket);
  socket.setNoDelay(true);
  keepAlive(socket);
  socket.once('connect', () => {
    isConnected = true;
  });
  // Before Node's own listener, which destroys the socket of an unacceptable peer and with it the certificate.
  socket.prependOnceListener('secure', () => {
    // Of a resumed session nothing is judged, the names would be an object of every field, and what resumed it will do so again.
    if (socket.isSessionReused()) return;
    names = socket.getPeerCertificate().subjectaltname ?? '';
    // Emitted of verified peers alone. One of a connection is enough; servers send two.
    if (sessions !== undefined) socket.once('session', (fresh: Buffer) => sessions.set(sessionKey, fresh));
  });
  const explain = (error: Error): DialError => {
    sessions?.delete(sessionKey);
    if (options.proxy !== undefined && isReset(error)) return cutTunnel(options, options.proxy, servername);
    if (options.proxy === undefined && (!isConnected || isReset(error))) {
      return failedConnect(options, error, servername);
    }
    const shown = names === undefined ? '' : ` (its names: ${names === '' ? 'none' : names})`;
    const message =
      names === undefined
        ? `Cannot make a TLS connection to ${addressText(options)}`
        : `Cannot accept the certificate of ${addressText(options)} for ${servername}${shown}`;
    return new DialError('tls', message, {
      address: addressText(options),
      servername,
      subjectAltName: names,
      systemCode: systemCodeOf(error),
      cause: error,
    });
  };
  return established(socket, 'secureConnect', options, servername, explain, leftMs);
}

/** Stays with the socket for its life, so it is made where nothing else of the dial is in reach. */
function identityCheck(servername: string, checkPeer: PeerCheck | undefined): typeof checkServerIdentity {
  return (_name, certificate) => checkServerIdentity(servername, certificate) ?? checkPeer?.(certificate);
}

/**
 * Protocol names as they are on the wire (RFC 7301, section 3.1), each behind its length. Of a list, and of a Uint8Array too, Node makes a
 * slice of its pool for each connection, which then keeps 64 KiB of pool alive for as long as it lives: 10 KiB a session. Of any other view
 * it makes a buffer of just this length.
 */
function alpnWire(names: readonly string[]): DataView {
  const bytes = Uint8Array.from(names.flatMap((name) => [name.length, ...Buffer.from(name, 'latin1')]));
  return new DataView(bytes.buffer);
}

function materialOf({ ca, certificate }: DialTlsOptions): ConnectionOptions {
  return {
    ...(ca === undefined ? {} : { ca: [...ca] }),
    ...(certificate === undefined ? {} : { cert: certificate.cert, key: certificate.key }),
  };
}

/** What makes a connect go to allowed addresses only. @throws KexerError badGateway */
function guarded({ guard, host }: DialTcpOptions): { lookup?: LookupFunction } {
  if (guard === undefined) return {};
  checkLiteral(guard, host);
  return { lookup: guardedLookup(guard) };
}

function established<S extends Socket>(
  socket: S,
  event: 'connect' | 'secureConnect',
  options: DialTcpOptions,
  servername: string,
  explain: (error: Error) => DialError,
  leftMs = options.timeoutMs,
): Promise<S> {
  // Stays for the life of the socket: its owner learns of errors by its own listener or by 'close'.
  ignoreErrors(socket);
  const address = addressText(options);
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      stop();
      socket.destroy();
      reject(error);
    };
    // The guard's own words, or the endpoint's about its peer.
    const onError = (error: Error): void => fail(error instanceof KexerError ? error : explain(error));
    const onClose = (): void => fail(explain(new Error('the connection was closed')));
    const onAbort = (): void => {
      fail(new DialError('clientGone', `Cannot connect to ${address}: cancelled`, { address, servername }));
    };
    const onDone = (): void => {
      stop();
      resolve(socket);
    };
    const stop = (): void => {
      timer.cancel();
      options.signal?.removeEventListener('abort', onAbort);
      socket.off('error', onError).off('close', onClose).off(event, onDone);
    };
    const timer = (options.clock ?? systemClock).after(leftMs, () => {
      const message = `Cannot connect to ${address}: no answer within ${options.timeoutMs} ms`;
      fail(new DialError('timeout', message, { address, servername }));
    });
    socket.on('error', onError).on('close', onClose).on(event, onDone);
    options.signal?.addEventListener('abort', onAbort);
    if (options.signal?.aborted === true) onAbort();
  });
}

function failedConnect(options: DialTcpOptions, error: Error, servername = options.host): DialError {
  const address = addressText(options);
  return new DialError('unreachable', `Cannot connect to ${address}`, {
    address,
    servername,
    systemCode: systemCodeOf(error),
    cause: error,
  });
}

/** Whether the peer or the proxy has hung up, nobody can tell from here. No cause: see diedBeforeAnswer, which would have it tried again. */
function cutTunnel(options: DialTcpOptions, proxy: TunnelProxy, servername: string): DialError {
  const address = addressText(options);
  const proxyProblem = cutTunnelProblem(proxy);
  const details = { address, servername, proxyProblem };
  return new DialError('unreachable', `Cannot connect to ${address}: ${proxyProblem}`, details);
}

/** A peer that hangs up in the middle of a handshake is going away; one that dislikes us sends an alert. */
function isReset(error: Error): boolean {
  const code = systemCodeOf(error);
  return code === 'ECONNRESET' || code === 'EPIPE' || code === undefined;
}

function systemCodeOf(error: Error): string | undefined {
  const first = error instanceof AggregateError ? (error.errors[0] as unknown) : error;
  if (!(first instanceof Error) || !('code' in first)) return undefined;
  return typeof first.code === 'string' ? first.code : undefined;
}

/** `host:port`, with brackets around an IPv6 address. */
export function addressText({ host, port }: { host: string; port: number }): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}
