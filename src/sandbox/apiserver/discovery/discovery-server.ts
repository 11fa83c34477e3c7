// Everything below the apiserver's root that is no resource: discovery, version, OpenAPI, health. Answers false for paths it does not
// know, so that the caller can say 404 in its own way.

import { methodNotAllowed, StatusError } from '../../../kube/status.ts';
import type { Exchange, HeaderPairs } from '../exchange.ts';
import { groupVersionText, servedGroupVersions } from '../resources/catalog.ts';
import { encodeDocument } from '../requests/object-answer.ts';
import { negotiate, parseAccept } from '../requests/negotiation.ts';
import { openApiV2, openApiV3 } from '../schemas/openapi.ts';
import {
  type AggregatedDiscovery,
  aggregatedDiscovery,
  apiGroupDocument,
  apiGroupList,
  apiResourceList,
  apiVersions,
  documentHash,
  entityTag,
  isServed,
} from './discovery-documents.ts';

/** `/version`, as version.Info prints it. */
export interface ServerVersion {
  readonly major: string;
  readonly minor: string;
  readonly gitVersion: string;
  readonly [field: string]: string;
}

/** Where the OpenAPI v3 documents of the aggregation layer are: path without slash (`apis/GROUP/VERSION`) to URL. */
export type AggregatedOpenApi = () => ReadonlyMap<string, string>;

const discoveryType = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

export const plainText = 'text/plain; charset=utf-8';
export const noSniff: HeaderPairs = [['X-Content-Type-Options', 'nosniff']];

const healthChecks = [
  'ping',
  'log',
  'loopback-serving-certificate',
  'etcd',
  'poststarthook/start-apiserver-admission-initializer',
  'poststarthook/generic-apiserver-start-informers',
  'poststarthook/storage-object-count-tracker-hook',
  'poststarthook/start-system-namespaces-controller',
  'poststarthook/start-cluster-authentication-info-controller',
  'poststarthook/rbac/bootstrap-roles',
  'poststarthook/bootstrap-controller',
  'poststarthook/start-kube-aggregator-informers',
  'poststarthook/apiservice-registration-controller',
  'poststarthook/apiservice-discovery-controller',
  'poststarthook/kube-apiserver-autoregistration',
  'autoregister-completion',
  'poststarthook/apiservice-openapi-controller',
  'poststarthook/apiservice-openapiv3-controller',
];

export class DiscoveryServer {
  readonly #version: ServerVersion;
  readonly #address: string;
  readonly #aggregated: AggregatedDiscovery | undefined;
  readonly #aggregatedOpenApi: AggregatedOpenApi | undefined;
  /** OpenAPI documents by path; made once, since the catalog never changes. */
  readonly #documents = new Map<string, string>();

  constructor(options: {
    version: ServerVersion;
    serverAddress: string;
    aggregated: AggregatedDiscovery | undefined;
    aggregatedOpenApi: AggregatedOpenApi | undefined;
  }) {
    this.#version = options.version;
    this.#address = options.serverAddress;
    this.#aggregated = options.aggregated;
    this.#aggregatedOpenApi = options.aggregatedOpenApi;
  }

