// The aggregator's connections to extension apiservers: with the front-proxy certificate, to an endpoint of the Service, verified for
// the name SVC.NS.svc against the APIService's caBundle.

import type { TLSSocket } from 'node:tls';

import type { Clock } from '../../../base/clock.ts';
import { dialTls } from '../../../net/dial.ts';
import type { HeaderPairs } from '../exchange.ts';
import type { Store } from '../store.ts';
import type { RemoteApiService } from './api-service.ts';
import { BackendPool, type PooledRequest, type PooledResponse } from './backend-pool.ts';
import { type Endpoint, resolveService } from './service-endpoint.ts';

/** A small request of the aggregator's own. */
export interface BackendRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: HeaderPairs;
  /** Default: as the APIService says. */
  readonly isUnverified?: boolean;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface SmallAnswer {
  readonly status: number;
  readonly headers: HeaderPairs;
  readonly body: Buffer;
}

const dialTimeoutMs = 30_000;
const maxSmallAnswerBytes = 4 * 1024 * 1024;

export class BackendClient {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #certificate: { readonly cert: string; readonly key: string };
  /** One pool for each set of TLS settings: changing a caBundle must not find an old connection. */
  readonly #pools = new Map<string, BackendPool>();

  constructor(deps: { store: Store; clock: Clock }, options: { certificate: { cert: string; key: string } }) {
    this.#store = deps.store;
    this.#clock = deps.clock;
    this.#certificate = options.certificate;
  }

  endpoint(service: RemoteApiService): Endpoint | undefined {
    return resolveService(this.#store, service.service);
  }

  /** Sends a request over the pool of the backend. Rejects with Node's or a dial's error. */
  send(service: RemoteApiService, endpoint: Endpoint, request: PooledRequest): Promise<PooledResponse> {
    return this.#pool(service, endpoint, service.isUnverified).send(request);
  }

  /** A whole answer of bounded size, within a deadline. Rejects with Node's or a dial's error. */
  async fetch(service: RemoteApiService, endpoint: Endpoint, request: BackendRequest): Promise<SmallAnswer> {
    const deadline = AbortSignal.timeout(request.timeoutMs);
    const pool = this.#pool(service, endpoint, request.isUnverified ?? service.isUnverified);
    try {
      const response = await pool.send({ ...request, signal: AbortSignal.any([request.signal, deadline]) });
      const chunks: Buffer[] = [];
      let length = 0;
      for await (const chunk of response.body) {
        chunks.push(chunk);
        length += chunk.length;
        if (length > maxSmallAnswerBytes) throw new Error('the answer is too long');
      }
      return { status: response.status, headers: response.headers, body: Buffer.concat(chunks) };
    } catch (error) {
      if (deadline.aborted) throw new Error('context deadline exceeded', { cause: error });
      throw error;
    }
  }

  /** A connection of its own, for an upgrade. @throws DialError */
  dial(service: RemoteApiService, endpoint: Endpoint, signal: AbortSignal): Promise<TLSSocket> {
    return this.#dial(service, endpoint, ['http/1.1'], signal);
  }

  #dial(
    service: RemoteApiService,
    endpoint: Endpoint,
    alpn: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<TLSSocket> {
    return dialTls({
      host: endpoint.host,
      port: endpoint.port,
      servername: serverName(service),
      ...(service.caBundle === undefined ? {} : { ca: [service.caBundle] }),
      certificate: this.#certificate,
      isVerified: !service.isUnverified,
      alpn,
      timeoutMs: dialTimeoutMs,
      signal,
      clock: this.#clock,
    });
  }

  close(): void {
    for (const pool of this.#pools.values()) pool.close();
    this.#pools.clear();
  }

  #pool(service: RemoteApiService, endpoint: Endpoint, isUnverified: boolean): BackendPool {
    const key = `${service.name} ${endpoint.host}:${endpoint.port} ${isUnverified} ${service.caBundle ?? ''}`;
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      const tls = {
        ...this.#certificate,
        ca: service.caBundle,
        servername: serverName(service),
        isVerified: !isUnverified,
      };
      const dial = (): Promise<TLSSocket> =>
        this.#dial({ ...service, isUnverified }, endpoint, ['h2', 'http/1.1'], undefined);
      pool = new BackendPool({ dial }, { endpoint, tls });
      this.#pools.set(key, pool);
    }
    return pool;
  }
}

function serverName({ service }: RemoteApiService): string {
  return `${service.name}.${service.namespace}.svc`;
}
