// What a resource of kexer's own is: an object as Kubernetes writes it, the columns kubectl shows of it, and the fields it can be selected by.
// Objects are values: nobody changes one after it was handed on.

import type { SelectableFields } from '../kube/field-selector.ts';

export interface ResourceObject {
  readonly kind: string;
  /** GROUP/VERSION */
  readonly apiVersion: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    /** RFC 3339, as {@link isoSeconds} writes it. */
    readonly creationTimestamp: string;
    /** Set by the feed. */
    readonly resourceVersion?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec?: object;
  readonly status?: object;
}

/** metav1.TableColumnDefinition */
export interface TableColumn {
  readonly name: string;
  readonly type: 'string' | 'integer';
  /** `name` for the name, '' otherwise. */
  readonly format: string;
  readonly description: string;
  /** 1: only with `-o wide`. */
  readonly priority: 0 | 1;
}

export interface ResourceKind<T extends ResourceObject> {
  readonly group: string;
  readonly version: string;
  /** `clusters` */
  readonly resource: string;
  /** `Cluster` */
  readonly kind: string;
  readonly columns: readonly TableColumn[];
  /** One cell a column. @param nowMs for ages. */
  cells(object: T, nowMs: number): readonly (string | number)[];
  /** Paths that can be selected by besides metadata.name and metadata.namespace, such as `spec.user`. */
  readonly fields?: readonly string[];
  /** How an object shows in a namespace other than its own; undefined: not at all. Left out: no object does. */
  inOtherNamespace?(object: T, namespace: string): T | undefined;
}

/** What field selectors read of objects of this kind. */
export function selectableFields<T extends ResourceObject>(kind: ResourceKind<T>): SelectableFields<T> {
  return { extra: kind.fields, value: fieldValue };
}

/** The object as it shows in a namespace, '' being all of them; undefined: it does not. */
export function shownIn<T extends ResourceObject>(kind: ResourceKind<T>, object: T, namespace: string): T | undefined {
  if (namespace === '' || object.metadata.namespace === namespace) return object;
  return kind.inOtherNamespace?.(object, namespace);
}

/** RFC 3339 without fractions, as metav1.Time prints. */
export function isoSeconds(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** metav1.PartialObjectMetadata */
export function partialMetadata(object: ResourceObject, version: string): object {
  return { kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${version}`, metadata: object.metadata };
}

function fieldValue(object: unknown, field: string): string {
  let value = object;
  for (const name of field.split('.')) {
    value = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
  }
  if (value === undefined || value === null) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}
