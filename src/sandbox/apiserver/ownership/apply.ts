// Server-side apply: a client sends the fields it wants to own; they are merged into the object, fields that it owned before and no
// longer names go, and a field that somebody else owns with another value is a conflict unless the client forces it.

import { failure, StatusError } from '../../../kube/status.ts';
import { isRecord, type Json } from '../objects/fields.ts';
import type { KubeObject, ManagedFieldsEntry } from '../objects/object.ts';
import type { Schema } from '../schemas/definitions.ts';
import { collect, compare, FieldSet, partsOf, type Shape, shapeOf } from './field-set.ts';
import {
  type FieldWriter,
  isSameWriter,
  makeEntry,
  ownedPart,
  setOf,
  sortEntries,
  withFields,
} from './managed-fields.ts';

/** Lays `applied` over `live`; lists with keys item by item, new items last. */
function mergeApplied(live: unknown, applied: unknown, shape: Shape): unknown {
  if (live === undefined || live === null || shape.kind === 'whole') return applied;
  if (shape.kind === 'struct' || shape.kind === 'map') {
    const result: Json = isRecord(live) ? { ...live } : {};
    for (const part of partsOf(applied, shape)) {
      const name = part.edge.slice(2);
      result[name] = mergeApplied(result[name], part.value, part.shape);
    }
    return result;
  }
  const merged = new Map(partsOf(live, shape).map((part) => [part.edge, part.value]));
  for (const part of partsOf(applied, shape)) {
    merged.set(part.edge, mergeApplied(merged.get(part.edge), part.value, part.shape));
  }
  return [...merged.values()];
}

/**
 * Takes out of `value` what the applier owned and nobody claims now. A list item goes with all that is in it, defaults too; a map, list
 * or struct goes when nothing is left in it.
 */
function prune(value: unknown, owned: FieldSet, claimed: FieldSet | undefined, shape: Shape): unknown {
  if (shape.kind === 'whole') return value;
  const kept: [edge: string, value: unknown][] = [];
  for (const part of partsOf(value, shape)) {
    const inner = owned.children.get(part.edge);
    const claim = claimed?.children.get(part.edge);
    if (inner === undefined) {
      kept.push([part.edge, part.value]);
      continue;
    }
    const isClaimed = claim !== undefined && !claim.isEmpty;
    const isRemovedWhole = part.shape.kind === 'whole' || (shape.kind === 'items' && inner.isMember);
    if (isRemovedWhole && !isClaimed) continue;
    const pruned = prune(part.value, inner, claim, part.shape);
    if (isClaimed || partsOf(pruned, part.shape).length > 0) kept.push([part.edge, pruned]);
  }
  if (shape.kind === 'struct' || shape.kind === 'map') {
    return Object.fromEntries(kept.map(([edge, it]) => [edge.slice(2), it]));
  }
  return kept.map(([, it]) => it);
}

function managerText({ manager = '', operation, apiVersion = '', subresource }: ManagedFieldsEntry): string {
  const through = subresource === undefined ? '' : ` with subresource ${JSON.stringify(subresource)}`;
  return `${JSON.stringify(manager)}${through}${operation === 'Update' ? ` using ${apiVersion}` : ''}`;
}

function conflictError(conflicts: readonly { entry: ManagedFieldsEntry; paths: readonly string[] }[]): StatusError {
  const causes = conflicts.flatMap(({ entry, paths }) =>
    paths.map((field) => ({
      reason: 'FieldManagerConflict',
      message: `conflict with ${managerText(entry)}`,
      field,
    })),
  );
  const [first] = causes;
  if (causes.length === 1 && first !== undefined) {
    const message = `Apply failed with 1 conflict: ${first.message}: ${first.field}`;
    return new StatusError(failure(409, 'Conflict', message, { causes }));
  }
  const lines = conflicts
    .map(({ entry, paths }) => ({ by: managerText(entry), paths }))
    .sort((a, b) => (a.by < b.by ? -1 : 1))
    .flatMap(({ by, paths }) => [`conflicts with ${by}:`, ...paths.map((path) => `- ${path}`)]);
  const message = `Apply failed with ${causes.length} conflicts: ${lines.join('\n')}`;
  return new StatusError(failure(409, 'Conflict', message, { causes }));
}

/**
 * The object with `applied` in it, managedFields included.
 * @param live undefined creates.
 * @throws StatusError 409 that names every conflicting field.
 */
export function applyConfiguration(
  live: KubeObject | undefined,
  applied: KubeObject,
  schema: Schema,
  writer: FieldWriter,
  isForced: boolean,
): KubeObject {
  const shape = shapeOf(schema);
  const wanted = ownedPart(applied, 'all');
  const before = ownedPart(live, 'all');
  const fields = Object.keys(wanted).length === 0 ? new FieldSet() : collect(wanted, shape, 'apply');
  let merged = mergeApplied(before, wanted, shape);

  const entries = live?.metadata.managedFields ?? [];
  const own = entries.find((entry) => isSameWriter(entry, writer));
  const others = entries.filter((entry) => entry !== own);
  const change = compare(before, merged, schema);
  const changed = new FieldSet().add(change.modified).add(change.added);
  const conflicts = others
    .map((entry) => ({ entry, set: setOf(entry).intersection(changed) }))
    .filter(({ set }) => !set.isEmpty);
  if (conflicts.length > 0 && !isForced) {
    throw conflictError(conflicts.map(({ entry, set }) => ({ entry, paths: set.paths() })));
  }
  if (own !== undefined) {
    const claimed = new FieldSet().add(fields);
    for (const other of others) claimed.add(setOf(other));
    merged = prune(merged, setOf(own), claimed, shape);
  }
  const remaining = others.map((entry) => withFields(entry, setOf(entry).subtract(changed)));
  const managedFields = sortEntries([...remaining, makeEntry(writer, fields, own)]);
  const base = live ?? applied;
  const result = isRecord(merged) ? merged : {};
  // The server's own fields of metadata are no part of what was merged.
  const kept = Object.fromEntries(
    Object.entries(base.metadata).filter(([name]) => !Object.hasOwn(ownedPart(base, 'main')['metadata'] ?? {}, name)),
  );
  const metadata = isRecord(result['metadata']) ? result['metadata'] : {};
  return {
    ...result,
    apiVersion: base.apiVersion,
    kind: base.kind,
    metadata: { ...kept, ...metadata, name: base.metadata.name, managedFields },
  };
}
