// The one request of the apiserver's chain: an Exchange over Node's HTTP/1.1 and HTTP/2 objects, and over the bare socket of an
// upgrade, which either gets an ordinary answer or is taken by a proxy. The chain's filters change its user and headers on the way.

import type { IncomingMessage } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { Duplex } from 'node:stream';
import { randomUUID } from 'node:crypto';

import { ServerResponse } from '../../../base/node-http.ts';
import { parseRequestInfo, type RequestInfo } from '../../../kube/request-info.ts';
import { encodeStatus, type Status, StatusError, tooLarge } from '../../../kube/status.ts';
import { anonymousUser, type UserInfo } from '../../../kube/user.ts';
import { abortResponse } from '../../../net/http-answer.ts';
import type { Exchange, HeaderPairs, ResponseStream } from '../exchange.ts';
import { parseGoTarget, splitPath } from './go-url.ts';

/** kube-apiserver's MaxRequestBodyBytes. */
const maxBodyBytes = 3 * 1024 * 1024;

export type AnyRequest = IncomingMessage | Http2ServerRequest;
export type AnyResponse = ServerResponse | Http2ServerResponse;

/** What an upgrade request comes with; `head` are bytes the client sent behind the request. */
export interface UpgradeSocket {
  readonly socket: Duplex;
  readonly head: Buffer;
}

/** What was answered, for the audit log. */
export interface Answer {
  readonly code: number;
  readonly status?: Status;
}

export class ApiRequest implements Exchange {
  readonly method: string;
  readonly path: string;
  readonly rawUrl: string;
  readonly query: URLSearchParams;
  readonly info: RequestInfo;
  readonly auditId: string;
  readonly receivedAtMs: number;
  readonly remoteAddress: string;
  /** What `RemoteAddr` said before any filter; impersonation and authentication take headers away here. */
  headers: HeaderPairs;
  /** Who authenticated; set by the chain. */
  authenticatedUser: UserInfo = anonymousUser;
  user: UserInfo = anonymousUser;
  /** Whether the path could be decoded at all. */
  readonly isWellFormed: boolean;

  readonly #request: AnyRequest;
  readonly #response: AnyResponse;
  readonly #upgrade: UpgradeSocket | undefined;
  readonly #controller = new AbortController();
  readonly #onStarted: ((answer: Answer) => void)[] = [];
  readonly #onDone: (() => void)[] = [];
  #body: Promise<Buffer> | undefined;
  #answer: Answer | undefined;
  #isDone = false;

