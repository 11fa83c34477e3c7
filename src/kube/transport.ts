// Node's HTTP client behind a small door: kept-alive HTTP/1.1 connections to one endpoint with one TLS identity, and its errors in kexer's
// words. The rest of kexer sees raw header lists and a sink. Deadlines are the caller's: watches and logs last for hours. Not undici: its
// parser is WebAssembly, which costs 23 MB of memory with the first request where this costs 6 (measured with Node 24.21).

import type { ClientRequest, IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { LookupFunction, Socket } from 'node:net';
import type { Readable } from 'node:stream';

import { KexerError } from '../base/errors.ts';
import { Agent as HttpAgent, request as httpRequest } from '../base/node-http.ts';
import { fromRawHeaders, type RawHeader, type RawHeaders } from '../protocol/raw-headers.ts';
import { type AddressGuard, checkLiteral, guardedLookup } from './address-guard.ts';
import type { Endpoint } from './credential.ts';
import { tlsOptions } from './endpoint-tls.ts';
import { transportError } from './transport-error.ts';
import { departure, TunnelAgent } from './tunnel-agent.ts';

/** Receives a streamed answer: `onHead`, `onData` …, then exactly one of `onEnd` and `onError`. */
export interface AnswerSink {
  onHead(answer: { status: number; reason: string; headers: RawHeaders }, controller: AnswerController): void;
  /** @param chunk may be a small part of a large read: who keeps it beyond this turn of the event loop takes a copy (`ownBytes`). */
  onData(chunk: Buffer): void;
  onEnd(): void;
  /**
   * KexerError unreachable, tls or badGateway before `onHead`; cut after it; or the reason given to `abort`.
   */
  onError(error: Error): void;
}

export interface AnswerController {
  pause(): void;
  resume(): void;
  /** The sink hears `reason` in `onError`, unless the answer is complete. */
  abort(reason: Error): void;
}

export interface TransportRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: RawHeaders;
  readonly body: Readable | Buffer | undefined;
  /** Of a streamed body, if it is known; without it the body is sent in chunks. */
  readonly contentLength: number | undefined;
}

/** Connection-level headers: made here for this connection, never taken from a caller. */
export const connectionHeaders: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'proxy-connection',
  'keep-alive',
  'upgrade',
  'expect',
  'te',
  'trailer',
]);

/** Below Go's and most load balancers' own limits, so that kexer is as a rule the one who closes an idle connection. */
export const idleConnectionMs = 30_000;
const keepAliveProbeMs = 30_000;
/** kube-apiserver's own bound for heads; Node's default of 16 KiB would refuse what it may send. */
export const maxHeadBytes = 1024 * 1024;
/** Methods whose request without a body says so, as Go's client does. */
const bodyMethods = new Set(['POST', 'PUT', 'PATCH']);

export class Transport {
  readonly #agent: HttpAgent;
  readonly #isTls: boolean;
  readonly #isTunnelled: boolean;
  readonly #host: string;
  readonly #port: number;
  /** `host:port`: the value of Host, and for messages. */
  readonly #authority: string;
  readonly #basePath: string;
  readonly #connectTimeoutMs: number;
  readonly #guard: AddressGuard | undefined;
  /** Of names; undefined: the system's. */
  readonly #lookup: LookupFunction | undefined;
  readonly #exchanges = new Set<Exchange>();

