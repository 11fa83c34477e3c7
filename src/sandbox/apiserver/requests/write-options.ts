// What a write's query says besides the object: dry run, field manager, force, strictness.

import { invalid, StatusError } from '../../../kube/status.ts';
import { isTrue } from '../../../kube/request-info.ts';
import { type FieldValidation, parseFieldValidation } from './object-body.ts';

export interface WriteOptions {
  readonly isDryRun: boolean;
  readonly manager: string;
  /** Whether the manager was named, not guessed. */
  readonly hasManager: boolean;
  /** undefined if absent. */
  readonly isForced: boolean | undefined;
  readonly validation: FieldValidation;
}

const maxManagerLength = 128;

/** @param kind `CreateOptions`, `UpdateOptions` or `PatchOptions`: what a refusal names. */
export function parseWriteOptions(
  query: URLSearchParams,
  userAgent: string | undefined,
  kind: 'CreateOptions' | 'UpdateOptions' | 'PatchOptions',
): WriteOptions {
  const dryRun = query.getAll('dryRun').filter((value) => value !== '');
  const bad = dryRun.find((value) => value !== 'All');
  const refuse = (field: string, reason: string, message: string): StatusError =>
    new StatusError(invalid({ group: 'meta.k8s.io', kind }, '', [{ reason, message, field }]));
  if (bad !== undefined) {
    const shown = JSON.stringify(dryRun);
    throw refuse('dryRun', 'FieldValueNotSupported', `Unsupported value: ${shown}: supported values: "All"`);
  }
  const named = query.get('fieldManager') ?? '';
  if (named.length > maxManagerLength) {
    throw refuse('fieldManager', 'FieldValueTooLong', `Too long: may not be more than ${maxManagerLength} bytes`);
  }
  const force = query.get('force');
  return {
    isDryRun: dryRun.length > 0,
    manager: named || (userAgent ?? '').split('/')[0] || 'unknown',
    hasManager: named !== '',
    isForced: force === null ? undefined : isTrue(force),
    validation: parseFieldValidation(query),
  };
}
