// One TLS port for HTTP/2 and HTTP/1.1, chosen by ALPN. A tls.Server accepts and hands each socket to Node's http or http2 server, as
// both document ('connection' may be emitted with any stream): each keeps its own limits, and upgrades exist on HTTP/1.1 alone. Client
// certificates are asked for and never judged here. TLS sessions are never resumed: a resumed one would skip the certificate. No error of
// any connection ends the process.

import { Buffer } from 'node:buffer';
import type { IncomingMessage, Server as HttpServer } from 'node:http';
import { createServer as createHttp2Server, type Http2Server, type ServerHttp2Session } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { constants } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer, type TlsOptions } from 'node:tls';

import { peerIdentityOf, type PeerIdentity } from '../auth/peer-identity.ts';
import { KexerError } from '../base/errors.ts';
import { createServer as createHttpServer } from '../base/node-http.ts';
import type { KeyPairPem } from '../certs/generate.ts';
import { preferredCiphers } from '../net/ciphers.ts';
import { ignoreErrors } from '../net/ignore-errors.ts';
import { keepAlive } from '../net/keep-alive.ts';

import type { AnyRequest, Exchange } from './request-context.ts';
import { closeSession, SessionIdle } from './session-idle.ts';
import { watchSession } from './session-keepalive.ts';
import { Strangers } from './strangers.ts';

export interface Connection {
  readonly peer: PeerIdentity | undefined;
  readonly remoteAddress: string;
  /** To be called when a request on it was authenticated: it is no stranger's any more. */
  readonly markKnown: () => void;
}

/** How slow a client may be, in milliseconds; each has a default. */
export interface ListenerDeadlines {
  /** Until the head of a request is complete, and until TLS is. */
  readonly headDeadlineMs: number;
  /** A connection without a request. Longer than the 90 s for which Go's client keeps one. */
  readonly idleDeadlineMs: number;
  /** The rest of a body after the answer to it; its connection is of no use before. */
  readonly unreadBodyDeadlineMs: number;
  /** From the connection to the first request that is authenticated; a token's review takes 10 s at most. */
  readonly strangerDeadlineMs: number;
}

export interface ListenerOptions extends Partial<ListenerDeadlines> {
  readonly pair: KeyPairPem;
  /** Of a request. Default 64 KiB: users in hundreds of groups need more than Node's 16; kube-apiserver's 1 MiB is memory for anybody to take. */
  readonly maxHeaderBytes?: number;
  /** Connections of one address on which nobody was authenticated; 0 or absent: no limit. */
  readonly maxStrangersPerSource?: number;
}

export const defaultDeadlines: ListenerDeadlines = {
  headDeadlineMs: 15_000,
  idleDeadlineMs: 120_000,
  unreadBodyDeadlineMs: 10_000,
  strangerDeadlineMs: 60_000,
};

export interface ListenerHandlers {
  onExchange(exchange: Exchange, connection: Connection): void;
  /** A connection that never became a request: handshake, parser and protocol errors. */
  onConnectionError(error: unknown, remoteAddress: string | undefined): void;
}

interface Http1State {
  readonly socket: TLSSocket;
  isBusy: boolean;
  /** It ends with the answer under way. */
  isLast: boolean;
}

const defaultMaxHeaderBytes = 64 * 1024;
/** The same bound in header lines, which Node counts separately on HTTP/2. */
const maxHeaderLines = 1000;
const noBytes = Buffer.alloc(0);
/** As kube-apiserver: one kubectl or informer factory multiplexes its watches on one connection. */
const maxStreamsPerConnection = 250;
/** As on other legs to clients: pings for load balancers, and the time that Linux resends to a machine that is gone. */
const http2Keepalive = { intervalMs: 30_000, limitMs: 900_000 } as const;
/**
 * What a client that reads slowly may have waiting on HTTP/1.1 before the cluster's answer is held. With Node's 16 KiB the long answers of a list stop and
 * start at every record of TLS: 100 MiB took 0.30 s of CPU, with this 0.22.
 */
const socketBufferBytes = 128 * 1024;
const streamWindowBytes = 256 * 1024;
const connectionWindowBytes = 1024 * 1024;