  constructor(options: {
    endpoint: Endpoint;
    certificate: { cert: string; key: string } | undefined;
    connectTimeoutMs: number;
  }) {
    const { endpoint, certificate } = options;
    const url = new URL(endpoint.url);
    this.#isTls = url.protocol === 'https:';
    this.#host = url.hostname.replace(/^\[|\]$/g, '');
    this.#port = url.port === '' ? (this.#isTls ? 443 : 80) : Number(url.port);
    this.#authority = url.host;
    this.#basePath = url.pathname.replace(/\/+$/, '');
    this.#connectTimeoutMs = options.connectTimeoutMs;
    this.#guard = endpoint.guard;
    this.#lookup = endpoint.guard === undefined ? undefined : guardedLookup(endpoint.guard);
    const common = {
      keepAlive: true,
      keepAliveMsecs: keepAliveProbeMs,
      noDelay: true,
      // Of idle connections only: an active one has no timeout listener.
      timeout: idleConnectionMs,
      // The one used last is the least likely to be closed by the peer at this moment.
      scheduling: 'lifo' as const,
    };
    const secure = { ...common, ALPNProtocols: ['http/1.1'], ...tlsOptions(endpoint, certificate) };
    const { proxy, guard } = endpoint;
    this.#isTunnelled = proxy !== undefined;
    if (proxy === undefined) {
      this.#agent = this.#isTls ? new HttpsAgent(secure) : new HttpAgent(common);
    } else {
      if (!this.#isTls)
        throw new KexerError('config', 'Cannot use an endpoint without TLS through a proxy, which would read all');
      this.#agent = new TunnelAgent(secure, {
        proxy,
        guard,
        host: this.#host,
        port: this.#port,
        authority: this.#authority,
        connectTimeoutMs: this.#connectTimeoutMs,
      });
    }
  }

  /** Sends one request. The sink may be called before this returns, if the request cannot even be written. */
  dispatch(request: TransportRequest, sink: AnswerSink): AnswerController {
    // Without a proxy Node ends a connect that nobody waits for by itself.
    const left = this.#isTunnelled ? new AbortController() : undefined;
    const exchange = new Exchange(sink, this.#authority, () => {
      this.#exchanges.delete(exchange);
      left?.abort();
    });
    this.#exchanges.add(exchange);
    try {
      if (this.#guard !== undefined) checkLiteral(this.#guard, this.#host);
      const send = this.#isTls ? httpsRequest : httpRequest;
      exchange.start(
        send({
          agent: this.#agent,
          host: this.#host,
          port: this.#port,
          ...(this.#lookup === undefined ? {} : { lookup: this.#lookup }),
          method: request.method,
          path: this.#basePath + request.target,
          // A flat list goes out as it is: repeated names apart, nothing added but Connection.
          headers: this.#headersOf(request),
          maxHeaderSize: maxHeadBytes,
          ...(left === undefined ? {} : { [departure]: left.signal }),
        }),
        request,
        this.#connectTimeoutMs,
      );
    } catch (error) {
      exchange.fail(error);
    }
    return exchange;
  }

  /** Ends every connection at once; what is under way fails. */
  async destroy(): Promise<void> {
    for (const exchange of this.#exchanges) {
      exchange.abort(new KexerError('draining', 'Cannot finish the request: the client was closed'));
    }
    this.#agent.destroy();
  }

  /** Ends every connection when it is idle. */
  async close(): Promise<void> {
    this.#agent.maxFreeSockets = 0;
    for (const sockets of Object.values(this.#agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
  }

  #headersOf({ method, headers, body, contentLength }: TransportRequest): string[] {
    const flat = ['Host', this.#authority];
    for (const [name, value] of headers) if (!connectionHeaders.has(name.toLowerCase())) flat.push(name, value);
    // Always explicit: for some methods Node would send a body without any framing, which the peer reads as a second request.
    const length = Buffer.isBuffer(body) ? body.length : contentLength;
    if (body === undefined) {
      if (bodyMethods.has(method)) flat.push('Content-Length', '0');
    } else if (length === undefined) {
      flat.push('Transfer-Encoding', 'chunked');
    } else {
      flat.push('Content-Length', String(length));
    }
    return flat;
  }
}

/** One request under way: Node's request and response on one side, the sink and its controller on the other. */
class Exchange implements AnswerController {
  readonly #sink: AnswerSink;
  readonly #authority: string;
  readonly #forget: () => void;
  #request: ClientRequest | undefined;
  #response: IncomingMessage | undefined;
  #isPaused: boolean;
  #isOver: boolean;

  constructor(sink: AnswerSink, authority: string, forget: () => void) {
    this.#sink = sink;
    this.#authority = authority;
    this.#forget = forget;
    this.#request = undefined;
    this.#response = undefined;
    this.#isPaused = false;
    this.#isOver = false;
  }

  start(request: ClientRequest, { body, contentLength }: TransportRequest, connectTimeoutMs: number): void {
    this.#request = request;
    request.on('error', (error) => this.fail(error));
    request.on('response', (response) => this.#accept(response));
    // Nothing that goes through here asks for one. Without a listener Node would close the connection and tell nobody.
    request.on('upgrade', (_response, socket) => {
      socket.destroy();
      this.fail(new KexerError('badGateway', 'Cannot use the answer: the apiserver switched protocols unasked'));
    });
    request.once('socket', (socket) => this.#limitConnect(socket, connectTimeoutMs));
    if (body === undefined) request.end();
    else if (Buffer.isBuffer(body)) request.end(body);
    else this.#send(request, body, contentLength);
  }

  pause(): void {
    this.#isPaused = true;
    this.#response?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#response?.resume();
  }

  abort(reason: Error): void {
    if (this.#isOver) return;
    this.#end();
    this.#request?.destroy();
    this.#sink.onError(reason);
  }

  fail(error: unknown): void {
    if (this.#isOver) return;
    this.#end();
    this.#request?.destroy();
    this.#sink.onError(transportError(error, this.#authority, this.#response !== undefined));
  }

  #end(): void {
    this.#isOver = true;
    this.#forget();
  }

  #accept(response: IncomingMessage): void {
    if (this.#isOver) return;
    this.#response = response;
    response.on('error', (error) => this.fail(error));
    response.on('data', (chunk: Buffer) => {
      if (!this.#isOver) this.#sink.onData(chunk);
    });
    response.on('end', () => {
      if (this.#isOver) return;
      if (!response.complete) {
        this.fail(new Error('the body was cut'));
        return;
      }
      this.#end();
      // Answered before the whole request was read: the connection stands in the middle of a body and is of no further use.
      if (this.#request?.writableFinished === false) this.#request.destroy();
      this.#sink.onEnd();
    });
    // A listener for `data` sets it flowing; a sink that wants to wait says so before or in onHead.
    if (this.#isPaused) response.pause();
    const headers: RawHeader[] = fromRawHeaders(response.rawHeaders);
    this.#sink.onHead({ status: response.statusCode ?? 0, reason: response.statusMessage ?? '', headers }, this);
  }

  /** Sends the body as it comes, its end only if it is as long as was announced. */
  #send(request: ClientRequest, body: Readable, contentLength: number | undefined): void {
    let sent = 0;
    const fail = (): void => {
      this.fail(new KexerError('badRequest', 'Cannot send the request: its body is not as long as it said'));
    };
    body.on('data', (chunk: Buffer) => {
      if (this.#isOver) return;
      sent += chunk.length;
      if (contentLength !== undefined && sent > contentLength) fail();
      else if (!request.write(chunk)) body.pause();
    });
    request.on('drain', () => body.resume());
    body.on('end', () => {
      if (this.#isOver) return;
      if (contentLength !== undefined && sent < contentLength) fail();
      else request.end();
    });
    body.on('error', (error) => this.fail(error));
    body.on('close', () => {
      if (!body.readableEnded) this.fail(new KexerError('clientGone', 'Cannot read the whole request: it was cut'));
    });
  }

  #limitConnect(socket: Socket, timeoutMs: number): void {
    if (!socket.connecting) return;
    // Nothing else ends a connect to an address that drops packets; TLS is part of it.
    const timer = setTimeout(() => this.fail(new Error(`no connection within ${timeoutMs} ms`)), timeoutMs);
    timer.unref();
    const settle = (): void => clearTimeout(timer);
    socket.once('encrypted' in socket ? 'secureConnect' : 'connect', settle);
    socket.once('close', settle);
  }
}
