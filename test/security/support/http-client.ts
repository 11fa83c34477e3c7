// A client for tests of identity: one credential, one server, raw header lists, and whole answers. Ordinary calls share a few kept-alive
// connections; an upgrade has one of its own and ends with its answer, because whether it was allowed is all that is asked.

import { Agent, request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';

import { readBody, requestUpgrade } from '../../../src/net/upgrade.ts';
import { getHeader, type RawHeaders } from '../../../src/protocol/raw-headers.ts';

/** How somebody proves who they are, and what they say about it. */
export interface Credential {
  readonly certificate?: { readonly cert: string; readonly key: string };
  readonly token?: string;
  /** `Impersonate-*`, `X-Remote-*` and whatever else is sent with each request. */
  readonly headers?: RawHeaders;
}

export interface Server {
  readonly port: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** PEM. */
  readonly ca: string;
  /** Before each path; '' for the cluster itself. */
  readonly basePath: string;
}

export interface Ask {
  readonly method: string;
  readonly path: string;
  readonly headers?: RawHeaders;
  readonly body?: string | Buffer;
  /** Settles with the head and the first bytes of the body, and leaves: for answers without end. */
  readonly isEndless?: boolean;
}

export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly headers: RawHeaders;
  readonly body: Buffer;
}

const timeoutMs = 20_000;
const maxBytes = 4 * 1024 * 1024;

export class HttpClient {
  readonly #server: Server;
  readonly #credential: Credential;
  readonly #agent: Agent;

  constructor(server: Server, credential: Credential) {
    this.#server = server;
    this.#credential = credential;
    this.#agent = new Agent({ keepAlive: true, maxSockets: 2, ca: server.ca, ...credential.certificate });
  }

  close(): void {
    this.#agent.destroy();
  }

  ask(ask: Ask): Promise<Answer> {
    const { host = '127.0.0.1', port, basePath } = this.#server;
    return new Promise((resolve, reject) => {
      const headers: RawHeaders = [
        ['Host', `${host}:${port}`],
        ...this.#identity(),
        ...(ask.headers ?? []),
        ...(ask.body === undefined ? [] : [['Content-Length', String(Buffer.byteLength(ask.body))] as const]),
      ];
      const outgoing = httpsRequest({
        host,
        port,
        method: ask.method,
        path: basePath + ask.path,
        // A flat list keeps repeated names apart and adds nothing.
        headers: headers.flat(),
        agent: this.#agent,
        timeout: timeoutMs,
      });
      outgoing.on('timeout', () =>
        outgoing.destroy(new Error(`no answer from port ${port} to ${ask.method} ${basePath}${ask.path}`)),
      );
      outgoing.on('error', reject);
      outgoing.on('response', (response) => {
        const chunks: Buffer[] = [];
        const done = (): void => resolve(answerOf(response, Buffer.concat(chunks)));
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          if (ask.isEndless !== true || response.statusCode !== 200) return;
          done();
          response.destroy();
        });
        response.on('error', reject);
        response.on('end', done);
      });
      // As bytes: with a string Node writes the head in the body's encoding, UTF-8, and header bytes above 127 would double.
      outgoing.end(ask.body === undefined ? undefined : Buffer.from(ask.body));
    });
  }

  /**
   * Asks for an upgrade; a 101 is the whole answer, and the connection is cut.
   * @param use what to do behind a 101 before that; what it gives is the answer's body.
   */
  async upgrade(ask: Ask, use?: (socket: TLSSocket, head: Buffer) => Promise<string>): Promise<Answer> {
    const { host = '127.0.0.1', port, basePath, ca } = this.#server;
    const socket = connect({ host, port, ca, ALPNProtocols: ['http/1.1'], ...this.#credential.certificate });
    socket.on('error', () => {}); // seen by whoever waits
    try {
      await once(socket, 'secureConnect');
      const headers: RawHeaders = [['Host', `${host}:${port}`], ...this.#identity(), ...(ask.headers ?? [])];
      const { method } = ask;
      const { head, rest } = await requestUpgrade(
        socket,
        { method, target: basePath + ask.path, headers },
        { timeoutMs },
      );
      const isRefused = head.status !== 101;
      const body = isRefused
        ? await readBody(socket, head, rest, { maxBytes, timeoutMs, method })
        : Buffer.from((await use?.(socket, rest)) ?? '');
      const contentType = isRefused ? (getHeader(head.headers, 'Content-Type') ?? '') : '';
      return { status: head.status, contentType, headers: head.headers, body };
    } finally {
      socket.destroy();
    }
  }

  #identity(): RawHeaders {
    const { token, headers = [] } = this.#credential;
    return token === undefined ? headers : [['Authorization', `Bearer ${token}`], ...headers];
  }
}

function answerOf(response: IncomingMessage, body: Buffer): Answer {
  const headers: [string, string][] = [];
  for (let index = 0; index + 1 < response.rawHeaders.length; index += 2) {
    headers.push([response.rawHeaders[index] ?? '', response.rawHeaders[index + 1] ?? '']);
  }
  return { status: response.statusCode ?? 0, contentType: response.headers['content-type'] ?? '', headers, body };
}
