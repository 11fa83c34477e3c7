// Go prints maps with sorted keys; answers and audit lines do the same.

/** The map as a plain object with its keys in byte order. */
export function sortedRecord<V>(map: ReadonlyMap<string, V>): Record<string, V> {
  return Object.fromEntries([...map].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}
