// Field errors as k8s.io/apimachinery's field package words them; together they make the 422 of a write.

import { invalid, type StatusCause, StatusError } from '../../../kube/status.ts';

export type FieldError = Required<StatusCause>;

function shown(value: unknown): string {
  return JSON.stringify(value) ?? 'null';
}

export function invalidValue(field: string, value: unknown, detail: string): FieldError {
  return { reason: 'FieldValueInvalid', message: `Invalid value: ${shown(value)}: ${detail}`, field };
}

export function required(field: string, detail = ''): FieldError {
  return {
    reason: 'FieldValueRequired',
    message: detail === '' ? 'Required value' : `Required value: ${detail}`,
    field,
  };
}

export function duplicate(field: string, value: unknown): FieldError {
  return { reason: 'FieldValueDuplicate', message: `Duplicate value: ${shown(value)}`, field };
}

export function notFoundValue(field: string, value: unknown): FieldError {
  return { reason: 'FieldValueNotFound', message: `Not found: ${shown(value)}`, field };
}

export function forbiddenField(field: string, detail: string): FieldError {
  return { reason: 'FieldValueForbidden', message: `Forbidden: ${detail}`, field };
}

export function unsupported(field: string, value: unknown, supported: readonly string[]): FieldError {
  const list = supported.map(shown).join(', ');
  return {
    reason: 'FieldValueNotSupported',
    message: `Unsupported value: ${shown(value)}: supported values: ${list}`,
    field,
  };
}

/** @throws StatusError 422 if there is any error. */
export function throwInvalid(kind: { group: string; kind: string }, name: string, errors: readonly FieldError[]): void {
  if (errors.length > 0) throw new StatusError(invalid({ group: kind.group, kind: kind.kind }, name, errors));
}
