// One backend's connections: HTTP/2 if it offers that, one session for the requests of all users, as Go's transport does; else
// HTTP/1.1 with keep-alive. A backend so learns the user of each request from its headers alone, never from the connection.

import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2, constants } from 'node:http2';
import { Agent, request as httpsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import type { TLSSocket } from 'node:tls';

import type { HeaderPairs } from '../exchange.ts';
import type { Endpoint } from './service-endpoint.ts';

export interface PooledRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: HeaderPairs;
  /** Left out: no body. */
  readonly body?: Readable;
  readonly signal: AbortSignal;
}

/** An answer whose body is read once; it ends by an error if the backend broke it off. */
export interface PooledResponse {
  readonly status: number;
  readonly headers: HeaderPairs;
  readonly body: AsyncIterable<Buffer>;
  /** Lets go of what was not read. */
  discard(): void;
}

export interface BackendTls {
  readonly cert: string;
  readonly key: string;
  readonly ca: string | undefined;
  readonly servername: string;
  readonly isVerified: boolean;
}

export class BackendPool {
  readonly #dial: () => Promise<TLSSocket>;
  readonly #endpoint: Endpoint;
  readonly #agent: Agent;
  #session: ClientHttp2Session | undefined;
  /** What the backend chose in the last handshake; undefined before the first. */
  #opening: Promise<ClientHttp2Session | undefined> | undefined;

  constructor(deps: { dial: () => Promise<TLSSocket> }, options: { endpoint: Endpoint; tls: BackendTls }) {
    const { tls } = options;
    this.#dial = deps.dial;
    this.#endpoint = options.endpoint;
    this.#agent = new Agent({
      keepAlive: true,
      cert: tls.cert,
      key: tls.key,
      servername: tls.servername,
      rejectUnauthorized: tls.isVerified,
      ...(tls.ca === undefined ? {} : { ca: tls.ca }),
    });
  }

  /** Rejects with Node's or a dial's error if no answer comes. */
  async send(request: PooledRequest): Promise<PooledResponse> {
    const session = await this.#http2();
    return session === undefined ? this.#sendHttp1(request) : sendHttp2(session, this.#endpoint, request);
  }

  close(): void {
    this.#session?.destroy();
    this.#agent.destroy();
  }

  /** The session of all requests; undefined if the backend speaks HTTP/1.1. */
  async #http2(): Promise<ClientHttp2Session | undefined> {
    if (this.#session !== undefined && !this.#session.closed && !this.#session.destroyed) return this.#session;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async #open(): Promise<ClientHttp2Session | undefined> {
    const socket = await this.#dial();
    if (socket.alpnProtocol !== 'h2') {
      socket.destroy(); // the agent makes its own
      return undefined;
    }
    const session = connectHttp2(`https://${this.#endpoint.host}:${this.#endpoint.port}`, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: 1024 * 1024 },
    });
    session.on('error', () => {}); // its requests fail by themselves
    session.once('close', () => {
      if (this.#session === session) this.#session = undefined;
    });
    this.#session = session;
    return session;
  }

  #sendHttp1(request: PooledRequest): Promise<PooledResponse> {
    return new Promise((resolve, reject) => {
      const outgoing = httpsRequest({
        host: this.#endpoint.host,
        port: this.#endpoint.port,
        method: request.method,
        path: request.target,
        headers: [['Host', `${this.#endpoint.host}:${this.#endpoint.port}`] as const, ...request.headers].flat(),
        agent: this.#agent,
        signal: request.signal,
      });
      outgoing.on('error', (error) => {
        request.body?.unpipe(outgoing);
        reject(error);
      });
      outgoing.on('response', (response) => {
        response.on('error', () => {}); // seen by whoever reads the body
        resolve({
          status: response.statusCode ?? 502,
          headers: pairsOf(response.rawHeaders),
          body: response,
          discard: () => void response.destroy(),
        });
      });
      if (request.body === undefined) outgoing.end();
      else request.body.pipe(outgoing);
    });
  }
}

function sendHttp2(session: ClientHttp2Session, endpoint: Endpoint, request: PooledRequest): Promise<PooledResponse> {
  return new Promise((resolve, reject) => {
    const fields: Record<string, string[]> = {};
    for (const [name, value] of request.headers) (fields[name.toLowerCase()] ??= []).push(value);
    const stream = session.request(
      {
        ':method': request.method,
        ':path': request.target,
        ':authority': `${endpoint.host}:${endpoint.port}`,
        ...fields,
      },
      { endStream: request.body === undefined, signal: request.signal },
    );
    stream.on('error', (error) => {
      request.body?.unpipe(stream);
      reject(error);
    });
    // A reset before the answer that is no error to Node: the backend gave up on the request.
    stream.on('close', () => reject(new Error('stream error: the backend reset the request')));
    stream.on('response', (_headers, _flags, rawHeaders: string[]) => {
      const status = Number(rawHeaders[rawHeaders.indexOf(':status') + 1] ?? 502);
      resolve({
        status,
        headers: pairsOf(rawHeaders),
        body: wholeBody(stream),
        discard: () => stream.close(constants.NGHTTP2_CANCEL),
      });
    });
    request.body?.pipe(stream);
  });
}

/** The stream's bytes; a reset without an error (CANCEL) is an error here, since the body is not whole. */
async function* wholeBody(stream: ClientHttp2Stream): AsyncGenerator<Buffer> {
  yield* stream as AsyncIterable<Buffer>;
  if (stream.rstCode !== constants.NGHTTP2_NO_ERROR || stream.aborted)
    throw new Error('the backend broke off its answer');
}

function pairsOf(raw: readonly string[]): HeaderPairs {
  const pairs: (readonly [string, string])[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    if (!name.startsWith(':')) pairs.push([name, raw[index + 1] ?? '']);
  }
  return pairs;
}
