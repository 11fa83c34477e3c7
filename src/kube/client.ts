// A client of one apiserver endpoint with one credential: kept-alive HTTP/1.1 connections, one request at a time each, and HTTP/2 ones that
// watches and single objects share. Kexer has up to three for a cluster, never mixed: its own (reviews, informers), the impersonator's, and one
// without a credential whose requests carry their caller's token. TLS state is per client, so no connection with a client certificate can
// carry another's request. Raw paths and header lists go out as they are given; only Host, framing and the credential are added here.

import type { Readable } from 'node:stream';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { getHeader, type RawHeader, type RawHeaders, withoutHeaders } from '../protocol/raw-headers.ts';
import type { AddressGuard } from './address-guard.ts';
import type { Credential, Endpoint, PeerCheck } from './credential.ts';
import { failure, StatusError } from './status.ts';
import { parseStatus } from './status-parse.ts';
import { diedBeforeAnswer } from './transport-error.ts';
import { Http2Transport } from './http2-transport.ts';
import { type AnswerController, type AnswerSink, Transport } from './transport.ts';
import type { TunnelProxy } from './tunnel.ts';

export type { AnswerController, AnswerSink } from './transport.ts';

/** A request as it leaves. Host, Content-Length, Transfer-Encoding, Connection and their like in `headers` are dropped. */
export interface RawRequest {
  readonly method: string;
  /** Path and query as raw bytes (latin1), starting with a slash; sent behind the endpoint's path prefix without any change. */
  readonly target: string;
  readonly headers: RawHeaders;
}

export interface RawAnswer {
  readonly status: number;
  readonly reason: string;
  readonly headers: RawHeaders;
  readonly body: Buffer;
}

/** What a connection of its own to the endpoint needs; fits `dialTls` of net/dial.ts, ALPN http/1.1. */
export interface DialSettings {
  readonly isTls: boolean;
  readonly host: string;
  readonly port: number;
  readonly servername?: string;
  readonly ca?: readonly string[];
  readonly certificate?: { readonly cert: string; readonly key: string };
  readonly isVerified: boolean;
  readonly guard?: AddressGuard;
  readonly proxy?: TunnelProxy;
  readonly checkPeer?: PeerCheck;
  /** The value of `Host`. */
  readonly authority: string;
  /** The endpoint's path prefix, '' as a rule; goes before the target. */
  readonly basePath: string;
  /** The credential's headers: `Authorization`, or none. */
  readonly headers: RawHeaders;
}

const defaultTimeoutMs = 30_000;
const defaultConnectTimeoutMs = 10_000;
const defaultMaxBytes = 3 * 1024 * 1024;
/** Pages of lists have at most 500 objects; etcd bounds each to about 1.5 MiB, and real nodes have some 20 KiB. */
const maxJsonBytes = 256 * 1024 * 1024;

export class KubeClient {
  readonly endpoint: Endpoint;
  readonly #clock: Clock;
  readonly #credential: Credential;
  /** `User-Agent` of calls that are kexer's own. */
  readonly userAgent: string;
  readonly #connectTimeoutMs: number;
  readonly #isHttp2Used: boolean;
  /** One for all calls: a closure of each would hold its request, headers and all, for as long as a watch lasts. */
  readonly #onUnauthorized: () => void;
  #transport: Transports | undefined;
  #isClosed: boolean;

  constructor(
    deps: { clock: Clock },
    options: {
      endpoint: Endpoint;
      credential: Credential;
      /** `User-Agent` of kexer's own calls (json); raw requests carry what their headers say. */
      userAgent: string;
      connectTimeoutMs?: number;
      /** Whether answers may share connections, where the endpoint speaks HTTP/2. Default: not. */
      isHttp2Used?: boolean;
    },
  ) {
    this.endpoint = options.endpoint;
    this.#clock = deps.clock;
    this.#credential = options.credential;
    this.userAgent = options.userAgent;
    this.#connectTimeoutMs = options.connectTimeoutMs ?? defaultConnectTimeoutMs;
    this.#isHttp2Used = options.isHttp2Used ?? false;
    this.#onUnauthorized = () => this.#invalidateCredential();
    this.#transport = undefined;
    this.#isClosed = false;
  }

