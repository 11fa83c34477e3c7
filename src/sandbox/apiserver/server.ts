// The sandbox's kube-apiserver: one TLS port that speaks HTTP/2 and HTTP/1.1 by ALPN and asks for client certificates. Requests and
// upgrades pass the same chain. It can be stopped, killed and started again on its port, as tests of outages need.

import type { X509Certificate } from 'node:crypto';
import { constants as tlsConstants } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type SecureServerOptions,
  type ServerHttp2Session,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';

import type { Clock } from '../../base/clock.ts';
import { resetSocket } from '../../net/reset.ts';
import { ApiRequest } from './chain/api-request.ts';
import type { Chain } from './chain/chain.ts';
import type { ClientCertificate } from './identity/authentication.ts';

export interface ApiServerOptions {
  readonly port: number;
  readonly serving: { readonly cert: string; readonly key: string };
  /** PEM bundle of the CA that client certificates must come from. */
  readonly clientCa: string;
}

/** How long requests in flight may take when the server stops. */
const stopGraceMs = 1000;
const maxHeaderBytes = 1024 * 1024;
/** Go's IdleTimeout in kube-apiserver's server. */
const idleTimeoutMs = 90_000;

export class ApiServer {
  readonly #clock: Clock;
  readonly #chain: Chain;
  readonly #options: ApiServerOptions;
  readonly #sockets = new Set<Socket>();
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #requests = new Set<ApiRequest>();
  /** One certificate object for each connection: parsing it costs more than most requests do. */
  readonly #clients = new WeakMap<object, ClientCertificate | undefined>();
  #server: Http2SecureServer | undefined;
  #port: number;

  constructor(deps: { clock: Clock; chain: Chain }, options: ApiServerOptions) {
    this.#clock = deps.clock;
    this.#chain = deps.chain;
    this.#options = options;
    this.#port = options.port;
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  get isListening(): boolean {
    return this.#server?.listening === true;
  }

  /** Requests not answered yet, watches and proxied streams included. */
  get requestsInFlight(): number {
    return this.#requests.size;
  }

  /** Listens; after a stop or kill again on the port it had. */
  async start(): Promise<void> {
    const { serving, clientCa } = this.#options;
    // `maxHeaderSize` and `keepAliveTimeout` reach the HTTP/1.1 side, though the types of HTTP/2 do not know it.
    const limits: SecureServerOptions & { maxHeaderSize: number; keepAliveTimeout: number } = {
      maxHeaderSize: maxHeaderBytes,
      keepAliveTimeout: idleTimeoutMs,
      maxHeaderListPairs: 2000,
      settings: { maxHeaderListSize: maxHeaderBytes, maxConcurrentStreams: 1000, initialWindowSize: 1024 * 1024 },
    };
    const server = createSecureServer({
      ...limits,
      allowHTTP1: true,
      cert: serving.cert,
      key: serving.key,
      ca: clientCa,
      requestCert: true,
      rejectUnauthorized: false,
      // Without tickets no session is resumed, so what the handshake verified is what this connection proved.
      secureOptions: tlsConstants.SSL_OP_NO_TICKET,
    });
    // No limit besides the bytes, as in Go: with one, Node drops header lines silently, identities among them.
    Object.assign(server, { maxHeadersCount: 0 });
    this.#server = server;
    server.on('connection', (socket: Socket) => this.#track(socket));
    server.on('session', (session) => {
      this.#sessions.add(session);
      session.setLocalWindowSize(4 * 1024 * 1024);
      session.once('close', () => this.#sessions.delete(session));
      session.on('error', () => {}); // its streams' requests see their own end
    });
    server.on('sessionError', () => {});
    server.on('tlsClientError', () => {}); // a client that hung up or does not trust us: its business
    server.on('clientError', (_error: Error, socket: Duplex) => socket.destroy());
    server.on('request', (request, response) => this.#request(request, response));
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on('error', () => {}); // the request's end is seen at 'close'
      this.#serve(new ApiRequest({ request, upgrade: { socket, head } }, { receivedAtMs: this.#clock.now() }), socket);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ port: this.#port, host: '127.0.0.1' }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    this.#port = (server.address() as AddressInfo).port;
  }

  /** Stops listening, lets short requests end, ends watches and streams, closes everything. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
    for (const request of this.#requests) if (isStreaming(request)) request.abort();
    for (const session of this.#sessions) session.close();
    if (this.#requests.size > 0) await this.#drained();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Every connection is reset and the port closed, as if the process was killed. */
  async kill(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
    for (const session of this.#sessions) session.destroy();
    for (const socket of this.#sockets) resetSocket(socket);
    await closed;
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.after(stopGraceMs, resolve);
      const check = (): void => {
        if (this.#requests.size > 0) return;
        timer.cancel();
        resolve();
      };
      for (const request of this.#requests) request.onDone(() => setImmediate(check));
    });
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.once('close', () => this.#sockets.delete(socket));
  }

  #request(request: IncomingMessage | Http2ServerRequest, response: ServerResponse | Http2ServerResponse): void {
    const key = 'stream' in request ? (request.stream.session ?? request.stream) : request.socket;
    this.#serve(new ApiRequest({ request, response }, { receivedAtMs: this.#clock.now() }), key, request.socket);
  }

  #serve(request: ApiRequest, connection: object, socket: object = connection): void {
    this.#requests.add(request);
    request.onDone(() => this.#requests.delete(request));
    void this.#chain.handle(request, this.#client(connection, socket as TLSSocket));
  }

  #client(connection: object, socket: TLSSocket): ClientCertificate | undefined {
    if (this.#clients.has(connection)) return this.#clients.get(connection);
    const certificate: X509Certificate | undefined = socket.getPeerX509Certificate();
    const client = certificate === undefined ? undefined : { certificate, isVerified: socket.authorized };
    this.#clients.set(connection, client);
    return client;
  }
}

function isStreaming(request: ApiRequest): boolean {
  return request.answer !== undefined;
}
