// A session before it begins: its name, and the audit record that it may need before anything of it reaches the client. Between this and
// the session's start its backend may be lost, and nobody else would notice.

import type { Readable } from 'node:stream';

import { KexerError } from '../base/errors.ts';
import type { Call } from '../clusters/call.ts';
import type { SessionRecord } from '../observe/audit/call-audit.ts';
import { apiserverName, kubeletName } from './leg.ts';
import { newSessionId } from './registry.ts';
import type { SessionSubject } from './session.ts';

/** A session that may begin. */
export interface Announced {
  readonly id: string;
  readonly record: SessionRecord;
}

/**
 * @param backend what the session reads from; destroyed if the session may not begin.
 * @param code what the client will be answered.
 * @throws StatusError 503 without a record where sessions need one; KexerError badGateway if the backend was lost meanwhile
 */
export async function announceSession(
  call: Pick<Call, 'audit'>,
  subject: SessionSubject,
  backend: Pick<Readable, 'destroy' | 'destroyed'>,
  code: 101 | 200,
): Promise<Announced> {
  const id = newSessionId();
  let record: SessionRecord;
  try {
    record = await call.audit.sessionStarting({ ...subject, id, code });
  } catch (error) {
    backend.destroy();
    throw error;
  }
  if (!backend.destroyed) return { id, record };
  const backendName = subject.detour === undefined ? kubeletName(subject.node) : apiserverName;
  const message = `the connection to ${backendName} was lost before the session began`;
  abandonSession(record, { cause: 'kubeletGone', message });
  throw new KexerError('badGateway', `Cannot open the stream: ${message}`);
}

/** The end of a session that never ran. */
export function abandonSession(record: SessionRecord, end: { cause: string; message: string }): void {
  record.ended({ ...end, bytesIn: 0, bytesOut: 0, durationMs: 0 });
}
