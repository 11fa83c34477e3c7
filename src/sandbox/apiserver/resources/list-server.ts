// Lists and watches of one resource. A list is encoded item by item and written as the client reads, so that its size costs no
// memory; pages of one list all show the state of its first page, as long as that snapshot is remembered.

import type { Clock } from '../../../base/clock.ts';
import {
  encodeContinue,
  type ListOptions as KubeListOptions,
  parseListOptions,
  tooLargeVersion,
} from '../../../kube/list-options.ts';
import { expired, goJson, StatusError } from '../../../kube/status.ts';
import type { Exchange, HeaderPairs, ResponseStream } from '../exchange.ts';
import { selectableFieldsOf } from '../objects/field-selector.ts';
import type { KubeObject } from '../objects/object.ts';
import { type AnswerForm, negotiate } from '../requests/negotiation.ts';
import { encodeDocument, objectForms, warningHeaders } from '../requests/object-answer.ts';
import type { Store } from '../store.ts';
import { parseIncludeObject, partialMetadata, TableMaker } from '../tables/table.ts';
import { type EventEncoder, PlainEncoder, WatchStream } from '../watches/watch-stream.ts';
import { TableEncoder } from '../watches/table-encoder.ts';
import { groupVersionText, type ResourceDefinition } from './catalog.ts';

type ListOptions = KubeListOptions<KubeObject>;

/** Pieces of at least this size are handed to the socket. */
const flushBytes = 64 * 1024;
/** Snapshots kept for the pages to come; the objects in them are shared with the store. */
const maxSnapshots = 64;

const tooOldContinue =
  'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.';

interface Page {
  readonly items: readonly KubeObject[];
  readonly metadata: object;
}

function keyOf({ metadata }: KubeObject, namespace: string): string {
  return namespace === '' && metadata.namespace !== undefined
    ? `${metadata.namespace}/${metadata.name}`
    : metadata.name;
}

export class ListServer {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #snapshots = new Map<string, readonly KubeObject[]>();
  /** One for each resource, so that one change is encoded once for all its watches. */
  readonly #encoders = new Map<ResourceDefinition, PlainEncoder>();

  constructor(deps: { store: Store; clock: Clock }) {
    this.#store = deps.store;
    this.#clock = deps.clock;
  }

  async list(exchange: Exchange, definition: ResourceDefinition, warnings: readonly string[]): Promise<void> {
    const options = listOptions(exchange, definition, false);
    const { form, mediaType } = negotiate(exchange.header('accept'), objectForms);
    const page = this.#page(definition, namespaceOf(exchange, definition), nameFilter(exchange, options));
    const headers = warningHeaders(warnings);
    const pieces = this.#pieces(exchange, definition, form, page);
    if (mediaType === 'application/yaml') {
      const document: unknown = JSON.parse([...pieces].join(''));
      exchange.send(200, mediaType, await encodeDocument(exchange, mediaType, document), headers);
      return;
    }
    await writePieces(exchange, pieces, headers);
  }