  /**
   * A call of kexer's own with a JSON answer, parsed but not checked.
   * @throws StatusError for any answer that is not 2xx; KexerError unreachable, tls, timeout, clientGone, cut, badGateway.
   */
  async json(call: {
    method?: string;
    target: string;
    body?: unknown;
    contentType?: string;
    /** Default: `application/json`, which any other must allow too. */
    accept?: string;
    timeoutMs?: number;
    signal?: AbortSignal;
  }): Promise<unknown> {
    const method = call.method ?? 'GET';
    const headers: RawHeader[] = [
      ['Accept', call.accept ?? 'application/json'],
      ['User-Agent', this.userAgent],
    ];
    if (call.body !== undefined) headers.push(['Content-Type', call.contentType ?? 'application/json']);
    const answer = await this.exchange({
      method,
      target: call.target,
      headers,
      timeoutMs: call.timeoutMs ?? defaultTimeoutMs,
      maxBytes: maxJsonBytes,
      // A read may run twice. Reviews are POSTs but only ask; their retries are in reviews.ts.
      isRetriedOnce: method === 'GET',
      ...(call.body === undefined ? {} : { body: Buffer.from(JSON.stringify(call.body)) }),
      ...(call.signal === undefined ? {} : { signal: call.signal }),
    });
    if (answer.status < 200 || answer.status > 299) throw new StatusError(statusOfAnswer(answer, method, call.target));
    try {
      return JSON.parse(answer.body.toString('utf8'));
    } catch (cause) {
      throw new KexerError('badGateway', `Cannot read the answer to ${method} ${quote(call.target)}: want JSON`, {
        cause,
      });
    }
  }

  /**
   * One exchange, its answer read whole. With `isRetriedOnce`, a connection that died before the first byte of an answer is tried
   * once more (only for what may run twice): as a rule it had been idle and the apiserver closed it at that moment.
   * @throws KexerError unreachable (nothing of an answer came), tls, timeout, clientGone, cut, badGateway (too large).
   */
  async exchange(
    request: RawRequest & {
      body?: Buffer;
      timeoutMs: number;
      signal?: AbortSignal;
      maxBytes?: number;
      isRetriedOnce?: boolean;
    },
  ): Promise<RawAnswer> {
    const deadlineMs = this.#clock.monotonic() + request.timeoutMs;
    try {
      return await this.#exchangeOnce(request, request.timeoutMs);
    } catch (error) {
      const leftMs = deadlineMs - this.#clock.monotonic();
      if (request.isRetriedOnce !== true || !diedBeforeAnswer(error) || leftMs <= 0) throw error;
      return this.#exchangeOnce(request, leftMs);
    }
  }

