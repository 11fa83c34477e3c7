// undici behind a small door: one pool of HTTP/1.1 connections for one endpoint and one TLS identity, and its errors in kexer's words. The
// rest of kexer sees raw header lists and a sink. Deadlines are the caller's: undici's own are off, for watches and logs last for hours.

import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import Pool from 'undici/lib/dispatcher/pool.js';

import { KexerError } from '../base/errors.ts';
import type { RawHeader, RawHeaders } from '../protocol/raw-headers.ts';
import type { Endpoint } from './credential.ts';

/** Receives a streamed answer: `onHead`, `onData` …, then exactly one of `onEnd` and `onError`. */
export interface AnswerSink {
  onHead(answer: { status: number; reason: string; headers: RawHeaders }, controller: AnswerController): void;
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

/** Connection-level headers: made by undici for its own connection, never taken from a caller. */
const connectionHeaders = new Set([
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
const idleConnectionMs = 30_000;

export class Transport {
  readonly #pool: InstanceType<typeof Pool>;
  /** For messages: `host:port`. */
  readonly #authority: string;
  readonly #basePath: string;

  constructor(options: {
    endpoint: Endpoint;
    certificate: { cert: string; key: string } | undefined;
    connectTimeoutMs: number;
  }) {
    const { endpoint, certificate } = options;
    const url = new URL(endpoint.url);
    this.#authority = url.host;
    this.#basePath = url.pathname.replace(/\/+$/, '');
    this.#pool = new Pool(url.origin, {
      pipelining: 1,
      allowH2: false,
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: idleConnectionMs,
      keepAliveMaxTimeout: idleConnectionMs,
      connect: {
        timeout: options.connectTimeoutMs,
        keepAliveInitialDelay: 30_000,
        rejectUnauthorized: endpoint.isVerified,
        ...(endpoint.ca === undefined ? {} : { ca: endpoint.ca }),
        ...(endpoint.servername === undefined ? {} : { servername: endpoint.servername }),
        ...(certificate === undefined ? {} : { cert: certificate.cert, key: certificate.key }),
      },
    });
  }

  /** Sends one request. The sink may be called before this returns, if the request cannot even be written. */
  dispatch(request: TransportRequest, sink: AnswerSink): AnswerController {
    const exchange = new Exchange(sink, this.#authority);
    const headers = request.headers.filter(([name]) => !connectionHeaders.has(name.toLowerCase())).flat();
    if (request.contentLength !== undefined) headers.push('content-length', String(request.contentLength));
    try {
      this.#pool.dispatch(
        {
          method: request.method,
          path: this.#basePath + request.target,
          headers,
          body: request.body ?? null,
          // Never pipelined, so undici's own idea of what is idempotent must not hold a POST back behind a watch.
          idempotent: true,
        },
        exchange,
      );
    } catch (error) {
      exchange.fail(error);
    }
    return exchange;
  }

  /** Ends every connection at once; what is under way fails. */
  async destroy(): Promise<void> {
    await this.#pool.destroy(new KexerError('draining', 'Cannot finish the request: the client was closed'));
  }

  /** Ends every connection when it is idle. */
  async close(): Promise<void> {
    await this.#pool.close();
  }
}

/** One request under way: undici's handler on one side, the sink's controller on the other. */
class Exchange implements Dispatcher.DispatchHandler, AnswerController {
  readonly #sink: AnswerSink;
  readonly #authority: string;
  #controller: Dispatcher.DispatchController | undefined;
  #hasHead: boolean;
  #isOver: boolean;

  constructor(sink: AnswerSink, authority: string) {
    this.#sink = sink;
    this.#authority = authority;
    this.#controller = undefined;
    this.#hasHead = false;
    this.#isOver = false;
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    this.#controller?.resume();
  }

  abort(reason: Error): void {
    if (this.#isOver) return;
    this.#isOver = true;
    // Without a controller the request still waits for a connection; onRequestStart drops it then.
    this.#controller?.abort(reason);
    this.#sink.onError(reason);
  }

  fail(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#sink.onError(transportError(error, this.#authority, this.#hasHead));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isOver) controller.abort(new Error('nobody waits for the answer'));
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, _headers: unknown, reason?: string): void {
    // 1xx are not the answer; they concern this connection only.
    if (this.#isOver || status < 200) return;
    this.#hasHead = true;
    this.#sink.onHead({ status, reason: reason ?? '', headers: rawHeadersOf(controller) }, this);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#isOver) this.#sink.onData(chunk);
  }

  onResponseEnd(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#sink.onEnd();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.fail(error);
  }
}

function rawHeadersOf(controller: Dispatcher.DispatchController): RawHeader[] {
  const flat = controller.rawHeaders;
  if (!Array.isArray(flat)) return [];
  const headers: RawHeader[] = [];
  for (let index = 0; index + 1 < flat.length; index += 2) {
    headers.push([latin1(flat[index]), latin1(flat[index + 1])]);
  }
  return headers;
}

function latin1(value: Buffer | string | undefined): string {
  return typeof value === 'object' ? value.toString('latin1') : (value ?? '');
}

/** OpenSSL's and Node's codes for a peer that could not be verified or a handshake that failed. */
const tlsCode =
  /^(ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_CA|INVALID_PURPOSE|HOSTNAME_MISMATCH|EPROTO)/;

/** What undici, Node or OpenSSL threw, in a code that decides policy. The message names the endpoint; `cause` has the rest. */
function transportError(cause: unknown, authority: string, hasHead: boolean): KexerError {
  if (cause instanceof KexerError) return cause;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  if (hasHead) return new KexerError('cut', `Cannot read the whole answer of the apiserver at ${authority}`, { cause });
  if (tlsCode.test(code)) {
    return new KexerError('tls', `Cannot trust the apiserver at ${authority}`, { cause });
  }
  if (code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED') {
    return new KexerError('badRequest', `Cannot write the request for the apiserver at ${authority}`, { cause });
  }
  if (code === 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH') {
    return new KexerError('badRequest', 'Cannot send the request: its body is not as long as it said', { cause });
  }
  const isUnreadable = cause instanceof Error && cause.name === 'HTTPParserError';
  if (isUnreadable || code === 'UND_ERR_HEADERS_OVERFLOW') {
    return new KexerError('badGateway', `Cannot understand the answer of the apiserver at ${authority}`, { cause });
  }
  return new KexerError('unreachable', `Cannot reach the apiserver at ${authority}`, { cause });
}

/** Whether an `unreachable` came from a connection that had been made and died before any byte of an answer. */
export function diedBeforeAnswer(error: unknown): boolean {
  if (!(error instanceof KexerError) || error.code !== 'unreachable') return false;
  const { cause } = error;
  if (!(cause instanceof Error) || !('code' in cause)) return false;
  if (cause.code === 'UND_ERR_SOCKET' || cause.code === 'EPIPE') return true;
  // A refused or reset connect has the system call `connect`.
  return cause.code === 'ECONNRESET' && !('syscall' in cause && cause.syscall === 'connect');
}
