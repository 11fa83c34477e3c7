// What the doctor found: one sentence that says what is so, and one that says what to do about it. Each check gives at least one finding, and
// never throws: an examination that breaks off tells nobody anything.

import { describeError } from '../../base/errors.ts';
import { StatusError } from '../../kube/status.ts';

/** `skip`: could not be looked at, and why is another finding's matter. */
export type FindingStatus = 'ok' | 'warn' | 'fail' | 'skip';

export interface Finding {
  /** What was looked at: `clock`, `kubelet node1`. */
  readonly check: string;
  readonly status: FindingStatus;
  readonly what: string;
  /** '' where nothing is to be done. */
  readonly fix: string;
}

export const ok = (check: string, what: string): Finding => ({ check, status: 'ok', what, fix: '' });
export const skip = (check: string, what: string): Finding => ({ check, status: 'skip', what, fix: '' });
export const warn = (check: string, what: string, fix: string): Finding => ({ check, status: 'warn', what, fix });
export const fail = (check: string, what: string, fix: string): Finding => ({ check, status: 'fail', what, fix });

/** The code of kube-apiserver's refusal; 0 if the error is none. */
export function codeOfRefusal(error: unknown): number {
  return error instanceof StatusError ? error.status.code : 0;
}

/** For what nobody has foreseen: said, so that it can be reported, instead of ending the examination. */
export async function guarded(check: string, look: () => Promise<readonly Finding[]>): Promise<readonly Finding[]> {
  try {
    return await look();
  } catch (error) {
    return [fail(check, `Cannot be looked at: ${describeError(error)}`, 'See whether kube-apiserver is well.')];
  }
}

/** `1 node`, `3 nodes`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** Whole days from now, rounded down. */
export function daysUntil(ms: number, nowMs: number): number {
  return Math.floor((ms - nowMs) / 86_400_000);
}
