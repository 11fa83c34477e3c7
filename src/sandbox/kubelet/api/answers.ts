// What a kubelet answers without streaming: status, headers and text, with the exact texts and headers of Go's kubelet. Written to a
// response or, before an upgrade, to the bare socket. Node's own additions (Connection, Keep-Alive) are left out, as Go leaves them.

import { Buffer } from 'node:buffer';
import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { encodeResponseHead } from '../../../protocol/http-head.ts';
import type { RawHeaders } from '../../../protocol/raw-headers.ts';

export interface Answer {
  readonly status: number;
  readonly headers: RawHeaders;
  readonly body: string;
}

const plainText = ['Content-Type', 'text/plain; charset=utf-8'] as const;
const noSniff = ['X-Content-Type-Options', 'nosniff'] as const;

/** Text as go-restful writes it: no line break of its own, type sniffed. */
export function textAnswer(status: number, body: string, headers: RawHeaders = []): Answer {
  return { status, headers: [...headers, ['Content-Length', String(Buffer.byteLength(body))], plainText], body };
}

/** Text as Go's http.Error writes it: with a line break and `nosniff`. */
function httpError(status: number, text: string): Answer {
  const body = `${text}\n`;
  return { status, headers: [plainText, noSniff, ['Content-Length', String(Buffer.byteLength(body))]], body };
}

export const unauthorized = textAnswer(401, 'Unauthorized');
export const pathNotFound = httpError(404, '404 page not found');
export const routeNotFound = textAnswer(404, '404: Page Not Found');
export const podNotFound = textAnswer(404, 'pod does not exist');
export const upgradeRequired = httpError(500, 'Upgrade request required');

export const healthy: Answer = { status: 200, headers: [plainText, noSniff, ['Content-Length', '2']], body: 'ok' };

export function methodNotAllowed(allowed: string): Answer {
  return textAnswer(405, '405: Method Not Allowed', [['Allow', allowed]]);
}

/** Sends an answer on a response, with Go's set of headers. */
export function sendResponse(response: ServerResponse, answer: Answer): void {
  if (response.headersSent || response.destroyed) return;
  response.removeHeader('connection');
  response.writeHead(
    answer.status,
    answer.headers.flatMap(([name, value]) => [name, value]),
  );
  response.end(answer.body);
}

/** Sends an answer on the socket of an upgrade that is not made, and ends it. */
export function sendRefusal(socket: Duplex, answer: Answer, nowMs: number): void {
  const headers: RawHeaders = [...answer.headers, ['Date', new Date(nowMs).toUTCString()]];
  const head = encodeResponseHead({ status: answer.status, headers });
  // What the client has sent after its head is read into nothing: a close with unread bytes would be a reset.
  socket.resume();
  socket.end(Buffer.concat([head, Buffer.from(answer.body)]));
}
