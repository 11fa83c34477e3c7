// The aggregation layer as one part of the apiserver: which requests go to remote APIServices, whether those are available, and what
// they add to discovery.

import type { Clock } from '../../../base/clock.ts';
import type { ApiRequest } from '../chain/api-request.ts';
import type { Store } from '../store.ts';
import { remoteApiService, apiServices } from './api-service.ts';
import { AvailabilityController, type AvailabilityOptions } from './availability.ts';
import { BackendClient } from './backend-client.ts';
import { AggregatorProxy } from './proxy.ts';
import { type ApiGroup, RemoteDiscovery } from './remote-discovery.ts';

export interface AggregatorOptions {
  readonly frontProxy: { readonly cert: string; readonly key: string };
  readonly availability?: AvailabilityOptions;
}

export class Aggregator {
  readonly #store: Store;
  readonly #backends: BackendClient;
  readonly #availability: AvailabilityController;
  readonly #discovery: RemoteDiscovery;
  readonly #proxy: AggregatorProxy;

  constructor(deps: { store: Store; clock: Clock }, options: AggregatorOptions) {
    const { store, clock } = deps;
    const backends = new BackendClient(deps, { certificate: options.frontProxy });
    this.#store = store;
    this.#backends = backends;
    this.#availability = new AvailabilityController({ store, clock, backends }, options.availability);
    this.#discovery = new RemoteDiscovery({ store, clock, backends });
    this.#proxy = new AggregatorProxy({ backends, clock });
  }

  start(): void {
    // Discovery first, so that it sees the change to Available that the check makes.
    this.#discovery.start();
    this.#availability.start();
  }

  stop(): void {
    this.#availability.stop();
    this.#discovery.stop();
    this.#backends.close();
  }

  async handle(request: ApiRequest): Promise<boolean> {
    const path = request.path.startsWith('/openapi/v3/') ? request.path.slice('/openapi/v3'.length) : request.path;
    const [, root, group = '', version = ''] = path.split('/');
    if (root !== 'apis' || group === '' || version === '') return false;
    const object = this.#store.get({ ...apiServices, namespace: '', name: `${version}.${group}` });
    const service = object === undefined ? undefined : remoteApiService(object);
    if (service === undefined) return false;
    await this.#proxy.handle(request, service);
    return true;
  }

  /** Groups for /apis and /apis/GROUP. */
  groups(): readonly ApiGroup[] {
    return this.#discovery.groups();
  }

  /** Entries for the index of /openapi/v3. */
  openApi(): ReadonlyMap<string, string> {
    return this.#discovery.openApi();
  }

  /** Items for aggregated discovery. */
  discovery(): readonly object[] {
    return this.#discovery.discovery();
  }
}