export class Listener {
  readonly #tls: TlsServer;
  readonly #http: HttpServer;
  readonly #http2: Http2Server;
  readonly #handlers: ListenerHandlers;
  readonly #connections = new WeakMap<object, Connection>();
  readonly #sockets = new Set<TLSSocket>();
  /** HTTP/1.1 connections, and whether a request or an upgrade is under way on each. */
  readonly #http1 = new Map<object, Http1State>();
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #idle = new WeakMap<object, SessionIdle>();
  readonly #sessionOf = new WeakMap<Connection, ServerHttp2Session>();
  readonly #strangers: Strangers;
  readonly #deadlines: ListenerDeadlines;
  #arriving: Connection | undefined;
  #isDraining: boolean;

  constructor(options: ListenerOptions, handlers: ListenerHandlers) {
    this.#handlers = handlers;
    this.#arriving = undefined;
    this.#isDraining = false;
    this.#deadlines = { ...defaultDeadlines, ...options };
    const { headDeadlineMs, strangerDeadlineMs: deadlineMs } = this.#deadlines;
    this.#strangers = new Strangers({ perSource: options.maxStrangersPerSource ?? 0, deadlineMs });
    const maxHeaderBytes = options.maxHeaderBytes ?? defaultMaxHeaderBytes;
    this.#http = this.#createHttp(maxHeaderBytes);
    this.#http2 = this.#createHttp2(maxHeaderBytes);
    this.#tls = createTlsServer({
      ...secureOptions(options.pair),
      requestCert: true,
      rejectUnauthorized: false,
      ALPNCallback: chooseProtocol,
      handshakeTimeout: headDeadlineMs,
      noDelay: true,
      highWaterMark: socketBufferBytes,
    });
    this.#tls.on('connection', (socket: Socket) => {
      keepAlive(socket);
      if (this.#strangers.admit(socket)) return;
      // Before its handshake, which would cost more than everything else.
      handlers.onConnectionError(
        new KexerError('overLimit', 'Cannot take the connection: its address has too many that are not authenticated'),
        socket.remoteAddress,
      );
      socket.destroy();
    });
    this.#tls.on('secureConnection', (socket) => this.#accept(socket));
    this.#tls.on('tlsClientError', (error, socket) => {
      handlers.onConnectionError(error, socket.remoteAddress);
      socket.destroy();
    });
  }

  /** @throws KexerError config if the address cannot be listened on. Resolves with the port. */
  async listen(options: { host: string; port: number }): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      const fail = (error: NodeJS.ErrnoException): void => reject(listenError(error, options));
      this.#tls.once('error', fail);
      this.#tls.listen(options, () => {
        this.#tls.off('error', fail);
        resolve();
      });
    });
    this.#tls.on('error', (error) => this.#handlers.onConnectionError(error, undefined));
    // Node starts the check of header deadlines at this event; the server itself never listens.
    this.#http.emit('listening');
    const address = this.#tls.address() as AddressInfo;
    return address.port;
  }

  /** Open ones, those of them on which nobody has been authenticated yet, and how many were not taken because their address has too many. */
  get connections(): { readonly open: number; readonly strangers: number; readonly refused: number } {
    return { open: this.#sockets.size, strangers: this.#strangers.size, refused: this.#strangers.refused };
  }

  /** New connections get the new pair; those that exist keep theirs. */
  replacePair(pair: KeyPairPem): void {
    this.#tls.setSecureContext(secureOptions(pair));
  }

  /**
   * From now on no connection is kept for another request: idle ones end, HTTP/2 gets GOAWAY, answers on HTTP/1.1 say close. New ones are
   * still accepted, for one answer each.
   */
  shed(): void {
    this.#isDraining = true;
    // Not closeIdleConnections: Node counts a connection that never had a request as busy.
    for (const { socket, isBusy } of this.#http1.values()) if (!isBusy) socket.destroy();
    for (const session of this.#sessions) session.close();
  }

  /** Stops accepting, ends idle connections, and resolves when the last one is gone. */
  async drain(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#tls.close(() => resolve());
    });
    this.shed();
    await closed;
    // Also ends the interval of the header check.
    this.#http.close();
  }

  /** Ends every connection at once. */
  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(socket: TLSSocket): void {
    socket.on('error', (error) => this.#handlers.onConnectionError(error, socket.remoteAddress));
    if (socket.destroyed) return;
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    const remoteAddress = plainAddress(socket.remoteAddress);
    const peer = peerIdentityOf(socket);
    if (socket.alpnProtocol === 'h2') {
      const markKnown = this.#strangers.follow(socket, () => {
        const session = this.#sessionOf.get(connection);
        if (session === undefined) socket.destroy();
        else closeSession(session);
      });
      const connection = { peer, remoteAddress, markKnown };
      // 'session' is emitted before this returns; a session shows its socket only through a proxy, so it is known by itself.
      this.#arriving = connection;
      this.#http2.emit('connection', socket);
      this.#arriving = undefined;
      const session = this.#sessionOf.get(connection);
      if (session !== undefined) watchSession(session, socket, http2Keepalive);
    } else {
      // A half-close is the protocol's to read: a request may still get its answer, a stream is not at its end. Only from here on: an
      // HTTP/2 peer or a handshake that closes its half has left, and would hold a half-open socket until a deadline.
      socket.allowHalfOpen = true;
      const state: Http1State = { socket, isBusy: false, isLast: false };
      const markKnown = this.#strangers.follow(socket, () => this.#endSoon(state));
      this.#connections.set(socket, { peer, remoteAddress, markKnown });
      this.#http1.set(socket, state);
      socket.once('close', () => this.#http1.delete(socket));
      this.#http.emit('connection', socket);
    }
  }

  #createHttp(maxHeaderBytes: number): HttpServer {
    const { headDeadlineMs, idleDeadlineMs } = this.#deadlines;
    const server = createHttpServer({
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: headDeadlineMs,
      // The deadline is kept with this precision.
      connectionsCheckingInterval: headDeadlineMs / 3,
      // Bodies of uploads and answers of watches take as long as they take.
      requestTimeout: 0,
      keepAliveTimeout: idleDeadlineMs,
      requireHostHeader: true,
      rejectNonStandardBodyWrites: true,
      highWaterMark: socketBufferBytes,
    });
    server.timeout = 0;
    // 0: no limit besides the bytes. With one, Node would drop header lines silently, identities among them.
    server.maxHeadersCount = 0;
    server.on('request', (request, response) => {
      if (this.#isDraining) response.setHeader('Connection', 'close');
      this.#onExchange({ kind: 'request', request, response }, request.socket);
    });
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      // The http server's own error listener is gone with the upgrade.
      ignoreErrors(socket);
      // An empty head is a slice of the request's own bytes, which a session would keep alive.
      this.#onExchange({ kind: 'upgrade', request, socket, head: head.length === 0 ? noBytes : head }, request.socket);
    });
    server.on('connect', (_request, socket) => {
      ignoreErrors(socket);
      refuse(socket, '405 Method Not Allowed');
    });
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      this.#handlers.onConnectionError(error, undefined);
      if (!socket.writable || error.code === 'ECONNRESET') socket.destroy();
      else refuse(socket, parserAnswers[error.code ?? ''] ?? '400 Bad Request');
    });
    return server;
  }

  #createHttp2(maxHeaderBytes: number): Http2Server {
    const { headDeadlineMs, idleDeadlineMs } = this.#deadlines;
    const server = createHttp2Server({
      maxHeaderListPairs: maxHeaderLines,
      maxSessionMemory: 32,
      maxSessionRejectedStreams: 100,
      maxSessionInvalidFrames: 100,
      // Rapid reset: a client may abandon many watches at once, but not without end.
      streamResetBurst: 1000,
      streamResetRate: 50,
      settings: {
        maxConcurrentStreams: maxStreamsPerConnection,
        maxHeaderListSize: maxHeaderBytes,
        initialWindowSize: streamWindowBytes,
        enablePush: false,
        enableConnectProtocol: false,
      },
      unknownProtocolTimeout: headDeadlineMs,
    });
    server.on('session', (session) => {
      this.#sessions.add(session);
      this.#idle.set(session, new SessionIdle(session, { firstMs: headDeadlineMs, idleMs: idleDeadlineMs }));
      if (this.#arriving !== undefined) {
        this.#connections.set(session, this.#arriving);
        this.#sessionOf.set(this.#arriving, session);
      }
      session.once('close', () => this.#sessions.delete(session));
      session.setLocalWindowSize(connectionWindowBytes);
    });
    server.on('sessionError', (error) => this.#handlers.onConnectionError(error, undefined));
    server.on('request', (request, response) => {
      // A stream's errors (a reset, a protocol error) end that stream; its requests see 'close'.
      request.on('error', () => {});
      response.on('error', () => {});
      const { session } = request.stream;
      if (session !== undefined) this.#idle.get(session)?.began(request.stream);
      this.#onExchange({ kind: 'request', request, response }, session);
      // GOAWAY, once this stream is known: it and those before it are still answered.
      if (this.#isDraining) session?.close();
    });
    return server;
  }

  #onExchange(exchange: Exchange, owner: object | undefined): void {
    const connection = owner === undefined ? undefined : this.#connections.get(owner);
    // The session of a stream that is already gone; nobody waits for an answer.
    if (connection === undefined || owner === undefined) {
      exchange.request.destroy();
      return;
    }
    const state = this.#http1.get(owner);
    if (state !== undefined) {
      state.isBusy = true;
      if (exchange.kind === 'request') {
        const { request, response } = exchange;
        response.once('close', () => this.#release(state, request));
      }
    }
    this.#handlers.onExchange(exchange, connection);
  }

  /** An answer is complete; while draining its connection is of no further use, whatever its headers said. */
  #release(state: Http1State, request: AnyRequest): void {
    state.isBusy = false;
    const { socket } = state;
    if (this.#isDraining || state.isLast) {
      socket.end(() => socket.destroy());
    } else if (!request.complete && !socket.destroyed) {
      // Node reads the rest of the body for as long as it comes, a byte a minute.
      const timer = setTimeout(() => socket.destroy(), this.#deadlines.unreadBodyDeadlineMs);
      timer.unref();
      request.once('close', () => clearTimeout(timer));
    }
  }

  /** At once, or after the answer under way, which gets no more time than a head. */
  #endSoon(state: Http1State): void {
    const { socket } = state;
    if (!state.isBusy) {
      socket.destroy();
      return;
    }
    state.isLast = true;
    const timer = setTimeout(() => socket.destroy(), this.#deadlines.headDeadlineMs);
    timer.unref();
    socket.once('close', () => clearTimeout(timer));
  }
}

/** In the order of the server's liking. */
const spokenProtocols = ['h2', 'http/1.1'];

/**
 * Undefined ends the handshake with the alert `no_application_protocol`, as with a list. Of a list Node makes a slice of its pool for each connection,
 * which keeps 64 KiB of pool alive for as long as that lives: 9 KiB a session.
 */
function chooseProtocol({ protocols }: { protocols: readonly string[] }): string | undefined {
  return spokenProtocols.find((protocol) => protocols.includes(protocol));
}

/** Answers to what the HTTP/1.1 parser refuses. */
const parserAnswers: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

/** A bare refusal in the form of Go's server, then the end of the connection. */
function refuse(socket: Duplex, status: string): void {
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${status.length}\r\nConnection: close\r\n\r\n${status}`,
    () => socket.destroy(),
  );
}

function secureOptions(pair: KeyPairPem): TlsOptions {
  return {
    cert: pair.cert,
    key: pair.key,
    minVersion: 'TLSv1.2',
    ciphers: preferredCiphers(),
    // No tickets; and without a listener for 'newSession' Node keeps no sessions either, so none can be resumed.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    // None: the two CAs are checked separately by auth. Undefined would load the system's.
    ca: [],
  };
}

function listenError(error: NodeJS.ErrnoException, wanted: { host: string; port: number }): KexerError {
  const where = `${wanted.host}:${wanted.port}`;
  switch (error.code) {
    case 'EADDRINUSE':
      return new KexerError('config', `Cannot listen on --secure-port ${where}: it is in use, want a free port`);
    case 'EACCES':
      return new KexerError(
        'config',
        `Cannot listen on --secure-port ${where}: not permitted, want a port this user may use (1024 or higher)`,
      );
    case 'EADDRNOTAVAIL':
      return new KexerError(
        'config',
        `Cannot listen on --bind-address ${wanted.host}: it is no address of this machine, want one of its own or 0.0.0.0`,
      );
    default:
      return new KexerError('config', `Cannot listen on ${where}`, { cause: error });
  }
}

/** IPv4 addresses as such, also when they come over a socket for both families. */
function plainAddress(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:(?=\d+\.)/, '');
}