  /** @returns false if nothing was answered. */
  async handle(exchange: Exchange): Promise<boolean> {
    const path = exchange.path.length > 1 ? exchange.path.replace(/\/$/, '') : exchange.path;
    const health = /^\/(livez|readyz|healthz)(?:\/(.+))?$/.exec(path);
    if (health !== null) return this.#health(exchange, health[1] ?? '', health[2]);
    const document = this.#find(path);
    if (document === undefined) return path.startsWith('/openapi/') ? this.#openApi(exchange, path) : false;
    if (exchange.method !== 'GET' && exchange.method !== 'HEAD') throw new StatusError(methodNotAllowed());
    if (path === '/version') {
      exchange.send(200, 'application/json', JSON.stringify(this.#version, null, 2));
      return true;
    }
    if ((path === '/api' || path === '/apis') && this.#sendAggregated(exchange, path === '/api' ? 'api' : 'apis'))
      return true;
    const { mediaType } = negotiate(exchange.header('accept'));
    exchange.send(200, mediaType, await encodeDocument(exchange, mediaType, document));
    return true;
  }

  #find(path: string): object | undefined {
    if (path === '/') return { paths: this.#paths() };
    if (path === '/version') return this.#version;
    if (path === '/api') return apiVersions(this.#address);
    if (path === '/apis') return apiGroupList(this.#aggregated);
    const segments = path.slice(1).split('/');
    const [root, first = '', second = ''] = segments;
    if (root === 'api' && segments.length === 2) {
      const where = { group: '', version: first };
      return isServed(where) ? apiResourceList(where) : undefined;
    }
    if (root !== 'apis') return undefined;
    if (segments.length === 2) return apiGroupDocument(first, this.#aggregated);
    const where = { group: first, version: second };
    return segments.length === 3 && first !== '' && isServed(where) ? apiResourceList(where) : undefined;
  }

  #paths(): string[] {
    const groups = servedGroupVersions.flatMap((it) =>
      it.group === '' ? ['/api', `/api/${it.version}`] : [`/apis/${it.group}`, `/apis/${groupVersionText(it)}`],
    );
    return [...groups, '/apis', '/healthz', '/livez', '/openapi/v2', '/openapi/v3', '/readyz', '/version'].sort();
  }

  /** The aggregated form, if the client prefers it to the legacy one. */
  #sendAggregated(exchange: Exchange, root: 'api' | 'apis'): boolean {
    for (const { type, parameters } of parseAccept(exchange.header('accept') ?? '')) {
      if (type !== 'application/json') continue;
      if (!parameters.has('as')) return false;
      const isDiscovery =
        parameters.get('g') === 'apidiscovery.k8s.io' && parameters.get('as') === 'APIGroupDiscoveryList';
      if (!isDiscovery || parameters.get('v') !== 'v2') continue;
      const body = `${JSON.stringify(aggregatedDiscovery(root, this.#aggregated))}\n`;
      const tag = entityTag(body);
      const headers: HeaderPairs = [
        ['Etag', tag],
        ['Vary', 'Accept'],
        ['Cache-Control', 'public'],
      ];
      if (exchange.header('if-none-match') === tag) exchange.send(304, discoveryType, '', headers);
      else exchange.send(200, discoveryType, body, headers);
      return true;
    }
    return false;
  }

  #health(exchange: Exchange, kind: string, check: string | undefined): boolean {
    if (exchange.method !== 'GET' && exchange.method !== 'HEAD') throw new StatusError(methodNotAllowed());
    if (check !== undefined && !healthChecks.includes(check)) return false;
    const isVerbose = exchange.query.has('verbose') && check === undefined;
    const body = isVerbose ? `${healthChecks.map((name) => `[+]${name} ok\n`).join('')}${kind} check passed\n` : 'ok';
    exchange.send(200, plainText, body, noSniff);
    return true;
  }

  #openApi(exchange: Exchange, path: string): boolean {
    if (exchange.method !== 'GET' && exchange.method !== 'HEAD') throw new StatusError(methodNotAllowed());
    const serverVersion = this.#version.gitVersion;
    if (path === '/openapi/v2') {
      const accepted = parseAccept(exchange.header('accept') ?? '*/*').some(({ type }) =>
        ['application/json', '*/*', 'application/*'].includes(type),
      );
      if (!accepted) {
        exchange.send(406, plainText, '');
        return true;
      }
      this.#sendDocument(
        exchange,
        'application/json',
        this.#document(path, () => openApiV2(serverVersion)),
      );
      return true;
    }
    if (path === '/openapi/v3') {
      exchange.send(200, plainText, JSON.stringify({ paths: this.#openApiPaths() }));
      return true;
    }
    const name = path.slice('/openapi/v3/'.length);
    const where = servedGroupVersions.find((it) => openApiPath(it.group, it.version) === name);
    if (where === undefined) return false;
    this.#sendDocument(
      exchange,
      'application/json',
      this.#document(path, () => openApiV3(where, serverVersion)),
    );
    return true;
  }

  #openApiPaths(): Record<string, { serverRelativeURL: string }> {
    const entries = servedGroupVersions.map((where): [string, { serverRelativeURL: string }] => {
      const name = openApiPath(where.group, where.version);
      const path = `/openapi/v3/${name}`;
      const hash = documentHash(this.#document(path, () => openApiV3(where, this.#version.gitVersion)));
      return [name, { serverRelativeURL: `${path}?hash=${hash}` }];
    });
    for (const [name, url] of this.#aggregatedOpenApi?.() ?? []) entries.push([name, { serverRelativeURL: url }]);
    return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  #document(path: string, make: () => object): string {
    let document = this.#documents.get(path);
    if (document === undefined) {
      document = JSON.stringify(make());
      this.#documents.set(path, document);
    }
    return document;
  }

  #sendDocument(exchange: Exchange, contentType: string, body: string): void {
    const tag = entityTag(body);
    const headers: HeaderPairs = [
      ['Etag', tag],
      ['Vary', 'Accept'],
    ];
    if (exchange.header('if-none-match') === tag) exchange.send(304, contentType, '', headers);
    else exchange.send(200, contentType, body, headers);
  }
}

function openApiPath(group: string, version: string): string {
  return group === '' ? `api/${version}` : `apis/${group}/${version}`;
}
