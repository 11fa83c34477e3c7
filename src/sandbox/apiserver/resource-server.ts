// The resource half of the sandbox's apiserver: every request that is not for the chain around it (authentication, RBAC, reviews,
// connect, logs, aggregation) ends here. It finds the resource and the verb and hands on; errors become their Status. It never
// throws, and it answers every exchange exactly once.

import type { Clock } from '../../base/clock.ts';
import { describeError } from '../../base/errors.ts';
import { goJson, internalError, methodNotAllowed, StatusError, unknownResource } from '../../kube/status.ts';
import { isTrue } from '../../kube/request-info.ts';
import type { AggregatedDiscovery } from './discovery/discovery-documents.ts';
import { isServed } from './discovery/discovery-documents.ts';
import {
  type AggregatedOpenApi,
  DiscoveryServer,
  noSniff,
  plainText,
  type ServerVersion,
} from './discovery/discovery-server.ts';
import type { Exchange } from './exchange.ts';
import { findResource, type GroupVersion, type ResourceDefinition, servedGroupVersions } from './resources/catalog.ts';
import { ListServer } from './resources/list-server.ts';
import { type Admit, type AuthorizeCreate, ObjectServer } from './resources/object-server.ts';
import { SubresourceServer } from './resources/subresource-server.ts';
import { warningHeaders } from './requests/object-answer.ts';
import type { Store } from './store.ts';

export type { AggregatedDiscovery } from './discovery/discovery-documents.ts';
export type { ServerVersion } from './discovery/discovery-server.ts';
export type { AdmissionRequest, Admit } from './resources/object-server.ts';

export interface ResourceServerOptions {
  readonly version?: ServerVersion;
  /** `HOST:PORT` as `/api` tells it; default `127.0.0.1:6443`. */
  readonly serverAddress?: string;
  readonly aggregated?: AggregatedDiscovery;
  readonly aggregatedOpenApi?: AggregatedOpenApi;
  readonly admit?: Admit;
  readonly authorizeCreate?: AuthorizeCreate;
}

/** A sandbox says that it is one; the numbers are those of the release it answers like. */
const sandboxVersion: ServerVersion = {
  major: '1',
  minor: '36',
  emulationMajor: '1',
  emulationMinor: '36',
  minCompatibilityMajor: '1',
  minCompatibilityMinor: '35',
  gitVersion: 'v1.36.2+kexer-sandbox',
  gitCommit: 'none',
  gitTreeState: '',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: 'none',
  compiler: 'node',
  platform: `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`,
};

/** What kube-apiserver says of an API that has a successor, in a Warning header. */
const deprecations: Readonly<Record<string, string>> = {
  '/endpoints': 'v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice',
};

export class ResourceServer {
  readonly #discovery: DiscoveryServer;
  readonly #lists: ListServer;
  readonly #objects: ObjectServer;
  readonly #subresources: SubresourceServer;

