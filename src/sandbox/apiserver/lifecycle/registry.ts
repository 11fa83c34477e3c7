// Writing objects for clients: defaults, ownership of fields, admission, validation and the store, in kube-apiserver's order. The Store
// below trusts its callers; this is where a client's object becomes trustworthy.

import { randomUUID } from 'node:crypto';
import type { Clock } from '../../../base/clock.ts';
import {
  badRequest,
  conflict,
  failure,
  forbidden,
  notFound,
  StatusError,
  type StatusDetails,
} from '../../../kube/status.ts';
import type { ResourceDefinition } from '../resources/catalog.ts';
import { groupVersionText } from '../resources/catalog.ts';
import { child, type Json, setDefault, text } from '../objects/fields.ts';
import { isJsonEqual, type KubeObject, kubeTime, type ObjectKey } from '../objects/object.ts';
import { type FieldWriter, trackUpdate } from '../ownership/managed-fields.ts';
import { schemaOfKind } from '../schemas/definitions.ts';
import type { Store } from '../store.ts';
import { applyDefaults } from './defaults.ts';
import { invalidValue, required, throwInvalid } from './field-errors.ts';
import { generateName } from './names.ts';
import { admitPod, qosClass } from './pod-defaults.ts';
import { allocateServiceAddresses } from './service-addresses.ts';
import { allowsUnconditionalUpdate, hasGeneration, hasStatusSubresource, keepsStatusOnCreate } from './strategy.ts';
import { validateMetadata, validateObject, validateUpdate } from './validation.ts';

export interface WriteContext {
  /** Who writes, for managedFields. */
  readonly manager: string;
  readonly isDryRun: boolean;
  /** '' for the object itself. */
  readonly subresource: string;
  /** Admission of the chain around: may change the object, throws to refuse. */
  admit(operation: 'CREATE' | 'UPDATE', object: KubeObject, oldObject: KubeObject | undefined): Promise<KubeObject>;
  /** Entries already made by server-side apply; left out, the write is an update. */
  readonly hasOwnership?: boolean;
  /** A patch has the version of the object it is applied to, so no kind refuses one that names none. */
  readonly isPatch?: boolean;
}

/** Tries of a change that meets another writer; kube-apiserver's patch handler makes as many. */
const maxTries = 5;

export class Registry {
  readonly #store: Store;
  readonly #clock: Clock;

  constructor(deps: { store: Store; clock: Clock }) {
    this.#store = deps.store;
    this.#clock = deps.clock;
  }

