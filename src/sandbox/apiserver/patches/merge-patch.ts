// JSON Merge Patch (RFC 7386): objects merge, null removes, everything else replaces.

import { isRecord, type Json } from '../objects/fields.ts';

/** A patched copy; neither argument is changed. */
export function applyMergePatch(document: unknown, patch: Json): Json {
  const result: Json = isRecord(document) ? { ...document } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (key === '__proto__') continue; // assigning it would change the result's prototype
    if (value === null) delete result[key];
    else if (isRecord(value)) result[key] = applyMergePatch(result[key], value);
    else result[key] = structuredClone(value);
  }
  return result;
}