  constructor(deps: { store: Store; clock: Clock }, options: ResourceServerOptions = {}) {
    this.#discovery = new DiscoveryServer({
      version: options.version ?? sandboxVersion,
      serverAddress: options.serverAddress ?? '127.0.0.1:6443',
      aggregated: options.aggregated,
      aggregatedOpenApi: options.aggregatedOpenApi,
    });
    this.#lists = new ListServer(deps);
    this.#objects = new ObjectServer(deps, { admit: options.admit, authorizeCreate: options.authorizeCreate });
    this.#subresources = new SubresourceServer({ ...deps, objects: this.#objects });
  }

  /** The group versions served locally, the core one first. */
  groupVersions(): readonly GroupVersion[] {
    return servedGroupVersions;
  }

  async handle(exchange: Exchange): Promise<void> {
    try {
      if (exchange.info.isResourceRequest) await this.#handleResource(exchange);
      else if (!(await this.#discovery.handle(exchange))) sendNotFound(exchange);
    } catch (error) {
      sendError(exchange, error);
    }
  }

  async #handleResource(exchange: Exchange): Promise<void> {
    const { apiGroup, apiVersion, resource, subresource } = exchange.info;
    const where = { group: apiGroup, version: apiVersion };
    if (!isServed(where)) {
      sendNotFound(exchange);
      return;
    }
    const definition = findResource(where, resource);
    if (definition === undefined) throw new StatusError(unknownResource());
    if (subresource !== '') await this.#handleSubresource(exchange, definition);
    else if (!isScoped(exchange, definition)) throw new StatusError(unknownResource());
    else await this.#handleVerb(exchange, definition);
  }

  async #handleSubresource(exchange: Exchange, definition: ResourceDefinition): Promise<void> {
    const { subresource } = exchange.info;
    if (!definition.subresources.some((it) => it.name === subresource)) throw new StatusError(unknownResource());
    if (subresource !== 'status') await this.#subresources.handle(exchange, definition);
    else if (exchange.method === 'GET') await this.#objects.get(exchange, definition, []);
    else if (exchange.method === 'PUT') await this.#objects.update(exchange, definition, []);
    else if (exchange.method === 'PATCH') await this.#objects.patch(exchange, definition, []);
    else throw new StatusError(methodNotAllowed());
  }

  async #handleVerb(exchange: Exchange, definition: ResourceDefinition): Promise<void> {
    const deprecation = deprecations[`${definition.group}/${definition.resource}`];
    const warnings = deprecation === undefined ? [] : [deprecation];
    const verb = verbOf(exchange);
    if (!definition.verbs.includes(verb) || !definition.isStored) throw new StatusError(methodNotAllowed());
    switch (verb) {
      case 'get':
        await this.#objects.get(exchange, definition, warnings);
        break;
      case 'list':
        await this.#lists.list(exchange, definition, warnings);
        break;
      case 'watch':
        await this.#lists.watch(exchange, definition, warnings);
        break;
      case 'create':
        await this.#objects.create(exchange, definition, warnings);
        break;
      case 'update':
        await this.#objects.update(exchange, definition, warnings);
        break;
      case 'patch':
        await this.#objects.patch(exchange, definition, warnings);
        break;
      case 'delete':
        await this.#objects.delete(exchange, definition, warnings);
        break;
      case 'deletecollection':
        await this.#objects.deleteCollection(exchange, definition, warnings);
        break;
      default:
        throw new StatusError(methodNotAllowed());
    }
  }
}

/**
 * Whether the path says where the resource lives: /namespaces/NS/RESOURCE only for namespaced ones, and not /RESOURCE/NAME for them.
 * @throws StatusError 405 for a write that names no namespace.
 */
function isScoped(exchange: Exchange, definition: ResourceDefinition): boolean {
  const { namespace, parts } = exchange.info;
  if (definition.group === '' && definition.resource === 'namespaces') return true;
  if (!definition.isNamespaced) return namespace === '';
  const isWrite = exchange.method !== 'GET' && exchange.method !== 'HEAD';
  if (namespace === '' && parts.length === 1 && isWrite) throw new StatusError(methodNotAllowed());
  return namespace !== '' || parts.length === 1;
}

/** The verb by method and by whether one object is named in the path; '' for a method that makes no sense there. */
function verbOf(exchange: Exchange): string {
  const { info, method, query } = exchange;
  const isItem = info.parts.length >= 2;
  switch (method) {
    case 'GET':
    case 'HEAD':
      if (info.verb === 'watch') return 'watch';
      if (isItem) return 'get';
      return isTrue(query.get('watch')) ? 'watch' : 'list';
    case 'POST':
      return isItem ? '' : 'create';
    case 'PUT':
      return isItem ? 'update' : '';
    case 'PATCH':
      return isItem ? 'patch' : '';
    case 'DELETE':
      return isItem ? 'delete' : 'deletecollection';
    default:
      return '';
  }
}

/** For paths that no API owns: Go's own 404. */
function sendNotFound(exchange: Exchange): void {
  exchange.send(404, plainText, '404 page not found\n', noSniff);
}

function sendError(exchange: Exchange, error: unknown): void {
  // Nobody is there to read it, and the stream may have begun.
  if (exchange.signal.aborted) return;
  const status = error instanceof StatusError ? error.status : internalError(describeError(error));
  // The 406 is written by net/http's part of the apiserver, which indents.
  if (status.code === 406) exchange.send(406, 'application/json', JSON.stringify(status, null, 2), warningHeaders([]));
  else exchange.send(status.code, 'application/json', `${goJson(status)}\n`);
}
