// Reads and writes of one object: get, create, update, patch, apply, delete, deletecollection, also through the subresource `status`.

import type { Clock } from '../../../base/clock.ts';
import { parseListOptions } from '../../../kube/list-options.ts';
import { invalid, type Status, StatusError } from '../../../kube/status.ts';
import type { Exchange } from '../exchange.ts';
import { Deleter } from '../lifecycle/deletion.ts';
import { type DeleteOptions, parseDeleteOptions } from '../lifecycle/delete-options.ts';
import { Registry, type WriteContext } from '../lifecycle/registry.ts';
import { returnsDeletedObject } from '../lifecycle/strategy.ts';
import { selectableFieldsOf } from '../objects/field-selector.ts';
import { isRecord, record, text } from '../objects/fields.ts';
import type { KubeObject, ObjectKey } from '../objects/object.ts';
import { applyConfiguration } from '../ownership/apply.ts';
import { invalidPatch, parsePatch, type PatchType, patchTypeOf } from '../patches/patch-request.ts';
import { GoJsonError, parseGoJson } from '../requests/go-json.ts';
import { decodeAs, decodeBody, mediaTypeOf, parseYaml } from '../requests/object-body.ts';
import { answerObject, answerStatus } from '../requests/object-answer.ts';
import { decodeProtobuf, protobufMediaType } from '../requests/protobuf.ts';
import { parseWriteOptions, type WriteOptions } from '../requests/write-options.ts';
import { schemaOfKind } from '../schemas/definitions.ts';
import { decodeObject } from '../schemas/strict-decoding.ts';
import type { Store } from '../store.ts';
import { groupVersionText, type ResourceDefinition } from './catalog.ts';

/** One write on its way into the store; the chain around may change the object or refuse it. */
export interface AdmissionRequest {
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE';
  readonly exchange: Exchange;
  readonly definition: ResourceDefinition;
  readonly subresource: string;
  readonly isDryRun: boolean;
  /** undefined for DELETE. */
  readonly object: KubeObject | undefined;
  /** undefined for CREATE. */
  readonly oldObject: KubeObject | undefined;
}

/** Answers with the object to go on with, or undefined for no change; throws a StatusError to refuse. */
export type Admit = (request: AdmissionRequest) => Promise<KubeObject | undefined>;

/** Whether who writes to a name that is not there may also create it; throws a StatusError if not. */
export type AuthorizeCreate = (exchange: Exchange) => void;

/** Kinds that a PUT to a name that is not there creates. */
const createsOnUpdate = new Set([
  '/endpoints',
  '/events',
  '/services',
  'coordination.k8s.io/leases',
  'rbac.authorization.k8s.io/clusterrolebindings',
  'rbac.authorization.k8s.io/clusterroles',
  'rbac.authorization.k8s.io/rolebindings',
  'rbac.authorization.k8s.io/roles',
]);

export class ObjectServer {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #registry: Registry;
  readonly #deleter: Deleter;
  readonly #admit: Admit | undefined;
  readonly #authorizeCreate: AuthorizeCreate;

  constructor(
    deps: { store: Store; clock: Clock },
    options: { admit: Admit | undefined; authorizeCreate: AuthorizeCreate | undefined },
  ) {
    this.#store = deps.store;
    this.#clock = deps.clock;
    this.#registry = new Registry(deps);
    this.#deleter = new Deleter(deps);
    this.#admit = options.admit;
    this.#authorizeCreate = options.authorizeCreate ?? (() => {});
  }

  async get(exchange: Exchange, definition: ResourceDefinition, warnings: readonly string[]): Promise<void> {
    const object = this.#store.mustGet(keyOf(exchange, definition));
    await this.#answer(exchange, 200, object, definition, warnings);
  }

  async create(exchange: Exchange, definition: ResourceDefinition, warnings: readonly string[]): Promise<void> {
    const options = writeOptions(exchange, 'CreateOptions');
    const body = await decodeBody(
      await exchange.body(),
      exchange.header('content-type'),
      definition,
      options.validation,
    );
    const namespace = namespaceFor(exchange, definition, body.object);
    const context = this.#context(exchange, definition, options);
    const created = await this.#registry.create(definition, body.object, namespace, context);
    await this.#answer(exchange, 201, created, definition, [...warnings, ...body.warnings]);
  }

  async update(exchange: Exchange, definition: ResourceDefinition, warnings: readonly string[]): Promise<void> {
    const options = writeOptions(exchange, 'UpdateOptions');
    const body = await decodeBody(
      await exchange.body(),
      exchange.header('content-type'),
      definition,
      options.validation,
    );
    const key = keyOf(exchange, definition);
    const context = this.#context(exchange, definition, options);
    const all = [...warnings, ...body.warnings];
    if (this.#store.get(key) === undefined && createsOnUpdate.has(`${definition.group}/${definition.resource}`)) {
      this.#authorizeCreate(exchange);
      const created = await this.#registry.create(definition, body.object, key.namespace, context);
      await this.#answer(exchange, 201, created, definition, all);
      return;
    }
    const updated = await this.#registry.update(definition, key, () => body.object, context);
    await this.#answer(exchange, 200, updated, definition, all);
  }

