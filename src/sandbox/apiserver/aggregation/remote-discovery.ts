// What remote APIServices serve, for /apis and aggregated discovery: fetched from each of them every minute and whenever one becomes
// available, by aggregated discovery first and by /apis/GROUP/VERSION else. One that does not answer is listed as Stale.

import type { Clock, Timer } from '../../../base/clock.ts';
import type { Store } from '../store.ts';
import { apiServices, type RemoteApiService, remoteApiService } from './api-service.ts';
import type { BackendClient, SmallAnswer } from './backend-client.ts';

/** One version of a group in apidiscovery.k8s.io/v2. */
interface DiscoveryVersion {
  readonly version: string;
  readonly resources?: readonly unknown[];
  readonly freshness?: string;
}

interface DiscoveryGroup {
  readonly metadata?: { readonly name?: string };
  readonly versions?: readonly DiscoveryVersion[];
}

/** APIGroup as /apis lists it. */
export interface ApiGroup {
  readonly name: string;
  readonly versions: readonly { readonly groupVersion: string; readonly version: string }[];
  readonly preferredVersion: { readonly groupVersion: string; readonly version: string };
}

interface LegacyResource {
  readonly name: string;
  readonly singularName: string;
  readonly namespaced: boolean;
  readonly kind: string;
  readonly group?: string;
  readonly version?: string;
  readonly verbs: readonly string[];
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
}

const refreshMs = 60_000;
const fetchTimeoutMs = 5000;
const acceptAggregated =
  'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json';

export class RemoteDiscovery {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #backends: BackendClient;
  /** Resources by APIService name; `isFresh` false once a fetch failed. */
  readonly #known = new Map<string, { resources: readonly unknown[]; isFresh: boolean }>();
  /** Entries for the front's /openapi/v3, by APIService name: `apis/GROUP/VERSION` → where its document is. */
  readonly #openApi = new Map<string, readonly (readonly [key: string, url: string])[]>();
  readonly #controller = new AbortController();
  #stopWatching: (() => void) | undefined;
  #timer: Timer | undefined;

  constructor(deps: { store: Store; clock: Clock; backends: BackendClient }) {
    this.#store = deps.store;
    this.#clock = deps.clock;
    this.#backends = deps.backends;
  }

