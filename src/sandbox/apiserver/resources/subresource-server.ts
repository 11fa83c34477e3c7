// Subresources that are no view of the whole object: scale, binding, eviction, finalize. (exec, attach, portforward, log and token
// belong to the chain around the ResourceServer; status is a view of the object.)

import type { Clock } from '../../../base/clock.ts';
import { conflict, methodNotAllowed, type Status, StatusError } from '../../../kube/status.ts';
import type { Exchange } from '../exchange.ts';
import { parseDeleteOptions } from '../lifecycle/delete-options.ts';
import { invalidPatch, parsePatch, patchTypeOf } from '../patches/patch-request.ts';
import { array, at, child, integer, isRecord, type Json, records, text } from '../objects/fields.ts';
import { type KubeObject, kubeTime } from '../objects/object.ts';
import { decodeAs, decodeBody, mediaTypeOf } from '../requests/object-body.ts';
import { answerObject, answerStatus } from '../requests/object-answer.ts';
import { schemaOfKind } from '../schemas/definitions.ts';
import { decodeObject } from '../schemas/strict-decoding.ts';
import type { Store } from '../store.ts';
import { formatLabelSelector, none } from '../tables/printer.ts';
import type { ResourceDefinition } from './catalog.ts';
import { keyOf, type ObjectServer, writeOptions } from './object-server.ts';

const scaleKind = { group: 'autoscaling', version: 'v1', kind: 'Scale' };
const evictionKind = { group: 'policy', version: 'v1', kind: 'Eviction' };
const bindingKind = { group: '', version: 'v1', kind: 'Binding' };

const success: Omit<Status, 'code'> = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' };

function scaleOf(object: KubeObject): KubeObject {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  const selector = formatLabelSelector(at(object, 'spec', 'selector'));
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
      ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
    },
    spec: { replicas: integer(at(object, 'spec', 'replicas')) },
    status: {
      replicas: integer(at(object, 'status', 'replicas')),
      ...(selector === none ? {} : { selector }),
    },
  };
}

export class SubresourceServer {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #objects: ObjectServer;

  constructor(deps: { store: Store; clock: Clock; objects: ObjectServer }) {
    this.#store = deps.store;
    this.#clock = deps.clock;
    this.#objects = deps.objects;
  }

  /** @throws StatusError 405 for what no subresource here does. */
  async handle(exchange: Exchange, definition: ResourceDefinition): Promise<void> {
    const { subresource } = exchange.info;
    const { method } = exchange;
    if (subresource === 'scale') {
      await this.#scale(exchange, definition);
    } else if (subresource === 'binding' && method === 'POST') {
      await this.#bind(exchange, definition);
    } else if (subresource === 'eviction' && method === 'POST') {
      await this.#evict(exchange, definition);
    } else if (subresource === 'finalize' && method === 'PUT') {
      await this.#finalize(exchange, definition);
    } else if (
      (subresource === 'ephemeralcontainers' || subresource === 'resize') &&
      method !== 'POST' &&
      method !== 'DELETE'
    ) {
      await this.#view(exchange, definition);
    } else throw new StatusError(methodNotAllowed());
  }

