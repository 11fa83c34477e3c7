// Comparing an answer with a recorded one by shape: the same keys and the same types, values free. Lists compare item by item with any
// recorded item, since the sandbox has other objects than the cluster that was recorded.

/** Objects whose keys are names of things, not fields. */
const freeMaps = new Set([
  'labels',
  'annotations',
  'data',
  'fieldsV1',
  'nodeSelector',
  'capacity',
  'allocatable',
  'extra',
]);

/** Keys that an entry of managedFields has or has not, by who wrote. */
const optionalKeys = new Set(['subresource']);

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

/** What differs, as `path: what`; empty if nothing. */
export function shapeDifferences(expected: unknown, actual: unknown, path = ''): string[] {
  const want = typeOf(expected);
  const have = typeOf(actual);
  if (want !== have) return [`${path}: ${have}, want ${want}`];
  if (want === 'array') return listDifferences(expected as unknown[], actual as unknown[], path);
  if (want !== 'object') return [];
  const left = expected as Record<string, unknown>;
  const right = actual as Record<string, unknown>;
  if (freeMaps.has(path.slice(path.lastIndexOf('.') + 1))) return [];
  const missing = Object.keys(left).filter((key) => !Object.hasOwn(right, key) && !optionalKeys.has(key));
  const added = Object.keys(right).filter((key) => !Object.hasOwn(left, key) && !optionalKeys.has(key));
  const common = Object.keys(left).filter((key) => Object.hasOwn(right, key));
  return [
    ...missing.map((key) => `${path}.${key}: missing`),
    ...added.map((key) => `${path}.${key}: not recorded`),
    ...common.flatMap((key) => shapeDifferences(left[key], right[key], `${path}.${key}`)),
  ];
}

function listDifferences(expected: unknown[], actual: unknown[], path: string): string[] {
  if (expected.length === 0 || actual.length === 0) return [];
  return actual.flatMap((item, index) => {
    const all = expected.map((candidate) => shapeDifferences(candidate, item, `${path}[${index}]`));
    return all.toSorted((a, b) => a.length - b.length)[0] ?? [];
  });
}