  async patch(exchange: Exchange, definition: ResourceDefinition, warnings: readonly string[]): Promise<void> {
    const type = patchTypeOf(mediaTypeOf(exchange.header('content-type')));
    const options = writeOptions(exchange, 'PatchOptions');
    checkPatchOptions(type, options);
    if (type === 'apply') {
      await this.#apply(exchange, definition, options, warnings);
      return;
    }
    const body = (await exchange.body()).toString();
    const schema = schemaOfKind(definition);
    const change = parsePatch(type, body, schema);
    const found: string[] = [];
    const patched = await this.#registry.update(
      definition,
      keyOf(exchange, definition),
      (current) => {
        const { resourceVersion } = current.metadata;
        const result = change(current);
        // Only a patch that names another version is bound to that one.
        const metadata = record(result['metadata']);
        if (metadata['resourceVersion'] === resourceVersion) delete metadata['resourceVersion'];
        try {
          const decoded = decodeObject(result, schema);
          if (options.validation === 'Strict' && decoded.strictErrors.length > 0) {
            throw invalidPatch(body, `strict decoding error: ${decoded.strictErrors.join(', ')}`);
          }
          if (options.validation === 'Warn') found.splice(0, found.length, ...decoded.strictErrors);
          return decodeAs(decoded.value, definition, 'Ignore').object;
        } catch (error) {
          if (error instanceof StatusError) throw error;
          throw invalidPatch(body, error instanceof Error ? error.message : '');
        }
      },
      { ...this.#context(exchange, definition, options), isPatch: true },
    );
    await this.#answer(exchange, 200, patched, definition, [...warnings, ...found]);
  }

