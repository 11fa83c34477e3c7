// Reads a Status that came over the wire: the parse border for answers of an apiserver. What is not a Status is undefined, never half of one.

import { isRecord } from './objects.ts';
import { failure, type Status, type StatusCause, type StatusDetails } from './status.ts';

/** The Failure in a JSON text, or undefined. Fields of a wrong type are left out. */
export function parseStatus(text: string): Status | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // an error page, or a cut body: the caller has the text
  }
  return asStatus(value);
}

/** The Failure in a parsed JSON value (also the object of a watch's ERROR event), or undefined. */
export function asStatus(value: unknown): Status | undefined {
  if (!isRecord(value) || value['kind'] !== 'Status' || value['status'] !== 'Failure') return undefined;
  const code = value['code'];
  if (typeof code !== 'number' || !Number.isInteger(code) || code < 400 || code > 599) return undefined;
  const details = value['details'];
  return failure(
    code,
    textOf(value['reason']),
    textOf(value['message']),
    isRecord(details) ? detailsOf(details) : undefined,
  );
}

function detailsOf(details: Record<string, unknown>): StatusDetails {
  const causes = details['causes'];
  const seconds = details['retryAfterSeconds'];
  return {
    ...texts(details, ['name', 'group', 'kind', 'uid']),
    ...(Array.isArray(causes) ? { causes: causes.filter(isRecord).map(causeOf) } : {}),
    ...(typeof seconds === 'number' ? { retryAfterSeconds: seconds } : {}),
  };
}

function causeOf(cause: Record<string, unknown>): StatusCause {
  return texts(cause, ['reason', 'message', 'field']);
}

function texts<K extends string>(from: Record<string, unknown>, keys: readonly K[]): Partial<Record<K, string>> {
  const found: Partial<Record<K, string>> = {};
  for (const key of keys) {
    const value = from[key];
    if (typeof value === 'string') found[key] = value;
  }
  return found;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
