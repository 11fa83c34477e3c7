// The forms in which a client may want objects of a resource of kexer's own: as they are, their metadata alone, or tables, which is what kubectl
// asks for. Each for one object, for a list and for the events of a watch.

import type { Clock } from '../base/clock.ts';
import { badRequest, StatusError } from '../kube/status.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

import { type Form, negotiate, plainForm } from './accept.ts';
import { partialMetadata, type ResourceKind, type ResourceObject } from './resource-kind.ts';

/** How objects of one request are written. */
export interface ObjectWriter<T extends ResourceObject> {
  single(object: T): object;
  list(objects: readonly T[], resourceVersion: string): object;
  /** The `object` of a watch's event. */
  event(object: T): object;
  /** The `object` of a bookmark. */
  bookmark(resourceVersion: string): object;
}

type Shape = 'single' | 'list' | 'watch';

const metaVersions = ['v1', 'v1beta1'] as const;

function formsOf(shape: Shape): Form[] {
  const partial = shape === 'list' ? 'PartialObjectMetadataList' : 'PartialObjectMetadata';
  const wanted = metaVersions.flatMap((version) =>
    ['Table', partial].map((as) => ({ contentType: 'application/json', as, group: 'meta.k8s.io', version })),
  );
  return [...wanted, plainForm];
}

/** @throws StatusError 406, and 400 for an unknown `includeObject`. */
export function writerOf<T extends ResourceObject>(
  deps: { clock: Clock },
  kind: ResourceKind<T>,
  request: { shape: Shape; headers: RawHeaders; query: URLSearchParams },
): ObjectWriter<T> {
  const { as, version = 'v1' } = negotiate(request.headers, formsOf(request.shape));
  if (as === 'Table') return new TableWriter(deps, kind, version, includeObjectOf(request.query));
  return as === undefined ? new PlainWriter(kind) : new PartialWriter(version);
}

class PlainWriter<T extends ResourceObject> implements ObjectWriter<T> {
  readonly #kind: ResourceKind<T>;

  constructor(kind: ResourceKind<T>) {
    this.#kind = kind;
  }

  single(object: T): object {
    return object;
  }

  list(objects: readonly T[], resourceVersion: string): object {
    const { group, version, kind } = this.#kind;
    return { kind: `${kind}List`, apiVersion: `${group}/${version}`, metadata: { resourceVersion }, items: objects };
  }

  event(object: T): object {
    return object;
  }

  bookmark(resourceVersion: string): object {
    const { group, version, kind } = this.#kind;
    return { kind, apiVersion: `${group}/${version}`, metadata: { resourceVersion, creationTimestamp: null } };
  }
}

class PartialWriter<T extends ResourceObject> implements ObjectWriter<T> {
  readonly #version: string;

  constructor(version: string) {
    this.#version = version;
  }

  single(object: T): object {
    return partialMetadata(object, this.#version);
  }

  list(objects: readonly T[], resourceVersion: string): object {
    return {
      kind: 'PartialObjectMetadataList',
      apiVersion: `meta.k8s.io/${this.#version}`,
      metadata: { resourceVersion },
      items: objects.map((object) => this.single(object)),
    };
  }

  event(object: T): object {
    return this.single(object);
  }

  bookmark(resourceVersion: string): object {
    const metadata = { resourceVersion, creationTimestamp: null };
    return { kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${this.#version}`, metadata };
  }
}

type IncludeObject = 'None' | 'Metadata' | 'Object';

function includeObjectOf(query: URLSearchParams): IncludeObject {
  const value = query.get('includeObject') ?? '';
  if (value === '' || value === 'Metadata') return 'Metadata';
  if (value === 'None' || value === 'Object') return value;
  throw new StatusError(badRequest(`unrecognized includeObject value: ${JSON.stringify(value)}`));
}

class TableWriter<T extends ResourceObject> implements ObjectWriter<T> {
  readonly #clock: Clock;
  readonly #kind: ResourceKind<T>;
  readonly #version: string;
  readonly #include: IncludeObject;
  /** Of a watch only the first table names the columns: kubectl keeps them. */
  #hasColumns: boolean;

  constructor(deps: { clock: Clock }, kind: ResourceKind<T>, version: string, include: IncludeObject) {
    this.#clock = deps.clock;
    this.#kind = kind;
    this.#version = version;
    this.#include = include;
    this.#hasColumns = true;
  }

  single(object: T): object {
    return this.list([object], object.metadata.resourceVersion ?? '');
  }

  list(objects: readonly T[], resourceVersion: string): object {
    return this.#table(
      resourceVersion,
      objects.map((object) => this.#row(object)),
    );
  }

  event(object: T): object {
    const table = this.single(object);
    this.#hasColumns = false;
    return table;
  }

  /** A row that nobody shows, with the version. */
  bookmark(resourceVersion: string): object {
    const metadata = { resourceVersion, creationTimestamp: null };
    const object = { kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${this.#version}`, metadata };
    const table = this.#table(resourceVersion, [{ cells: [], object }]);
    this.#hasColumns = false;
    return table;
  }

  #table(resourceVersion: string, rows: readonly object[]): object {
    return {
      kind: 'Table',
      apiVersion: `meta.k8s.io/${this.#version}`,
      metadata: { resourceVersion },
      columnDefinitions: this.#hasColumns ? this.#kind.columns : null,
      rows,
    };
  }

  #row(object: T): object {
    return {
      cells: this.#kind.cells(object, this.#clock.now()),
      object:
        this.#include === 'None' ? null : this.#include === 'Object' ? object : partialMetadata(object, this.#version),
    };
  }
}