  async #apply(
    exchange: Exchange,
    definition: ResourceDefinition,
    options: WriteOptions,
    warnings: readonly string[],
  ): Promise<void> {
    const key = keyOf(exchange, definition);
    const body = await exchange.body();
    let value: unknown;
    try {
      value = await parseYaml(body);
    } catch (error) {
      if (!(error instanceof GoJsonError)) throw error;
      throw invalidPatch(body.toString(), error.message);
    }
    const decoded = decodeAs(isRecord(value) ? value : {}, definition, options.validation);
    const applied = {
      ...decoded.object,
      metadata: { ...decoded.object.metadata, name: text(decoded.object.metadata.name) || key.name },
    };
    if ((applied.metadata.managedFields?.length ?? 0) > 0) {
      throw new StatusError(
        invalid({ group: '', kind: '' }, '', [
          { message: 'metadata.managedFields must be nil', field: 'metadata.managedFields' },
        ]),
      );
    }
    const writer = {
      manager: options.manager,
      operation: 'Apply' as const,
      apiVersion: groupVersionText(definition),
      subresource: exchange.info.subresource,
      nowMs: this.#clock.now(),
    };
    const schema = schemaOfKind(definition);
    const context = { ...this.#context(exchange, definition, options), hasOwnership: true };
    const merge = (live: KubeObject | undefined): KubeObject =>
      applyConfiguration(live, applied, schema, writer, options.isForced === true);
    const all = [...warnings, ...decoded.warnings];
    if (this.#store.get(key) === undefined && exchange.info.subresource === '') {
      this.#authorizeCreate(exchange);
      const created = await this.#registry.create(definition, merge(undefined), key.namespace, context);
      await this.#answer(exchange, 201, created, definition, all);
      return;
    }
    const updated = await this.#registry.update(definition, key, merge, context);
    await this.#answer(exchange, 200, updated, definition, all);
  }

  async delete(exchange: Exchange, definition: ResourceDefinition, warnings: readonly string[]): Promise<void> {
    const options = await readDeleteOptions(exchange);
    const key = keyOf(exchange, definition);
    const result = await this.deleteOne(exchange, definition, key, options);
    if (!result.isGone || returnsDeletedObject(definition)) {
      await this.#answer(exchange, 200, result.object, definition, warnings);
      return;
    }
    await answerStatus(exchange, 200, deletedStatus(definition, result.object), warnings);
  }

  /** Deletes by key, admission included; for deletes and evictions. */
  async deleteOne(
    exchange: Exchange,
    definition: ResourceDefinition,
    key: ObjectKey,
    options: DeleteOptions,
  ): Promise<{ object: KubeObject; isGone: boolean }> {
    const object = this.#store.mustGet(key);
    const { isDryRun } = options;
    const request = {
      operation: 'DELETE',
      exchange,
      definition,
      subresource: '',
      isDryRun,
      object: undefined,
      oldObject: object,
    } as const;
    await this.#admit?.(request);
    return isDryRun ? { object, isGone: true } : this.#deleter.delete(definition, key, options);
  }

  async deleteCollection(
    exchange: Exchange,
    definition: ResourceDefinition,
    warnings: readonly string[],
  ): Promise<void> {
    const { matches } = parseListOptions(exchange.query, {
      fields: selectableFieldsOf(definition),
      isWatch: false,
      hasWatchList: true,
    });
    const options = await readDeleteOptions(exchange);
    const namespace = definition.isNamespaced ? exchange.info.namespace : '';
    const found = this.#store.list(definition, namespace).filter((object) => matches?.(object) ?? true);
    for (const object of found) {
      const { name } = object.metadata;
      const key = {
        group: definition.group,
        resource: definition.resource,
        namespace: object.metadata.namespace ?? '',
        name,
      };
      await this.deleteOne(exchange, definition, key, options);
    }
    const list = {
      kind: `${definition.kind}List`,
      apiVersion: groupVersionText(definition),
      metadata: { resourceVersion: this.#store.resourceVersion },
      items: found.map(({ kind: _kind, apiVersion: _apiVersion, ...bare }) => bare),
    };
    await answerStatus(exchange, 200, list as unknown as Status, warnings);
  }

  /** Changes one object for a subresource that is no view of the whole; answers nothing itself. */
  change(
    exchange: Exchange,
    definition: ResourceDefinition,
    change: (current: KubeObject) => KubeObject,
    options: WriteOptions,
  ): Promise<KubeObject> {
    return this.#registry.update(
      definition,
      keyOf(exchange, definition),
      change,
      this.#context(exchange, definition, options),
    );
  }

  async #answer(
    exchange: Exchange,
    code: number,
    object: KubeObject,
    definition: ResourceDefinition,
    warnings: readonly string[],
  ): Promise<void> {
    await answerObject(exchange, code, object, { clock: this.#clock, definition, warnings });
  }

  #context(exchange: Exchange, definition: ResourceDefinition, options: WriteOptions): WriteContext {
    const { subresource } = exchange.info;
    return {
      manager: options.manager,
      isDryRun: options.isDryRun,
      subresource,
      admit: async (operation, object, oldObject) => {
        const request = { operation, exchange, definition, subresource, isDryRun: options.isDryRun, object, oldObject };
        return (await this.#admit?.(request)) ?? object;
      },
    };
  }
}

export function keyOf(exchange: Exchange, definition: ResourceDefinition): ObjectKey {
  return {
    group: definition.group,
    resource: definition.resource,
    namespace: definition.isNamespaced ? exchange.info.namespace : '',
    name: exchange.info.name,
  };
}

export function writeOptions(
  exchange: Exchange,
  kind: 'CreateOptions' | 'UpdateOptions' | 'PatchOptions',
): WriteOptions {
  return parseWriteOptions(exchange.query, exchange.header('user-agent'), kind);
}

async function readDeleteOptions(exchange: Exchange): Promise<DeleteOptions> {
  const body = await exchange.body();
  if (body.length === 0) return parseDeleteOptions(undefined, exchange.query);
  const kind = { group: '', version: 'v1', kind: 'DeleteOptions' };
  // Clients send it as of v1, meta.k8s.io/v1 or the resource's own version: all are the same type.
  const isProtobuf = mediaTypeOf(exchange.header('content-type')) === protobufMediaType;
  const value: unknown = isProtobuf ? decodeProtobuf(body) : parseGoJson(body.toString());
  const options = { ...(isRecord(value) ? value : {}), apiVersion: 'v1', kind: 'DeleteOptions' };
  const schema = { type: 'object', definition: 'io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions' } as const;
  return parseDeleteOptions(decodeAs(options, kind, 'Ignore', schema).object, exchange.query);
}

function deletedStatus(definition: ResourceDefinition, object: KubeObject): Omit<Status, 'code'> {
  const { group, resource } = definition;
  const { name, uid } = object.metadata;
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: { name, ...(group === '' ? {} : { group }), kind: resource, ...(uid === undefined ? {} : { uid }) },
  };
}

/** The URL's namespace; an object that names another is refused. */
function namespaceFor(exchange: Exchange, definition: ResourceDefinition, object: KubeObject): string {
  if (!definition.isNamespaced) return '';
  const { namespace } = exchange.info;
  const own = text(object.metadata.namespace);
  if (own !== '' && own !== namespace) {
    const message = 'the namespace of the provided object does not match the namespace sent on the request';
    throw new StatusError({
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      reason: 'BadRequest',
      code: 400,
    });
  }
  return namespace;
}

function checkPatchOptions(type: PatchType, options: WriteOptions): void {
  const refuse = (field: string, reason: string, message: string): StatusError =>
    new StatusError(invalid({ group: 'meta.k8s.io', kind: 'PatchOptions' }, '', [{ reason, message, field }]));
  if (type === 'apply') {
    if (!options.hasManager) {
      throw refuse('fieldManager', 'FieldValueRequired', 'Required value: is required for apply patch');
    }
  } else if (options.isForced !== undefined) {
    throw refuse('force', 'FieldValueForbidden', 'Forbidden: may not be specified for non-apply patch');
  }
}
