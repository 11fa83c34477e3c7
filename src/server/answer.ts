// A whole answer of kexer's own: status, type, body. Written the same way to an HTTP/1.1 response, an HTTP/2 response and the bare socket of
// an upgrade, with the headers kube-apiserver gives.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

import { encodeStatus, goJson, type Status } from '../kube/status.ts';
import { encodeResponseHead } from '../protocol/http-head.ts';
import type { RawHeader, RawHeaders } from '../protocol/raw-headers.ts';

import type { Exchange } from './request-context.ts';

export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string | Buffer;
  readonly headers?: RawHeaders;
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

export function statusAnswer(status: Status): Answer {
  const retryAfter = status.details?.retryAfterSeconds;
  const headers: RawHeader[] = [];
  // responsewriters.Forbidden sets it; other Statuses have none (recorded).
  if (status.code === 403) headers.push(['X-Content-Type-Options', 'nosniff']);
  if (retryAfter !== undefined) headers.push(['Retry-After', String(retryAfter)]);
  return { status: status.code, contentType: 'application/json', body: encodeStatus(status), headers };
}

/** How long a client may take to read a refusal of its upgrade before the socket goes. */
const lingerMs = 10_000;

/** Writes the answer; nothing may have been written before. */
export function sendAnswer(exchange: Exchange, answer: Answer, auditId: string): void {
  const body = Buffer.from(answer.body);
  const headers: RawHeader[] = [
    ['Audit-Id', auditId],
    ...(answer.headers?.some(([name]) => name === 'Cache-Control') === true
      ? []
      : [['Cache-Control', 'no-cache, private'] as const]),
    ['Content-Type', answer.contentType],
    ...(answer.headers ?? []),
    ['Content-Length', String(body.length)],
  ];
  if (exchange.kind === 'upgrade') {
    sendOnSocket(exchange.socket, answer.status, headers, exchange.request.method === 'HEAD' ? Buffer.alloc(0) : body);
    return;
  }
  const { request, response } = exchange;
  for (const [name, value] of headers) response.setHeader(name, value);
  response.statusCode = answer.status;
  if (request.method === 'HEAD') response.end();
  else response.end(body);
}

/** Ends the socket after the answer; it is destroyed when the client has read it, or does not. */
function sendOnSocket(socket: Duplex, status: number, headers: RawHeaders, body: Buffer): void {
  const head = encodeResponseHead({
    status,
    headers: [['Date', new Date().toUTCString()], ['Connection', 'close'], ...headers],
  });
  socket.end(Buffer.concat([head, body]));
  // What the client still sends is of no use; unread, it would turn the close into a reset that may overtake the answer.
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), lingerMs);
  timer.unref();
  socket.once('end', () => socket.destroy());
  socket.once('close', () => clearTimeout(timer));
}