  /** @throws StatusError for every refusal. */
  async create(
    definition: ResourceDefinition,
    object: KubeObject,
    namespace: string,
    context: WriteContext,
  ): Promise<KubeObject> {
    let draft = structuredClone(object);
    this.#prepareMetadata(definition, draft, namespace);
    if (!keepsStatusOnCreate(definition)) delete draft['status'];
    applyDefaults(definition, draft);
    if (context.hasOwnership !== true) {
      draft.metadata.managedFields = trackUpdate(
        undefined,
        draft,
        schemaOfKind(definition),
        this.#writer(definition, context),
      );
    }
    if (draft.metadata.managedFields?.length === 0) delete draft.metadata.managedFields;
    this.#checkNamespace(definition, namespace, draft.metadata.name);
    this.#admitBuiltIn(definition, draft, namespace);
    draft = structuredClone(await context.admit('CREATE', draft, undefined));
    throwInvalid(definition, draft.metadata.name, validateObject(definition, draft));
    this.#fillStatus(definition, draft);
    if (!context.isDryRun) return this.#store.create(definition, draft);
    const key = keyOf(definition, namespace, draft.metadata.name);
    if (this.#store.get(key) !== undefined) this.#store.create(definition, draft); // throws the 409
    return draft;
  }

  /**
   * Replaces an object by what `change` makes of it. `change` runs again if another writer came between, unless its result names a
   * resourceVersion.
   */
  async update(
    definition: ResourceDefinition,
    key: ObjectKey,
    change: (current: KubeObject) => KubeObject,
    context: WriteContext,
  ): Promise<KubeObject> {
    for (let tries = 1; ; tries += 1) {
      const current = this.#store.mustGet(key);
      const wanted = change(structuredClone(current));
      const named = wanted.metadata.resourceVersion ?? '';
      try {
        return await this.#updateOnce(definition, key, current, wanted, context);
      } catch (error) {
        const isOthers = error instanceof StatusError && error.status.reason === 'Conflict' && named === '';
        if (!isOthers || tries === maxTries) throw error;
      }
    }
  }

  async #updateOnce(
    definition: ResourceDefinition,
    key: ObjectKey,
    current: KubeObject,
    wanted: KubeObject,
    context: WriteContext,
  ): Promise<KubeObject> {
    this.#checkIdentity(definition, key, current, wanted, context);
    let draft = scopeUpdate(definition, current, wanted, context.subresource);
    if (context.subresource === '') applyDefaults(definition, draft);
    if (context.hasOwnership !== true) {
      const writer = this.#writer(definition, context);
      draft.metadata.managedFields = trackUpdate(current, draft, schemaOfKind(definition), writer);
    }
    if (draft.metadata.managedFields?.length === 0) delete draft.metadata.managedFields;
    draft = structuredClone(await context.admit('UPDATE', draft, current));
    const errors = [...validateMetadata(definition, draft)];
    if (context.subresource === '' || context.subresource === 'scale') {
      errors.push(
        ...validateObject(definition, draft).slice(errors.length),
        ...validateUpdate(definition, current, draft),
      );
    }
    throwInvalid(definition, key.name, errors);
    if (hasGeneration(definition) && isSpecChanged(current, draft)) {
      draft.metadata.generation = (current.metadata.generation ?? 0) + 1;
    }
    draft.metadata.resourceVersion = current.metadata.resourceVersion ?? '';
    return context.isDryRun ? draft : this.#store.update(definition, draft);
  }

