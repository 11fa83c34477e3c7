// The availability controller of kube-aggregator: an APIService is Available when its Service exists, has the port, has a ready
// endpoint, and one of five parallel GETs of /apis/GROUP/VERSION answers 2xx. Checked at every change, every 30 seconds, and after a
// failure with growing pauses.

import type { Clock, Timer } from '../../../base/clock.ts';
import { goNetworkError } from '../connect/kubelet-client.ts';
import type { Store } from '../store.ts';
import {
  apiServices,
  type Availability,
  markAvailability,
  type RemoteApiService,
  remoteApiService,
} from './api-service.ts';
import type { BackendClient } from './backend-client.ts';
import { isServing, servicePort, slicesOf } from './service-endpoint.ts';

export interface AvailabilityOptions {
  readonly resyncMs?: number;
  readonly maxBackoffMs?: number;
}

const attempts = 5;
const checkTimeoutMs = 5000;
const firstBackoffMs = 5;

export class AvailabilityController {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #backends: BackendClient;
  readonly #resyncMs: number;
  readonly #maxBackoffMs: number;
  readonly #timers = new Map<string, Timer>();
  readonly #failures = new Map<string, number>();
  /** Checks going on; a change during one asks for another after it. */
  readonly #running = new Map<string, { isStale: boolean }>();
  readonly #stops: (() => void)[] = [];
  readonly #controller = new AbortController();

  constructor(deps: { store: Store; clock: Clock; backends: BackendClient }, options: AvailabilityOptions = {}) {
    this.#store = deps.store;
    this.#clock = deps.clock;
    this.#backends = deps.backends;
    this.#resyncMs = options.resyncMs ?? 30_000;
    this.#maxBackoffMs = options.maxBackoffMs ?? 30_000;
  }

  start(): void {
    const recheckAll = (): void => {
      for (const object of this.#store.list(apiServices)) this.#check(object.metadata.name);
    };
    this.#stops.push(
      this.#store.watch(apiServices, undefined, ({ type, object, previous }) => {
        // Our own status writes change no spec.
        if (type === 'MODIFIED' && JSON.stringify(object['spec']) === JSON.stringify(previous?.['spec'])) return;
        if (type === 'DELETED') this.#forget(object.metadata.name);
        else this.#check(object.metadata.name);
      }),
      this.#store.watch({ group: '', resource: 'services' }, undefined, recheckAll),
      this.#store.watch({ group: 'discovery.k8s.io', resource: 'endpointslices' }, undefined, recheckAll),
    );
    recheckAll();
  }

  stop(): void {
    this.#controller.abort();
    for (const stop of this.#stops.splice(0)) stop();
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }

  /** Checks now, as a change of the object would. */
  #check(name: string): void {
    const running = this.#running.get(name);
    if (running !== undefined) {
      running.isStale = true;
      return;
    }
    this.#timers.get(name)?.cancel();
    const state = { isStale: false };
    this.#running.set(name, state);
    void this.#sync(name).then((isHealthy) => {
      this.#running.delete(name);
      if (this.#controller.signal.aborted || isHealthy === undefined) return;
      if (state.isStale) this.#check(name);
      else
        this.#timers.set(
          name,
          this.#clock.after(this.#pauseMs(name, isHealthy), () => this.#check(name)),
        );
    });
  }

  #pauseMs(name: string, isHealthy: boolean): number {
    if (isHealthy) {
      this.#failures.delete(name);
      return this.#resyncMs;
    }
    const failures = this.#failures.get(name) ?? 0;
    this.#failures.set(name, failures + 1);
    return Math.min(firstBackoffMs * 2 ** failures, this.#maxBackoffMs);
  }

  /** Never rejects; undefined: there is nothing to check. */
  async #sync(name: string): Promise<boolean | undefined> {
    const object = this.#store.get({ ...apiServices, namespace: '', name });
    const service = object === undefined ? undefined : remoteApiService(object);
    if (service === undefined) return undefined;
    const verdict = this.#checkService(service) ?? (await this.#discover(service));
    if (this.#controller.signal.aborted) return undefined;
    markAvailability({ store: this.#store, clock: this.#clock }, name, verdict);
    return verdict.status === 'True';
  }

  /** What can be said without a connection. */
  #checkService({ service }: RemoteApiService): Availability | undefined {
    const { namespace, name, port } = service;
    const where = `service/${name} in ${JSON.stringify(namespace)}`;
    const no = (reason: string, message: string): Availability => ({ status: 'False', reason, message });
    const object = this.#store.get({ group: '', resource: 'services', namespace, name });
    if (object === undefined) return no('ServiceNotFound', `${where} is not present`);
    const { type = 'ClusterIP' } = object['spec'] as { type?: string };
    if (type !== 'ClusterIP') return undefined;
    const named = servicePort(object, port);
    if (named === undefined) return no('ServicePortError', `${where} is not listening on port ${port}`);
    const slices = slicesOf(this.#store, service);
    if (slices.length === 0) return no('EndpointsNotFound', `cannot find endpointslices for ${where}`);
    if (slices.some((slice) => isServing(slice, named.name))) return undefined;
    const text = `endpointslices for ${where} have no addresses with port name ${JSON.stringify(named.name)}`;
    return no('MissingEndpoints', text);
  }

  async #discover(service: RemoteApiService): Promise<Availability> {
    const tries = Array.from({ length: attempts }, () => this.#tryOnce(service));
    try {
      await Promise.any(tries);
      return { status: 'True', reason: 'Passed', message: 'all checks passed' };
    } catch (error) {
      const last: unknown = error instanceof AggregateError ? error.errors.at(-1) : error;
      return {
        status: 'False',
        reason: 'FailedDiscoveryCheck',
        message: last instanceof Error ? last.message : String(last),
      };
    }
  }

  /** TLS is not verified here, as in the real one: nothing is learned but a status code. */
  async #tryOnce(service: RemoteApiService): Promise<void> {
    const endpoint = this.#backends.endpoint(service);
    if (endpoint === undefined)
      throw new Error(`no endpoints available for service ${JSON.stringify(service.service.name)}`);
    const target = `/apis/${service.group}/${service.version}`;
    const url = `https://${endpoint.host}:${endpoint.port}${target}`;
    let status: number;
    try {
      const answer = await this.#backends.fetch(service, endpoint, {
        method: 'GET',
        target,
        headers: [
          ['X-Remote-User', 'system:kube-aggregator'],
          ['X-Remote-Group', 'system:masters'],
          ['User-Agent', 'Go-http-client/2.0'],
        ],
        isUnverified: true,
        timeoutMs: checkTimeoutMs,
        signal: this.#controller.signal,
      });
      status = answer.status;
    } catch (error) {
      const text = `failing or missing response from ${url}: Get ${JSON.stringify(url)}: ${goNetworkError(error, endpoint)}`;
      throw new Error(text, { cause: error });
    }
    if (status < 200 || status > 299) {
      throw new Error(`failing or missing response from ${url}: bad status from ${url}: ${status}`);
    }
  }

  #forget(name: string): void {
    this.#timers.get(name)?.cancel();
    this.#timers.delete(name);
    this.#failures.delete(name);
  }
}