  async watch(exchange: Exchange, definition: ResourceDefinition, warnings: readonly string[]): Promise<void> {
    const options = nameFilter(exchange, listOptions(exchange, definition, true));
    const { form } = negotiate(exchange.header('accept'), objectForms);
    const encoder = this.#encoder(exchange, definition, form);
    const stream = exchange.stream(200, 'application/json', warningHeaders(warnings));
    const watch = new WatchStream(
      { store: this.#store, clock: this.#clock, stream, encoder },
      { definition, watch: { ...options, namespace: namespaceOf(exchange, definition) } },
    );
    await watch.run(exchange.signal);
  }

  #encoder(exchange: Exchange, definition: ResourceDefinition, form: AnswerForm): EventEncoder {
    if (form === 'Table') {
      const include = parseIncludeObject(exchange.query.get('includeObject'));
      return new TableEncoder(new TableMaker({ clock: this.#clock }, { resource: definition, include }));
    }
    if (form !== 'plain') {
      const plain = new PlainEncoder();
      return {
        event: (type, object) => plain.event(type, partialMetadata(object)),
        bookmark: (object) => plain.bookmark(partialMetadata(object)),
      };
    }
    let encoder = this.#encoders.get(definition);
    if (encoder === undefined) {
      encoder = new PlainEncoder();
      this.#encoders.set(definition, encoder);
    }
    return encoder;
  }

  #page(definition: ResourceDefinition, namespace: string, options: ListOptions): Page {
    const current = this.#store.resourceVersion;
    const wanted = options.resourceVersion;
    if (wanted !== '' && BigInt(wanted) > BigInt(current)) throw tooLargeVersion(wanted, current);
    const { continueToken, limit, matches } = options;
    const isConsistent = continueToken !== undefined && continueToken.revision !== -1;
    const revision = isConsistent ? String(continueToken.revision) : current;
    const snapshotKey = `${definition.group}/${definition.resource}/${namespace}@${revision}`;
    const all = isConsistent ? this.#snapshots.get(snapshotKey) : this.#store.list(definition, namespace);
    if (all === undefined) throw tooOld(continueToken?.start ?? '');
    const start = continueToken?.start;
    const from = start === undefined ? 0 : all.findIndex((object) => keyOf(object, namespace) > start);
    const rest = from === -1 ? [] : all.slice(from);
    const matching = matches === undefined ? rest : rest.filter(matches);
    if (limit <= 0 || matching.length <= limit) return { items: matching, metadata: { resourceVersion: revision } };
    const items = matching.slice(0, limit);
    const last = items.at(-1);
    this.#remember(snapshotKey, all);
    const token = encodeContinue({
      revision: Number(revision),
      start: last === undefined ? '' : keyOf(last, namespace),
    });
    return {
      items,
      metadata: {
        resourceVersion: revision,
        continue: token,
        // With a selector kube-apiserver does not know how many are left.
        ...(matches === undefined ? { remainingItemCount: matching.length - limit } : {}),
      },
    };
  }

  #remember(key: string, objects: readonly KubeObject[]): void {
    this.#snapshots.delete(key);
    this.#snapshots.set(key, objects);
    if (this.#snapshots.size <= maxSnapshots) return;
    const oldest = this.#snapshots.keys().next();
    if (oldest.done !== true) this.#snapshots.delete(oldest.value);
  }

  *#pieces(exchange: Exchange, definition: ResourceDefinition, form: AnswerForm, page: Page): Generator<string> {
    const { items, metadata } = page;
    if (form === 'Table') {
      const include = parseIncludeObject(exchange.query.get('includeObject'));
      const table = new TableMaker({ clock: this.#clock }, { resource: definition, include });
      const columns = goJson(table.columnDefinitions);
      yield `{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":${goJson(metadata)},"columnDefinitions":${columns},"rows":[`;
      for (const [index, object] of items.entries()) yield (index === 0 ? '' : ',') + goJson(table.row(object));
      yield ']}\n';
      return;
    }
    const isPartial = form !== 'plain';
    const kind = isPartial ? 'PartialObjectMetadataList' : `${definition.kind}List`;
    const apiVersion = isPartial ? 'meta.k8s.io/v1' : groupVersionText(definition);
    yield `{"kind":"${kind}","apiVersion":"${apiVersion}","metadata":${goJson(metadata)},"items":[`;
    for (const [index, object] of items.entries()) {
      // Items of a typed list carry neither kind nor apiVersion; partial ones do.
      const { kind: _kind, apiVersion: _apiVersion, ...bare } = object;
      yield (index === 0 ? '' : ',') + goJson(isPartial ? partialMetadata(object) : bare);
    }
    yield ']}\n';
  }
}

function tooOld(start: string): StatusError {
  const status = expired(tooOldContinue);
  return new StatusError({ ...status, metadata: { continue: encodeContinue({ revision: -1, start }) } });
}

function listOptions(exchange: Exchange, definition: ResourceDefinition, isWatch: boolean): ListOptions {
  return parseListOptions(exchange.query, { fields: selectableFieldsOf(definition), isWatch, hasWatchList: true });
}

/** '' for lists over all namespaces and for cluster-scoped resources. */
function namespaceOf(exchange: Exchange, definition: ResourceDefinition): string {
  return definition.isNamespaced ? exchange.info.namespace : '';
}

/** `/watch/…/NAME` and selectors for one name narrow the request to that object. */
function nameFilter(exchange: Exchange, options: ListOptions): ListOptions {
  const { name, parts } = exchange.info;
  if (name === '' || parts.length < 2) return options;
  const { matches } = options;
  return { ...options, matches: (object) => object.metadata.name === name && (matches?.(object) ?? true) };
}

/** Small answers go out whole, with their length; large ones as they are read. A list that breaks half-way must not look complete. */
async function writePieces(exchange: Exchange, pieces: Iterable<string>, headers: HeaderPairs): Promise<void> {
  let stream: ResponseStream | undefined;
  let buffered: string[] = [];
  let size = 0;
  try {
    for (const piece of pieces) {
      buffered.push(piece);
      size += piece.length;
      if (size < flushBytes) continue;
      stream ??= exchange.stream(200, 'application/json', headers);
      const isWritable = stream.write(buffered.join(''));
      buffered = [];
      size = 0;
      if (!isWritable) await stream.drained();
      if (exchange.signal.aborted) return;
    }
  } catch (error) {
    if (stream === undefined) throw error;
    stream.abort();
    return;
  }
  const rest = buffered.join('');
  if (stream === undefined) {
    exchange.send(200, 'application/json', rest, headers);
    return;
  }
  stream.write(rest);
  stream.end();
}