  #writer(definition: ResourceDefinition, context: WriteContext): FieldWriter {
    return {
      manager: context.manager,
      operation: 'Update',
      apiVersion: groupVersionText(definition),
      subresource: context.subresource,
      nowMs: this.#clock.now(),
    };
  }

  #prepareMetadata(definition: ResourceDefinition, draft: KubeObject, namespace: string): void {
    const { metadata } = draft;
    if ((metadata.resourceVersion ?? '') !== '') {
      throw new StatusError(failure(500, '', 'resourceVersion should not be set on objects to be created'));
    }
    const generated = text(metadata.generateName);
    if (text(metadata.name) === '' && generated !== '') metadata.name = generateName(generated);
    if (text(metadata.name) === '') {
      throwInvalid(definition, '', [required('metadata.name', 'name or generateName is required')]);
    }
    if (definition.isNamespaced) metadata.namespace = namespace;
    metadata.uid = randomUUID();
    metadata.creationTimestamp = kubeTime(this.#clock.now());
    for (const field of ['resourceVersion', 'deletionTimestamp', 'deletionGracePeriodSeconds', 'selfLink'] as const) {
      delete (metadata as unknown as Json)[field];
    }
    delete metadata.generation;
    if (hasGeneration(definition)) metadata.generation = 1;
    // In the order of Go's fields, which clients see in raw output.
    const { name, generateName: prefix, namespace: place, uid, generation, creationTimestamp, ...rest } = metadata;
    draft.metadata = {
      name,
      ...(prefix === undefined ? {} : { generateName: prefix }),
      ...(place === undefined ? {} : { namespace: place }),
      uid,
      ...(generation === undefined ? {} : { generation }),
      creationTimestamp,
      ...rest,
    };
  }

  #checkNamespace(definition: ResourceDefinition, namespace: string, name: string): void {
    if (!definition.isNamespaced) return;
    const namespaces = { group: '', resource: 'namespaces' };
    const found = this.#store.get({ ...namespaces, namespace: '', name: namespace });
    if (found === undefined) throw new StatusError(notFound(namespaces, namespace));
    if (found.metadata.deletionTimestamp === undefined) return;
    const refusal = forbidden(
      definition,
      name,
      `unable to create new content in namespace ${namespace} because it is being terminated`,
    );
    const details: StatusDetails = {
      ...refusal.details,
      causes: [
        {
          reason: 'NamespaceTerminating',
          message: `namespace ${namespace} is being terminated`,
          field: 'metadata.namespace',
        },
      ],
    };
    throw new StatusError({ ...refusal, details });
  }

  /** The admission plugins that are always on: ServiceAccount, Priority, DefaultTolerationSeconds. */
  #admitBuiltIn(definition: ResourceDefinition, draft: KubeObject, namespace: string): void {
    if (definition.group !== '' || definition.resource !== 'pods') return;
    admitPod(draft);
    const account = text(child(draft, 'spec')['serviceAccountName']);
    const key = { group: '', resource: 'serviceaccounts', namespace, name: account };
    if (this.#store.get(key) === undefined) {
      const reason = `error looking up service account ${namespace}/${account}: serviceaccount "${account}" not found`;
      throw new StatusError(forbidden(definition, draft.metadata.name, reason));
    }
  }

  /** What the server itself puts into a new object. */
  #fillStatus(definition: ResourceDefinition, draft: KubeObject): void {
    if (definition.group === '') {
      if (definition.resource === 'pods') draft['status'] = { phase: 'Pending', qosClass: qosClass(draft) };
      if (definition.resource === 'namespaces') {
        setDefault(child(draft, 'spec'), 'finalizers', ['kubernetes']);
        draft['status'] = { phase: 'Active' };
      }
      if (definition.resource === 'services') {
        allocateServiceAddresses(this.#store, draft);
        draft['status'] = { loadBalancer: {} };
      }
      if (definition.resource === 'persistentvolumeclaims') draft['status'] = { phase: 'Pending' };
      if (definition.resource === 'persistentvolumes') draft['status'] = { phase: 'Pending' };
      return;
    }
    const starting: Readonly<Record<string, Json>> = {
      'apps/deployments': {},
      'apps/replicasets': { replicas: 0 },
      'apps/statefulsets': { replicas: 0, availableReplicas: 0 },
      'apps/daemonsets': {
        currentNumberScheduled: 0,
        numberMisscheduled: 0,
        desiredNumberScheduled: 0,
        numberReady: 0,
      },
    };
    const status =
      starting[`${definition.group}/${definition.resource}`] ?? (hasStatusSubresource(definition) ? {} : undefined);
    if (status !== undefined) draft['status'] = status;
  }

  #checkIdentity(
    definition: ResourceDefinition,
    key: ObjectKey,
    current: KubeObject,
    wanted: KubeObject,
    { isPatch = false }: WriteContext,
  ): void {
    const { name, namespace, uid, resourceVersion } = wanted.metadata;
    if (text(name) !== key.name) {
      const message =
        text(name) === ''
          ? 'name must be provided'
          : `the name of the object (${name}) does not match the name on the URL (${key.name})`;
      throw new StatusError(badRequest(message));
    }
    if (definition.isNamespaced && text(namespace) !== '' && namespace !== key.namespace) {
      const message = `the namespace of the object (${namespace}) does not match the namespace on the URL (${key.namespace})`;
      throw new StatusError(badRequest(message));
    }
    if (uid !== undefined && uid !== '' && uid !== current.metadata.uid) {
      const where = [definition.group, definition.resource, key.namespace, key.name]
        .filter((it) => it !== '')
        .join('/');
      const reason = `StorageError: invalid object, Code: 4, Key: /registry/${where}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: ${uid}, UID in object meta: ${current.metadata.uid}`;
      throw new StatusError(conflict(definition, key.name, reason));
    }
    const version = resourceVersion ?? '';
    if (version === '' && !isPatch && !allowsUnconditionalUpdate(definition)) {
      throwInvalid(definition, key.name, [
        invalidValue('metadata.resourceVersion', 0, 'must be specified for an update'),
      ]);
    }
    if (version !== '' && version !== current.metadata.resourceVersion) {
      const reason = 'the object has been modified; please apply your changes to the latest version and try again';
      throw new StatusError(conflict(definition, key.name, reason));
    }
  }
}

