// The aggregator's connections to extension apiservers: with the front-proxy certificate, to an endpoint of the Service, verified for
// the name SVC.NS.svc against the APIService's caBundle.

import { Agent, request as httpsRequest } from 'node:https';
import type { ClientRequest, IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';

import type { Clock } from '../../../base/clock.ts';
import { dialTls } from '../../../net/dial.ts';
import type { HeaderPairs } from '../exchange.ts';
import type { Store } from '../store.ts';
import type { RemoteApiService } from './api-service.ts';
import { type Endpoint, resolveService } from './service-endpoint.ts';

export interface BackendRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: HeaderPairs;
  /** Default: as the APIService says. */
  readonly isUnverified?: boolean;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface SmallAnswer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

const dialTimeoutMs = 30_000;
const maxSmallAnswerBytes = 4 * 1024 * 1024;

export class BackendClient {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #certificate: { readonly cert: string; readonly key: string };
  /** One pool for each set of TLS settings: changing a caBundle must not find an old connection. */
  readonly #agents = new Map<string, Agent>();

  constructor(deps: { store: Store; clock: Clock }, options: { certificate: { cert: string; key: string } }) {
    this.#store = deps.store;
    this.#clock = deps.clock;
    this.#certificate = options.certificate;
  }

  endpoint(service: RemoteApiService): Endpoint | undefined {
    return resolveService(this.#store, service.service);
  }

  /** Begins a request; whoever calls writes the body and listens for `response` and `error`. */
  open(service: RemoteApiService, endpoint: Endpoint, request: BackendRequest): ClientRequest {
    return httpsRequest({
      host: endpoint.host,
      port: endpoint.port,
      method: request.method,
      path: request.target,
      headers: request.headers.flatMap(([name, value]) => [name, value]),
      agent: this.#agent(service, request.isUnverified ?? service.isUnverified),
      ...(request.timeoutMs === undefined ? {} : { timeout: request.timeoutMs }),
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
  }

  /** A whole answer of bounded size. Rejects with Node's error. */
  fetch(service: RemoteApiService, endpoint: Endpoint, request: BackendRequest): Promise<SmallAnswer> {
    return new Promise((resolve, reject) => {
      const outgoing = this.open(service, endpoint, {
        ...request,
        headers: [['Host', `${endpoint.host}:${endpoint.port}`], ...request.headers],
      });
      outgoing.on('timeout', () => outgoing.destroy(new Error('context deadline exceeded')));
      outgoing.on('error', reject);
      outgoing.on('response', (response) => {
        const chunks: Buffer[] = [];
        let length = 0;
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          length += chunk.length;
          if (length > maxSmallAnswerBytes) response.destroy(new Error('the answer is too long'));
        });
        response.on('error', reject);
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) });
        });
      });
      outgoing.end();
    });
  }

  /** A connection of its own, for an upgrade. @throws DialError */
  dial(service: RemoteApiService, endpoint: Endpoint, signal: AbortSignal): Promise<TLSSocket> {
    return dialTls({
      host: endpoint.host,
      port: endpoint.port,
      servername: serverName(service),
      ...(service.caBundle === undefined ? {} : { ca: [service.caBundle] }),
      certificate: this.#certificate,
      isVerified: !service.isUnverified,
      alpn: ['http/1.1'],
      timeoutMs: dialTimeoutMs,
      signal,
      clock: this.#clock,
    });
  }

  close(): void {
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  #agent(service: RemoteApiService, isUnverified: boolean): Agent {
    const key = `${service.name} ${isUnverified} ${service.caBundle ?? ''}`;
    let agent = this.#agents.get(key);
    if (agent === undefined) {
      agent = new Agent({
        keepAlive: true,
        ...this.#certificate,
        servername: serverName(service),
        rejectUnauthorized: !isUnverified,
        ...(service.caBundle === undefined ? {} : { ca: service.caBundle }),
      });
      this.#agents.set(key, agent);
    }
    return agent;
  }
}

function serverName({ service }: RemoteApiService): string {
  return `${service.name}.${service.namespace}.svc`;
}
