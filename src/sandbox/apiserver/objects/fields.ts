// Reading untyped JSON without casts all over: a missing or ill-typed field reads as an empty value, as Go's zero values do. What
// must be of a type was checked when the object came in (schemas/strict-decoding.ts).

export type Json = Record<string, unknown>;

export function isRecord(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The object, or an empty one. */
export function record(value: unknown): Json {
  return isRecord(value) ? value : {};
}

export function array(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

/** The items that are objects. */
export function records(value: unknown): Json[] {
  return array(value).filter(isRecord);
}

/** The items that are strings. */
export function strings(value: unknown): string[] {
  return array(value).filter((item) => typeof item === 'string');
}

export function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

export function integer(value: unknown, fallback = 0): number {
  return typeof value === 'number' ? value : fallback;
}

/** The string values of an object, as labels are. */
export function stringMap(value: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries(record(value)).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

/** Follows names into nested objects; undefined as soon as one is missing. */
export function at(value: unknown, ...path: readonly string[]): unknown {
  let current = value;
  for (const name of path) {
    if (!isRecord(current)) return undefined;
    current = current[name];
  }
  return current;
}

/** The nested object of a draft, made if missing. */
export function child(parent: object, name: string): Json {
  const holder = parent as Json;
  const existing = holder[name];
  if (isRecord(existing)) return existing;
  const made: Json = {};
  holder[name] = made;
  return made;
}

/** Sets a field of a draft unless it has a value. */
export function setDefault(draft: Json, name: string, value: unknown): void {
  if (draft[name] === undefined || draft[name] === null) draft[name] = value;
}
