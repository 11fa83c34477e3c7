// A whole answer of kexer's own: status, type, body. Written the same way to a response and to the bare socket of an upgrade, with the headers
// that kube-apiserver gives.

import { Buffer } from 'node:buffer';

import type { Clock } from '../base/clock.ts';
import { encodeStatus, goJson, type Status, StatusError } from '../kube/status.ts';
import { refuseUpgrade, sendAnswer as respond, type HttpAnswer } from '../net/http-answer.ts';
import type { RawHeader, RawHeaders } from '../protocol/raw-headers.ts';

import type { Exchange } from './request-context.ts';

export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string | Buffer;
  readonly headers?: RawHeaders;
}

/** A refusal whose answer has headers besides, such as a Warning of why it may be wrong. */
export class RefusalWithHeaders extends StatusError {
  readonly headers: RawHeaders;

  constructor(status: Status, headers: RawHeaders) {
    super(status);
    this.headers = headers;
  }
}

/** Compact JSON with a newline, as kube-apiserver prints objects. */
export function jsonAnswer(status: number, value: unknown, contentType = 'application/json'): Answer {
  return { status, contentType, body: `${goJson(value)}\n` };
}

/** Text in the manner of Go's http.Error. */
export function textAnswer(status: number, text: string): Answer {
  return {
    status,
    contentType: 'text/plain; charset=utf-8',
    body: text,
    headers: [['X-Content-Type-Options', 'nosniff']],
  };
}

/** What kube-apiserver's mux says to a path it does not know. */
export const pageNotFound: Answer = textAnswer(404, '404 page not found\n');

/** @param more what {@link RefusalWithHeaders} has. */
export function statusAnswer(status: Status, more: RawHeaders = []): Answer {
  const retryAfter = status.details?.retryAfterSeconds;
  const headers: RawHeader[] = [...more];
  // responsewriters.Forbidden sets it; other Statuses have none (recorded).
  if (status.code === 403) headers.push(['X-Content-Type-Options', 'nosniff']);
  if (retryAfter !== undefined) headers.push(['Retry-After', String(retryAfter)]);
  return { status: status.code, contentType: 'application/json', body: encodeStatus(status), headers };
}

/** Writes the answer; nothing may have been written before. */
export function sendAnswer(deps: { clock: Clock }, exchange: Exchange, answer: Answer, auditId: string): void {
  const hasCacheControl = answer.headers?.some(([name]) => name === 'Cache-Control') === true;
  const whole: HttpAnswer = {
    status: answer.status,
    headers: [
      ['Audit-Id', auditId],
      ...(hasCacheControl ? [] : [['Cache-Control', 'no-cache, private'] as const]),
      ['Content-Type', answer.contentType],
      ...(answer.headers ?? []),
    ],
    body: Buffer.from(answer.body),
  };
  if (exchange.kind === 'upgrade') refuseUpgrade(deps, exchange.socket, whole);
  else respond(exchange.response, whole);
}