  constructor(
    message: { request: AnyRequest; response?: AnyResponse; upgrade?: UpgradeSocket },
    options: { receivedAtMs: number },
  ) {
    const { request, upgrade } = message;
    this.#request = request;
    this.#upgrade = upgrade;
    this.method = request.method ?? 'GET';
    this.rawUrl = request.url ?? '/';
    const target = parseGoTarget(this.rawUrl);
    this.isWellFormed = target.path !== undefined;
    this.path = target.path ?? '/';
    this.query = target.query;
    this.info = parseRequestInfo(this.method, splitPath(this.path), target.query);
    this.headers = headerPairs(request.rawHeaders);
    this.auditId = this.header('audit-id')?.slice(0, 64) ?? randomUUID();
    this.receivedAtMs = options.receivedAtMs;
    this.remoteAddress = request.socket.remoteAddress ?? '';
    this.#response = message.response ?? responseOver(request as IncomingMessage, upgrade?.socket);
    this.#response.on('error', () => {}); // the client is gone; 'close' says so to everybody who waits
    this.#response.on('close', () => this.#finish());
    this.#response.on('finish', () => {
      if (upgrade !== undefined) upgrade.socket.end();
    });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether the client asks for an upgrade: any `Connection` header that contains `upgrade`, as httpstream.IsUpgradeRequest. */
  get isUpgrade(): boolean {
    return this.headers.some(
      ([name, value]) => name.toLowerCase() === 'connection' && value.toLowerCase().includes('upgrade'),
    );
  }

  /** For requests whose socket can be taken: HTTP/1.1 with an Upgrade header. */
  get canUpgrade(): boolean {
    return this.#upgrade !== undefined;
  }

  get answer(): Answer | undefined {
    return this.#answer;
  }

  header(name: string): string | undefined {
    const wanted = name.toLowerCase();
    return this.headers.find(([key]) => key.toLowerCase() === wanted)?.[1];
  }

  /** Every value of a header, in order. */
  headerValues(name: string): string[] {
    const wanted = name.toLowerCase();
    return this.headers.filter(([key]) => key.toLowerCase() === wanted).map(([, value]) => value);
  }

  /** Takes headers away, as Go's Header.Del. */
  removeHeaders(shouldGo: (lowerName: string) => boolean): void {
    this.headers = this.headers.filter(([name]) => !shouldGo(name.toLowerCase()));
  }

  /** Called when the response head goes out, or the socket is taken by a proxy that got a 101. */
  onStarted(run: (answer: Answer) => void): void {
    this.#onStarted.push(run);
  }

  /** Called once when the answer is complete or the client is gone. */
  onDone(run: () => void): void {
    this.#onDone.push(run);
  }

  body(): Promise<Buffer> {
    this.#body ??= this.#readBody();
    return this.#body;
  }

  /** The body as it comes, for proxies. */
  get bodyStream(): AnyRequest {
    return this.#request;
  }

  send(status: number, contentType: string, body: Buffer | string, extraHeaders: HeaderPairs = []): void {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    const hasBody = status !== 204 && status !== 304;
    this.#writeHead(status, [
      ...(hasBody && contentType !== '' ? [['Content-Type', contentType] as const] : []),
      ...extraHeaders,
      ...(hasBody ? [['Content-Length', String(bytes.length)] as const] : []),
    ]);
    if (hasBody && this.method !== 'HEAD') this.#response.end(bytes);
    else this.#response.end();
  }

  sendStatus(status: Status, extraHeaders: HeaderPairs = []): void {
    if (this.#response.headersSent) {
      this.abort(); // a head is out: the only honest end is a broken body
      return;
    }
    const retryAfter = status.details?.retryAfterSeconds ?? 0;
    const headers: HeaderPairs =
      retryAfter > 0 ? [...extraHeaders, ['Retry-After', String(retryAfter)] as const] : extraHeaders;
    this.#answer = { code: status.code, status };
    this.send(status.code, 'application/json', encodeStatus(status), headers);
  }

  stream(status: number, contentType: string, extraHeaders: HeaderPairs = []): ResponseStream {
    const response = this.#response;
    this.#writeHead(status, [...(contentType === '' ? [] : [['Content-Type', contentType] as const]), ...extraHeaders]);
    (response as ServerResponse).flushHeaders();
    const isGone = (): boolean => response.destroyed || this.#isDone;
    return {
      write: (chunk) => isGone() || this.#write(chunk),
      drained: () =>
        new Promise((resolve) => {
          if (isGone() || !response.writableNeedDrain) {
            resolve();
            return;
          }
          const done = (): void => {
            response.off('drain', done);
            response.off('close', done);
            resolve();
          };
          response.once('drain', done);
          response.once('close', done);
        }),
      end: () => {
        if (!isGone()) response.end();
      },
      abort: () => this.abort(),
    };
  }

  /** Breaks the answer off: a reset stream or a body without its last chunk. */
  abort(): void {
    if (this.#upgrade !== undefined) {
      this.#upgrade.socket.destroy();
      this.#finish();
      return;
    }
    abortResponse(this.#response);
  }

  /** Hands the socket of an upgrade to a proxy, which owns it from now on and calls {@link finishTaken} at its end. */
  take(): UpgradeSocket {
    if (this.#upgrade === undefined) throw new Error('Cannot take the socket: the request is no upgrade');
    const { socket } = this.#upgrade;
    if (this.#response instanceof ServerResponse) this.#response.detachSocket(socket as never);
    socket.removeAllListeners('timeout');
    socket.once('close', () => this.#finish());
    return this.#upgrade;
  }

  /** Says what a proxy answered on a taken socket. */
  noteStarted(answer: Answer): void {
    this.#started(answer);
  }

  #write(chunk: Buffer | string): boolean {
    // The compat response of HTTP/2 and ServerResponse differ in overloads only.
    return (this.#response as ServerResponse).write(chunk);
  }

  #writeHead(status: number, headers: HeaderPairs): void {
    this.#started(this.#answer ?? { code: status });
    const response = this.#response as ServerResponse;
    response.statusCode = status;
    response.appendHeader('Audit-Id', this.auditId);
    const hasOwnCaching = headers.some(([name]) => name.toLowerCase() === 'cache-control');
    if (!hasOwnCaching) response.appendHeader('Cache-Control', 'no-cache, private');
    for (const [name, value] of headers) response.appendHeader(name, value);
  }

  #started(answer: Answer): void {
    if (this.#answer === undefined || this.#answer.status === undefined) this.#answer = answer;
    for (const run of this.#onStarted.splice(0)) run(this.#answer);
  }

  #finish(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#controller.abort();
    for (const run of this.#onDone.splice(0)) run();
  }

  async #readBody(): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let length = 0;
    if (this.#upgrade !== undefined) return this.#upgrade.head;
    for await (const chunk of this.#request as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > maxBodyBytes) {
        throw new StatusError(tooLarge(`Request entity too large: limit is ${maxBodyBytes}`));
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks, length);
  }
}

/** Raw headers as pairs; the pseudo headers of HTTP/2 become what they mean. */
function headerPairs(raw: readonly string[]): HeaderPairs {
  const pairs: (readonly [string, string])[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const [name = '', value = ''] = [raw[index], raw[index + 1]];
    if (name === ':authority') pairs.push(['Host', value]);
    else if (!name.startsWith(':')) pairs.push([name, value]);
  }
  return pairs;
}

/** An ordinary response on the socket of an upgrade that is refused: Go's server answers those like any other request. */
function responseOver(request: IncomingMessage, socket: Duplex | undefined): ServerResponse {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  if (socket !== undefined) response.assignSocket(socket as never);
  return response;
}
