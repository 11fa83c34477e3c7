// metadata.managedFields: who last set which field. After each write the writer owns what it added or changed, and nobody else does;
// what is gone is owned by nobody. Server-side apply (apply.ts) builds on the same entries.

import { isRecord, type Json } from '../objects/fields.ts';
import { isJsonEqual, type KubeObject, kubeTime, type ManagedFieldsEntry } from '../objects/object.ts';
import type { Schema } from '../schemas/definitions.ts';
import { compare, FieldSet } from './field-set.ts';

/** Who writes, and through what. */
export interface FieldWriter {
  readonly manager: string;
  readonly operation: 'Update' | 'Apply';
  readonly apiVersion: string;
  /** '' for the object itself. */
  readonly subresource: string;
  readonly nowMs: number;
}

/** Fields of metadata that the server keeps; nobody owns them. */
const serverFields = [
  'name',
  'namespace',
  'generateName',
  'selfLink',
  'uid',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'resourceVersion',
  'generation',
  'managedFields',
];

/** The part of an object that fields are owned in. `scope` is what this write can change. */
export function ownedPart(object: KubeObject | undefined, scope: 'main' | 'status' | 'all'): Json {
  if (object === undefined) return {};
  const { apiVersion: _apiVersion, kind: _kind, metadata, status, ...rest } = object;
  if (scope === 'status') return status === undefined ? {} : { status };
  const kept = Object.entries(metadata).filter(([name]) => !serverFields.includes(name));
  // An empty spec is there before anybody writes it.
  const filled = Object.entries(rest).filter(([, value]) => !isRecord(value) || Object.keys(value).length > 0);
  return {
    ...(kept.length === 0 ? {} : { metadata: Object.fromEntries(kept) }),
    ...Object.fromEntries(filled),
    ...(scope === 'all' && status !== undefined ? { status } : {}),
  };
}

export function isSameWriter(entry: ManagedFieldsEntry, writer: FieldWriter): boolean {
  return (
    entry.manager === writer.manager &&
    entry.operation === writer.operation &&
    entry.apiVersion === writer.apiVersion &&
    (entry.subresource ?? '') === writer.subresource
  );
}

export function setOf(entry: ManagedFieldsEntry): FieldSet {
  return FieldSet.fromJson(entry.fieldsV1);
}

/** An entry in the order of Go's fields; undefined if the set is empty. `time` changes only with the set. */
export function makeEntry(
  writer: FieldWriter,
  fields: FieldSet,
  previous: ManagedFieldsEntry | undefined,
): ManagedFieldsEntry | undefined {
  if (fields.isEmpty) return undefined;
  const fieldsV1 = fields.toJson();
  const isSame = previous !== undefined && isJsonEqual(previous.fieldsV1, fieldsV1);
  return {
    manager: writer.manager,
    operation: writer.operation,
    apiVersion: writer.apiVersion,
    time: isSame && previous.time !== undefined ? previous.time : kubeTime(writer.nowMs),
    fieldsType: 'FieldsV1',
    fieldsV1,
    ...(writer.subresource === '' ? {} : { subresource: writer.subresource }),
  };
}

export function withFields(entry: ManagedFieldsEntry, fields: FieldSet): ManagedFieldsEntry | undefined {
  return fields.isEmpty ? undefined : { ...entry, fieldsV1: fields.toJson() };
}

/** Applies first, then by time, then by name. */
export function sortEntries(entries: readonly (ManagedFieldsEntry | undefined)[]): ManagedFieldsEntry[] {
  const key = (entry: ManagedFieldsEntry): string =>
    [entry.operation, entry.time, entry.manager, entry.apiVersion, entry.subresource ?? ''].join('\n');
  return entries.filter((entry) => entry !== undefined).sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

/** The entries after `writer` turned `before` into `after`. */
export function trackUpdate(
  before: KubeObject | undefined,
  after: KubeObject,
  schema: Schema,
  writer: FieldWriter,
): ManagedFieldsEntry[] {
  const scope = writer.subresource === 'status' ? 'status' : 'main';
  const change = compare(ownedPart(before, scope), ownedPart(after, scope), schema);
  const gained = new FieldSet().add(change.added).add(change.modified);
  // A writer may have edited the entries themselves; what it cleared, it did not mean.
  const sent = after.metadata.managedFields ?? [];
  const entries = before === undefined ? [] : sent.length > 0 ? sent : (before.metadata.managedFields ?? []);
  const own = entries.find((entry) => isSameWriter(entry, writer));
  const fields = own === undefined ? new FieldSet() : setOf(own);
  fields.subtract(change.removed).add(gained);
  const others = entries
    .filter((entry) => entry !== own)
    .map((entry) => {
      const reduced = setOf(entry).subtract(change.removed).subtract(gained);
      return withFields(entry, reduced);
    });
  return sortEntries([...others, makeEntry(writer, fields, own)]);
}
