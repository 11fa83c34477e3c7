// The kubelet's HTTPS listener: authenticates and authorizes each request, routes it, keeps the request log, and has the faults that
// tests need (a killed process, a stalled one). Request timeouts of Node are off: streams and followed logs last for hours.

import { createServer, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import type { Clock } from '../../../base/clock.ts';
import { unreachable } from '../../../base/unreachable.ts';
import { goJson } from '../../../kube/status.ts';
import { resetSocket } from '../../../net/reset.ts';
import { fromRawHeaders } from '../../../protocol/raw-headers.ts';
import { type AccessDeps, checkAccess } from './access.ts';
import {
  type Answer,
  healthy,
  methodNotAllowed,
  pathNotFound,
  routeNotFound,
  sendRefusal,
  sendResponse,
} from './answers.ts';
import { serveLogs } from './logs-endpoint.ts';
import type { PodDirectory } from './pod-directory.ts';
import { parseRoute, type Route, streamMethods } from './routes.ts';
import { settleUpgrade, type StreamEndpoints, type StreamOutcome } from './stream-endpoint.ts';

/** One request a kubelet has answered or upgraded: the sandbox's connection log, by which tests prove which way a stream went. */
export interface KubeletRequest {
  readonly at: number;
  readonly method: string;
  /** Path and query as they came. */
  readonly target: string;
  /** '' if nobody was proven. */
  readonly user: string;
  /** Negotiated subprotocol of an upgrade, else ''. */
  readonly protocol: string;
  readonly userAgent: string;
  /** Status of the answer; 101 for upgrades. */
  readonly status: number;
}

export interface KubeletServerDeps extends AccessDeps {
  readonly clock: Clock;
  readonly pods: PodDirectory;
  readonly streams: StreamEndpoints;
}

export interface KubeletServerOptions {
  readonly nodeName: string;
  readonly cert: string;
  readonly key: string;
  readonly clientCa: string;
  /** 0 takes a free one. */
  readonly port: number;
}

/** Requests kept in the log. */
const maxRequests = 10_000;

interface Judged {
  readonly user: string;
  readonly route: Route;
  readonly query: URLSearchParams;
}

export class KubeletServer {
  readonly #deps: KubeletServerDeps;
  readonly #options: KubeletServerOptions;
  readonly #requests: KubeletRequest[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #tlsSockets = new Set<TLSSocket>();
  /** While stalled: what lets each go on. */
  readonly #held = new Map<TLSSocket, () => void>();
  #server: Server | undefined;
  #port: number;
  #isStalled = false;

  constructor(deps: KubeletServerDeps, options: KubeletServerOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#port = options.port;
  }

  get port(): number {
    return this.#port;
  }

  get requests(): readonly KubeletRequest[] {
    return this.#requests;
  }

  /** Open connections; tests assert that it returns to 0. */
  get connectionCount(): number {
    return this.#sockets.size;
  }

  /** Listens; a second time on the port it had before. */
  async listen(): Promise<void> {
    const { cert, key, clientCa } = this.#options;
    const server = createServer({
      cert,
      key,
      ca: clientCa,
      requestCert: true,
      rejectUnauthorized: false, // judged per request: a token may do instead
      ALPNProtocols: ['http/1.1'],
      requestTimeout: 0,
      headersTimeout: 30_000,
      keepAliveTimeout: 90_000,
      noDelay: true,
    });
    server.on('connection', (socket: Socket) => this.#track(socket));
    server.on('secureConnection', (socket: TLSSocket) => this.#trackTls(socket));
    server.on('tlsClientError', (_error, socket) => socket.destroy());
    server.on('clientError', (_error, socket) => socket.destroy());
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#onRequest(request, response).catch(() => response.destroy());
    });
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on('error', () => socket.destroy());
      this.#onUpgrade(request, socket, head).catch(() => socket.destroy());
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ port: this.#port, host: '127.0.0.1' }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Closes the port and every connection: by reset, or by FIN. */
  async close(how: 'rst' | 'fin'): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    this.stall(false);
    const closed = new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
    for (const socket of this.#sockets) {
      if (how === 'rst') resetSocket(socket);
      else socket.destroy();
    }
    await closed;
  }

  /** Holds every connection, open ones and new ones, as a process does that is stopped; or lets them go on. */
  stall(isStalled: boolean): void {
    if (this.#isStalled === isStalled) return;
    this.#isStalled = isStalled;
    if (isStalled) {
      for (const socket of this.#tlsSockets) this.#held.set(socket, hold(socket));
      return;
    }
    for (const release of this.#held.values()) release();
    this.#held.clear();
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }

  #trackTls(socket: TLSSocket): void {
    this.#tlsSockets.add(socket);
    socket.once('close', () => {
      this.#tlsSockets.delete(socket);
      this.#held.delete(socket);
    });
    if (this.#isStalled) this.#held.set(socket, hold(socket));
  }

  #note(request: IncomingMessage, user: string, protocol: string, status: number): void {
    if (this.#requests.length >= maxRequests) this.#requests.shift();
    this.#requests.push({
      at: this.#deps.clock.now(),
      method: request.method ?? '',
      target: request.url ?? '',
      user,
      protocol,
      userAgent: request.headers['user-agent'] ?? '',
      status,
    });
  }

  /** Who and what, or the answer that refuses. */
  async #judge(request: IncomingMessage): Promise<Judged | { refusal: Answer }> {
    const [path = '', ...rest] = (request.url ?? '').split('?');
    const { socket } = request;
    if (!(socket instanceof TLSSocket)) throw new TypeError('a kubelet serves TLS only');
    const access = await checkAccess(this.#deps, this.#options.nodeName, {
      socket,
      authorization: request.headers.authorization,
      method: request.method ?? '',
      path,
    });
    if ('refusal' in access) return access;
    return { user: access.user.name, route: parseRoute(path), query: new URLSearchParams(rest.join('?')) };
  }

  async #onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {}); // a client that left; 'close' ends what was begun for it
    request.resume();
    const judged = await this.#judge(request);
    const answer = (value: Answer, user: string): void => {
      this.#note(request, user, '', value.status);
      sendResponse(response, value);
    };
    if ('refusal' in judged) return answer(judged.refusal, '');
    const { user, route, query } = judged;
    const { method = '' } = request;
    switch (route.kind) {
      case 'exec':
      case 'attach':
      case 'portForward': {
        if (!streamMethods.has(method)) return answer(methodNotAllowed('GET, POST'), user);
        const outcome = this.#deps.streams.judge({ ...route, query, headers: fromRawHeaders(request.rawHeaders) });
        return answer('answer' in outcome ? outcome.answer : pathNotFound, user);
      }
      case 'logs': {
        if (method !== 'GET') return answer(methodNotAllowed('GET'), user);
        const gone = new AbortController();
        response.once('close', () => gone.abort());
        const note = (status: number): void => this.#note(request, user, '', status);
        return serveLogs(this.#deps, { ...route, query }, response, gone.signal, note);
      }
      case 'pods':
        return answer(this.#podList(), user);
      case 'healthz':
        return answer(healthy, user);
      case 'unrouted':
        return answer(routeNotFound, user);
      case 'unknown':
        return answer(pathNotFound, user);
    }
  }

  async #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const judged = await this.#judge(request);
    if (socket.destroyed) return;
    const now = this.#deps.clock.now();
    if ('refusal' in judged) {
      this.#note(request, '', '', judged.refusal.status);
      sendRefusal(socket, judged.refusal, now);
      return;
    }
    const outcome = this.#upgradeOutcome(request, judged);
    if ('answer' in outcome) this.#note(request, judged.user, '', outcome.answer.status);
    else this.#note(request, judged.user, outcome.protocol, 101);
    settleUpgrade(outcome, socket, head, now);
  }

  #upgradeOutcome(request: IncomingMessage, { route, query }: Judged): StreamOutcome {
    switch (route.kind) {
      case 'exec':
      case 'attach':
      case 'portForward':
        if (!streamMethods.has(request.method ?? '')) return { answer: methodNotAllowed('GET, POST') };
        return this.#deps.streams.judge({ ...route, query, headers: fromRawHeaders(request.rawHeaders) });
      case 'pods':
        return { answer: this.#podList() };
      case 'healthz':
        return { answer: healthy };
      case 'logs': // a log over an upgrade is nothing a kubelet serves; clients go through kube-apiserver for it
      case 'unrouted':
        return { answer: routeNotFound };
      case 'unknown':
        return { answer: pathNotFound };
      default:
        return unreachable(route);
    }
  }

  #podList(): Answer {
    const body = goJson({ kind: 'PodList', apiVersion: 'v1', metadata: {}, items: this.#deps.pods.list() });
    const headers = [
      ['Content-Type', 'application/json'],
      ['Content-Length', String(Buffer.byteLength(body))],
    ] as const;
    return { status: 200, headers, body };
  }
}

/**
 * Stops a socket from being read and written although its users go on: their resume() and uncork() do nothing meanwhile. Both kinds of
 * end(), a socket's and a response's, would otherwise write out what is corked.
 * @returns what lets it go on.
 */
function hold(socket: TLSSocket): () => void {
  socket.pause();
  socket.cork();
  socket.resume = () => socket;
  socket.uncork = () => {};
  return () => {
    Reflect.deleteProperty(socket, 'resume'); // the prototype's are back
    Reflect.deleteProperty(socket, 'uncork');
    while (socket.writableCorked > 0) socket.uncork();
    socket.resume();
  };
}