  start(): void {
    this.#stopWatching = this.#store.watch(apiServices, undefined, ({ object, type }) => {
      if (type === 'DELETED') this.#forget(object.metadata.name);
      else this.#refresh(remoteApiService(object));
    });
    this.#refreshAll();
  }

  stop(): void {
    this.#controller.abort();
    this.#stopWatching?.();
    this.#timer?.cancel();
  }

  remotes(): RemoteApiService[] {
    return this.#store.list(apiServices).flatMap((object) => remoteApiService(object) ?? []);
  }

  groups(): ApiGroup[] {
    return this.#byGroup().map(([name, services]) => {
      const versions = services.map(({ version }) => ({ groupVersion: `${name}/${version}`, version }));
      return { name, versions, preferredVersion: versions[0] ?? { groupVersion: '', version: '' } };
    });
  }

  /** Items of an APIGroupDiscoveryList. */
  discovery(): object[] {
    return this.#byGroup().map(([name, services]) => ({
      metadata: { name },
      versions: services.map((service) => {
        const known = this.#known.get(service.name);
        const isFresh = known?.isFresh === true && service.isAvailable;
        const resources = known?.resources ?? [];
        return {
          version: service.version,
          ...(resources.length === 0 ? {} : { resources }),
          freshness: isFresh ? 'Current' : 'Stale',
        };
      }),
    }));
  }

  /** What remote APIServices add to the index of /openapi/v3. */
  openApi(): ReadonlyMap<string, string> {
    return new Map([...this.#openApi.values()].flat());
  }

  #byGroup(): [string, RemoteApiService[]][] {
    const groups = new Map<string, RemoteApiService[]>();
    for (const service of this.remotes()) {
      groups.set(service.group, [...(groups.get(service.group) ?? []), service]);
    }
    for (const services of groups.values()) services.sort((a, b) => b.versionPriority - a.versionPriority);
    const priority = (services: readonly RemoteApiService[]): number =>
      Math.max(...services.map((service) => service.groupPriority));
    return [...groups].sort(([a, left], [b, right]) => priority(right) - priority(left) || (a < b ? -1 : 1));
  }

  #refreshAll(): void {
    for (const service of this.remotes()) this.#refresh(service);
    this.#timer = this.#clock.after(refreshMs, () => this.#refreshAll());
  }

  #refresh(service: RemoteApiService | undefined): void {
    if (service === undefined || !service.isAvailable) return;
    void this.#fetch(service).then((resources) => {
      if (this.#controller.signal.aborted) return;
      const before = this.#known.get(service.name)?.resources ?? [];
      this.#known.set(service.name, { resources: resources ?? before, isFresh: resources !== undefined });
    });
    void this.#fetchOpenApi(service).then((entries) => {
      if (!this.#controller.signal.aborted) this.#openApi.set(service.name, entries);
    });
  }

  #forget(name: string): void {
    this.#known.delete(name);
    this.#openApi.delete(name);
  }

  /** The backend's own entry for this group version; none if it serves no OpenAPI. Never rejects. */
  async #fetchOpenApi(service: RemoteApiService): Promise<readonly (readonly [string, string])[]> {
    try {
      const answer = await this.#get(service, '/openapi/v3', [], 'application/json', 'system:aggregator');
      if (answer.status !== 200) return [];
      const index = JSON.parse(answer.body.toString('utf8')) as {
        paths?: Record<string, { serverRelativeURL?: string }>;
      };
      const key = `apis/${service.group}/${service.version}`;
      const url = index.paths?.[key]?.serverRelativeURL;
      return url === undefined ? [] : [[key, url]];
    } catch {
      return [];
    }
  }

  /** Undefined: it could not be learned. Never rejects. */
  async #fetch(service: RemoteApiService): Promise<readonly unknown[] | undefined> {
    try {
      const aggregated = await this.#get(service, '/apis', ['system:masters'], acceptAggregated);
      const type = aggregated.headers.find(([name]) => name.toLowerCase() === 'content-type')?.[1] ?? '';
      if (aggregated.status === 200 && isAggregated(type)) {
        const { items = [] } = JSON.parse(aggregated.body.toString('utf8')) as { items?: readonly DiscoveryGroup[] };
        const group = items.find((item) => item.metadata?.name === service.group);
        return group?.versions?.find(({ version }) => version === service.version)?.resources ?? [];
      }
      // The legacy fetch names no group: the backend must know by itself that this is an authenticated user.
      const legacy = await this.#get(service, `/apis/${service.group}/${service.version}`, [], 'application/json');
      if (legacy.status !== 200) return undefined;
      const { resources = [] } = JSON.parse(legacy.body.toString('utf8')) as { resources?: readonly LegacyResource[] };
      return convertLegacy(resources, service);
    } catch {
      return undefined; // stale: the availability controller says why
    }
  }

  #get(
    service: RemoteApiService,
    target: string,
    groups: readonly string[],
    accept: string,
    user = 'system:kube-aggregator',
  ): Promise<SmallAnswer> {
    const endpoint = this.#backends.endpoint(service);
    if (endpoint === undefined) return Promise.reject(new Error('no endpoints'));
    return this.#backends.fetch(service, endpoint, {
      method: 'GET',
      target,
      headers: [
        ['X-Remote-User', user],
        ...groups.map((group) => ['X-Remote-Group', group] as const),
        ['Accept', accept],
        ['User-Agent', 'Go-http-client/2.0'],
      ],
      timeoutMs: fetchTimeoutMs,
      signal: this.#controller.signal,
    });
  }
}

/** ContentTypeIsGVK: JSON with exactly these parameters. */
function isAggregated(contentType: string): boolean {
  const [type = '', ...parameters] = contentType.split(';').map((part) => part.trim());
  const has = (wanted: string): boolean => parameters.includes(wanted);
  return (
    type === 'application/json' &&
    has('g=apidiscovery.k8s.io') &&
    (has('v=v2') || has('v=v2beta1')) &&
    has('as=APIGroupDiscoveryList')
  );
}

/** ConvertGroupVersionIntoToDiscovery: subresources under their parents, scopes spelled out. */
function convertLegacy(resources: readonly LegacyResource[], service: RemoteApiService): unknown[] {
  const kindOf = (resource: LegacyResource): object => ({
    group: resource.group ?? service.group,
    version: resource.version ?? service.version,
    kind: resource.kind,
  });
  const parents = resources.filter(({ name }) => !name.includes('/'));
  return parents.map((parent) => {
    const subresources = resources
      .filter(({ name }) => name.startsWith(`${parent.name}/`))
      .map((sub) => ({
        subresource: sub.name.slice(parent.name.length + 1),
        responseKind: kindOf(sub),
        verbs: sub.verbs,
      }));
    return {
      resource: parent.name,
      responseKind: kindOf(parent),
      scope: parent.namespaced ? 'Namespaced' : 'Cluster',
      singularResource: parent.singularName,
      verbs: parent.verbs,
      ...(parent.shortNames === undefined ? {} : { shortNames: parent.shortNames }),
      ...(parent.categories === undefined ? {} : { categories: parent.categories }),
      ...(subresources.length === 0 ? {} : { subresources }),
    };
  });
}