  #exchangeOnce(
    request: RawRequest & { body?: Buffer; signal?: AbortSignal; maxBytes?: number },
    timeoutMs: number,
  ): Promise<RawAnswer> {
    const { signal, maxBytes = defaultMaxBytes } = request;
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(abortReason(signal));
        return;
      }
      const chunks: Buffer[] = [];
      let size = 0;
      let head: Omit<RawAnswer, 'body'> | undefined;
      const onAbort = (): void => {
        if (signal !== undefined) controller.abort(abortReason(signal));
      };
      const settle = (): void => {
        timer.cancel();
        signal?.removeEventListener('abort', onAbort);
      };
      const timer = this.#clock.after(timeoutMs, () =>
        controller.abort(
          new KexerError('timeout', `Cannot wait longer for the apiserver: no answer within ${timeoutMs} ms`),
        ),
      );
      signal?.addEventListener('abort', onAbort, { once: true });
      const controller = this.stream(request, {
        onHead: (answer) => {
          head = answer;
        },
        onData: (chunk) => {
          size += chunk.length;
          chunks.push(chunk);
          if (size > maxBytes) {
            controller.abort(
              new KexerError('badGateway', `Cannot hold the apiserver's answer: it is longer than ${maxBytes} bytes`),
            );
          }
        },
        onEnd: () => {
          settle();
          if (head === undefined) reject(new KexerError('badGateway', 'Cannot use the answer: it has no head'));
          else resolve({ ...head, body: Buffer.concat(chunks, size) });
        },
        onError: (error) => {
          settle();
          reject(error);
        },
      });
    });
  }

  /**
   * One exchange, streamed both ways, without deadlines: the caller aborts. `onError` never comes before this returns. With `sharesConnection` a GET
   * may go over a connection that carries others: for what is silent for long, as a watch, or short, as one object. What is large and is read
   * at its client's pace is better off by itself.
   */
  stream(
    request: RawRequest & {
      body?: Readable | Buffer | undefined;
      contentLength?: number | undefined;
      sharesConnection?: boolean;
    },
    sink: AnswerSink,
  ): AnswerController {
    const deferred = new DeferredController(sink, this.#onUnauthorized);
    if (this.#credential.kind === 'none' && !this.#isClosed) {
      // Nothing has to be read first: most calls of users.
      deferred.start(() => this.#dispatch(this.#transports(undefined), [], request, deferred));
      return deferred;
    }
    Promise.all([this.#certificate(), this.#headers()])
      .then(([certificate, headers]) => {
        if (deferred.isAborted) return;
        if (this.#isClosed) throw new KexerError('draining', 'Cannot send a request: the client is closed');
        deferred.attach(this.#dispatch(this.#transports(certificate), headers, request, deferred));
      })
      .catch((error: unknown) => deferred.onError(error instanceof Error ? error : new Error(String(error))));
    return deferred;
  }

  #dispatch(
    { http1, http2 }: Transports,
    credential: RawHeaders,
    request: RawRequest & {
      body?: Readable | Buffer | undefined;
      contentLength?: number | undefined;
      sharesConnection?: boolean;
    },
    sink: AnswerSink,
  ): AnswerController {
    const transport = request.sharesConnection === true ? (http2 ?? http1) : http1;
    return transport.dispatch(
      {
        method: request.method,
        target: request.target,
        // The credential of this client alone decides who calls; `none` leaves the caller's token where it is.
        headers: credential.length === 0 ? request.headers : withCredential(request.headers, credential),
        body: request.body,
        contentLength: request.contentLength,
      },
      sink,
    );
  }

  /** For upgrades, which need a connection of their own. */
  async dialSettings(): Promise<DialSettings> {
    const url = new URL(this.endpoint.url);
    const isTls = url.protocol === 'https:';
    const certificate = await this.#certificate();
    return {
      isTls,
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port === '' ? (isTls ? 443 : 80) : Number(url.port),
      isVerified: this.endpoint.isVerified,
      authority: url.host,
      basePath: url.pathname.replace(/\/+$/, ''),
      headers: await this.#headers(),
      ...(this.endpoint.servername === undefined ? {} : { servername: this.endpoint.servername }),
      ...(this.endpoint.ca === undefined ? {} : { ca: [this.endpoint.ca] }),
      ...(this.endpoint.guard === undefined ? {} : { guard: this.endpoint.guard }),
      ...(this.endpoint.proxy === undefined ? {} : { proxy: this.endpoint.proxy }),
      ...(this.endpoint.checkPeer === undefined ? {} : { checkPeer: this.endpoint.checkPeer }),
      ...(certificate === undefined ? {} : { certificate: { cert: certificate.cert, key: certificate.key } }),
    };
  }

  /** Ends connections that are idle: as a rule no call follows, though one may. */
  releaseIdle(): void {
    release(this.#transport);
  }

  /** Ends all connections; pending calls fail. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#transport?.http2?.destroy();
    await this.#transport?.http1.destroy();
  }

  #transports(certificate: { cert: string; key: string; version: string } | undefined): Transports {
    const version = certificate?.version ?? '';
    if (this.#transport?.version === version) return this.#transport;
    // The old connections end when their last exchange has: a watch may still run on one.
    release(this.#transport);
    const options = { endpoint: this.endpoint, certificate, connectTimeoutMs: this.#connectTimeoutMs };
    const http1 = new Transport(options);
    const http2 = this.#isHttp2Used ? new Http2Transport({ clock: this.#clock, http1 }, options) : undefined;
    this.#transport = { version, http1, http2 };
    return this.#transport;
  }

  async #certificate(): Promise<{ cert: string; key: string; version: string } | undefined> {
    if (this.#credential.kind !== 'certificate' && this.#credential.kind !== 'both') return undefined;
    const pair = await this.#credential.certificate.read();
    return pair.cert === '' ? undefined : pair;
  }

  async #headers(): Promise<RawHeaders> {
    if (this.#credential.kind !== 'token' && this.#credential.kind !== 'both') return [];
    const token = await this.#credential.token.read();
    return token === '' ? [] : [['Authorization', `Bearer ${token}`]];
  }

  /** The apiserver refused this client's own credential, or a token that passes through: then there is nothing to look at again. */
  #invalidateCredential(): void {
    if (this.#credential.kind === 'token' || this.#credential.kind === 'both') this.#credential.token.invalidate();
  }
}

/** Both with one identity: a certificate that was replaced has new ones. */
interface Transports {
  readonly version: string;
  readonly http1: Transport;
  readonly http2: Http2Transport | undefined;
}

function release(transports: Transports | undefined): void {
  transports?.http2?.close();
  void transports?.http1.close().catch(() => {
    // It only fails if it is closed already.
  });
}

function withCredential(headers: RawHeaders, credential: RawHeaders): RawHeaders {
  return [...withoutHeaders(headers, 'Authorization'), ...credential];
}

/** Stands for an exchange that may not have begun, its credential being read; from then on passes everything through. */
class DeferredController implements AnswerController, AnswerSink {
  readonly #sink: AnswerSink;
  readonly #onUnauthorized: () => void;
  #inner: AnswerController | undefined;
  #isPaused: boolean;
  #isStarting: boolean;
  /** Or over before it began. */
  isAborted: boolean;

  constructor(sink: AnswerSink, onUnauthorized: () => void) {
    this.#sink = sink;
    this.#onUnauthorized = onUnauthorized;
    this.#inner = undefined;
    this.#isPaused = false;
    this.#isStarting = false;
    this.isAborted = false;
  }

  /** Begins the exchange at once. What cannot even be written is told later: nobody expects it before `stream` has returned. */
  start(dispatch: () => AnswerController): void {
    this.#isStarting = true;
    try {
      this.#inner = dispatch();
    } catch (error) {
      this.onError(error instanceof Error ? error : new Error(String(error)));
    }
    this.#isStarting = false;
  }

  attach(inner: AnswerController): void {
    this.#inner = inner;
  }

  pause(): void {
    this.#isPaused = true;
    this.#inner?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#inner?.resume();
  }

  abort(reason: Error): void {
    if (this.isAborted) return;
    this.isAborted = true;
    if (this.#inner === undefined) this.#sink.onError(reason);
    else this.#inner.abort(reason);
  }

  onHead(answer: { status: number; reason: string; headers: RawHeaders }, controller: AnswerController): void {
    if (this.#isPaused) controller.pause();
    if (answer.status === 401) this.#onUnauthorized();
    this.#sink.onHead(answer, this);
  }

  onData(chunk: Buffer): void {
    this.#sink.onData(chunk);
  }

  onEnd(): void {
    this.#sink.onEnd();
  }

  onError(error: Error): void {
    if (!this.#isStarting) {
      this.#sink.onError(error);
      return;
    }
    this.isAborted = true;
    queueMicrotask(() => this.#sink.onError(error));
  }
}

function abortReason(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  if (reason instanceof KexerError || reason instanceof StatusError) return reason;
  return new KexerError('clientGone', 'Cannot finish the request: whoever asked has left', { cause: reason });
}

/** The Status in an answer that is not 2xx, or one made of what else it says. */
function statusOfAnswer(answer: RawAnswer, method: string, target: string): ReturnType<typeof failure> {
  const text = answer.body.toString('utf8');
  const isJson = getHeader(answer.headers, 'content-type')?.startsWith('application/json') ?? false;
  const status = isJson ? parseStatus(text) : undefined;
  if (status !== undefined) return status;
  const path = target.split('?', 1)[0] ?? '';
  return failure(answer.status, '', `the apiserver answered ${method} ${path} with ${answer.status}: ${quote(text)}`);
}