  async #view(exchange: Exchange, definition: ResourceDefinition): Promise<void> {
    if (exchange.method === 'PATCH') await this.#objects.patch(exchange, definition, []);
    else if (exchange.method === 'PUT') await this.#objects.update(exchange, definition, []);
    else await this.#objects.get(exchange, definition, []);
  }

  async #scale(exchange: Exchange, definition: ResourceDefinition): Promise<void> {
    const current = this.#store.mustGet(keyOf(exchange, definition));
    const answer = (object: KubeObject): Promise<void> =>
      answerObject(exchange, 200, scaleOf(object), { clock: this.#clock, definition });
    if (exchange.method === 'GET') {
      await answer(current);
      return;
    }
    if (exchange.method !== 'PUT' && exchange.method !== 'PATCH') throw new StatusError(methodNotAllowed());
    const options = writeOptions(exchange, exchange.method === 'PUT' ? 'UpdateOptions' : 'PatchOptions');
    const wanted =
      exchange.method === 'PUT' ? await this.#sentScale(exchange) : await this.#patchedScale(exchange, current);
    const updated = await this.#objects.change(
      exchange,
      definition,
      (object) => {
        child(object, 'spec')['replicas'] = integer(at(wanted, 'spec', 'replicas'));
        const version = text(wanted.metadata.resourceVersion);
        if (version === '') delete object.metadata.resourceVersion;
        else object.metadata.resourceVersion = version;
        return object;
      },
      options,
    );
    await answer(updated);
  }

  async #sentScale(exchange: Exchange): Promise<KubeObject> {
    const { validation } = writeOptions(exchange, 'UpdateOptions');
    return (await decodeBody(await exchange.body(), exchange.header('content-type'), scaleKind, validation)).object;
  }

  async #patchedScale(exchange: Exchange, current: KubeObject): Promise<KubeObject> {
    const type = patchTypeOf(mediaTypeOf(exchange.header('content-type')));
    if (type === 'apply') throw new StatusError(methodNotAllowed());
    const body = (await exchange.body()).toString();
    const schema = schemaOfKind(scaleKind);
    const scale = scaleOf(current);
    const result: Json = parsePatch(type, body, schema)({ ...scale, metadata: { name: scale.metadata.name } });
    try {
      return decodeAs(decodeObject(result, schema).value, scaleKind, 'Ignore').object;
    } catch (error) {
      if (error instanceof StatusError) throw error;
      throw invalidPatch(body, error instanceof Error ? error.message : '');
    }
  }

  async #bind(exchange: Exchange, definition: ResourceDefinition): Promise<void> {
    const { validation } = writeOptions(exchange, 'CreateOptions');
    const body = await decodeBody(await exchange.body(), exchange.header('content-type'), bindingKind, validation);
    const key = keyOf(exchange, definition);
    const node = text(at(body.object, 'target', 'name'));
    bindPod(this.#store, this.#clock, key.namespace, key.name, node);
    await answerStatus(exchange, 201, success);
  }

  async #evict(exchange: Exchange, definition: ResourceDefinition): Promise<void> {
    const { validation } = writeOptions(exchange, 'CreateOptions');
    const body = await decodeBody(await exchange.body(), exchange.header('content-type'), evictionKind, validation);
    const wanted = body.object['deleteOptions'];
    const options = parseDeleteOptions(isRecord(wanted) ? wanted : undefined, exchange.query);
    await this.#objects.deleteOne(exchange, definition, keyOf(exchange, definition), options);
    await answerStatus(exchange, 201, success);
  }

  /** Namespaces: the only way to take away spec.finalizers. */
  async #finalize(exchange: Exchange, definition: ResourceDefinition): Promise<void> {
    const { validation } = writeOptions(exchange, 'UpdateOptions');
    const body = await decodeBody(await exchange.body(), exchange.header('content-type'), definition, validation);
    const key = keyOf(exchange, definition);
    const finalizers = array(at(body.object, 'spec', 'finalizers'));
    const object = this.#store.mutate(key, (draft) => {
      child(draft, 'spec')['finalizers'] = finalizers;
    });
    if (finalizers.length === 0 && object.metadata.deletionTimestamp !== undefined) this.#store.delete(key);
    await answerObject(exchange, 200, object, { clock: this.#clock, definition });
  }
}

/** Puts a pod on a node, as the scheduler's binding does. @throws StatusError 404, or 409 if it has a node already. */
function bindPod(store: Store, clock: Clock, namespace: string, name: string, node: string): KubeObject {
  const pods = { group: '', resource: 'pods' };
  return store.mutate({ ...pods, namespace, name }, (draft) => {
    const spec = child(draft, 'spec');
    const assigned = text(spec['nodeName']);
    if (assigned !== '') {
      throw new StatusError(
        conflict(
          { group: '', resource: 'pods/binding' },
          name,
          `pod ${name} is already assigned to node "${assigned}"`,
        ),
      );
    }
    spec['nodeName'] = node;
    const status = child(draft, 'status');
    const others = records(status['conditions']).filter((condition) => condition['type'] !== 'PodScheduled');
    status['conditions'] = [
      ...others,
      {
        type: 'PodScheduled',
        ...(draft.metadata.generation === undefined ? {} : { observedGeneration: draft.metadata.generation }),
        status: 'True',
        lastProbeTime: null,
        lastTransitionTime: kubeTime(clock.now()),
      },
    ];
  });
}