function keyOf(definition: ResourceDefinition, namespace: string, name: string): ObjectKey {
  return {
    group: definition.group,
    resource: definition.resource,
    namespace: definition.isNamespaced ? namespace : '',
    name,
  };
}

/** The parts of an object that a write through that subresource can change; the rest stays as it is. */
function scopeUpdate(
  definition: ResourceDefinition,
  current: KubeObject,
  wanted: KubeObject,
  subresource: string,
): KubeObject {
  const draft = structuredClone(wanted);
  const { metadata } = current;
  const serverFields = {
    ...(metadata.generateName === undefined ? {} : { generateName: metadata.generateName }),
    ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }),
    ...(metadata.uid === undefined ? {} : { uid: metadata.uid }),
    ...(metadata.resourceVersion === undefined ? {} : { resourceVersion: metadata.resourceVersion }),
    ...(metadata.generation === undefined ? {} : { generation: metadata.generation }),
    ...(metadata.creationTimestamp === undefined ? {} : { creationTimestamp: metadata.creationTimestamp }),
    ...(metadata.deletionTimestamp === undefined ? {} : { deletionTimestamp: metadata.deletionTimestamp }),
    ...(metadata.deletionGracePeriodSeconds === undefined
      ? {}
      : { deletionGracePeriodSeconds: metadata.deletionGracePeriodSeconds }),
  };
  if (subresource === 'status') {
    const { finalizers, labels, annotations } = draft.metadata;
    const isPodLike = definition.group === '';
    return {
      ...structuredClone(current),
      ...(draft['status'] === undefined ? {} : { status: draft['status'] }),
      metadata: isPodLike
        ? {
            ...structuredClone(metadata),
            ...(labels === undefined ? {} : { labels }),
            ...(annotations === undefined ? {} : { annotations }),
            ...(finalizers === undefined ? {} : { finalizers }),
          }
        : structuredClone(metadata),
    };
  }
  const {
    uid: _uid,
    resourceVersion: _version,
    generation: _generation,
    creationTimestamp: _created,
    deletionTimestamp: _deleted,
    deletionGracePeriodSeconds: _grace,
    name,
    namespace: _namespace,
    generateName: _prefix,
    ...own
  } = draft.metadata;
  draft.metadata = { name, ...serverFields, ...own };
  if (hasStatusSubresource(definition)) {
    if (current['status'] === undefined) delete draft['status'];
    else draft['status'] = current['status'];
  }
  // Namespaces are finalized through their own subresource only.
  if (definition.resource === 'namespaces' && subresource === '') draft['spec'] = structuredClone(current['spec']);
  if (definition.resource === 'services') keepServiceAddresses(draft, current);
  return draft;
}

/** A client may leave out what was allocated to its service. */
function keepServiceAddresses(draft: KubeObject, current: KubeObject): void {
  const spec = child(draft, 'spec');
  const before = child(structuredClone(current), 'spec');
  for (const field of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy']) {
    if (spec['type'] !== 'ExternalName' && before[field] !== undefined) setDefault(spec, field, before[field]);
  }
}

function contentOf(object: KubeObject): Json {
  const { metadata: _metadata, status: _status, ...content } = object;
  return content;
}

function isSpecChanged(before: KubeObject, after: KubeObject): boolean {
  return !isJsonEqual(contentOf(before), contentOf(after));
}
