// What streams answer before a stream begins: kube-apiserver's or a kubelet's own answer, or a Status of kexer's.

import { encodeStatus, type Status } from '../kube/status.ts';
import type { HttpAnswer } from '../net/http-answer.ts';
import type { RawHeader } from '../protocol/raw-headers.ts';

/** What of another server's answer is about the content, and not about the connection it came by. */
const relayedHeaders = new Set([
  'audit-id',
  'cache-control',
  'content-type',
  'retry-after',
  'warning',
  'www-authenticate',
  'x-accepted-stream-protocol-versions',
  'x-content-type-options',
]);

/** The answer of another server with its status, body and content headers. */
export function relayedAnswer(answer: HttpAnswer): HttpAnswer {
  const headers = answer.headers.filter(([name]) => relayedHeaders.has(name.toLowerCase()));
  return { status: answer.status, headers, body: answer.body };
}

/** A Status as kube-apiserver sends it. */
export function statusAnswer(status: Status, auditId: string): HttpAnswer {
  const headers: RawHeader[] = [
    ['Audit-Id', auditId],
    ['Cache-Control', 'no-cache, private'],
    ['Content-Type', 'application/json'],
  ];
  const retryAfter = status.details?.retryAfterSeconds;
  if (retryAfter !== undefined) headers.push(['Retry-After', String(retryAfter)]);
  return { status: status.code, headers, body: encodeStatus(status) };
}
