// Answers that streams give themselves: relayed from kube-apiserver or a kubelet, or a Status of kexer's own. One value, two ways out:
// onto the bare socket of an upgrade before any 101, or through a response object.

import type { ServerResponse } from 'node:http';
import type { Http2ServerResponse } from 'node:http2';
import type { Duplex } from 'node:stream';

import type { Clock } from '../base/clock.ts';
import { encodeStatus, type Status } from '../kube/status.ts';
import { encodeResponseHead } from '../protocol/http-head.ts';
import type { RawHeader, RawHeaders } from '../protocol/raw-headers.ts';

export interface Answer {
  readonly status: number;
  readonly headers: RawHeaders;
  readonly body: Buffer;
}

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
export function relayedAnswer(answer: Answer): Answer {
  const headers = answer.headers.filter(([name]) => relayedHeaders.has(name.toLowerCase()));
  return { status: answer.status, headers, body: answer.body };
}

/** A Status as kube-apiserver sends it. */
export function statusAnswer(status: Status): Answer {
  const headers: RawHeader[] = [
    ['Cache-Control', 'no-cache, private'],
    ['Content-Type', 'application/json'],
  ];
  const retryAfter = status.details?.retryAfterSeconds;
  if (retryAfter !== undefined) headers.push(['Retry-After', String(retryAfter)]);
  return { status: status.code, headers, body: encodeStatus(status) };
}

/** Through a response object of either HTTP version; does nothing if a head was sent already. */
export function sendAnswer(response: ServerResponse | Http2ServerResponse, answer: Answer): void {
  if (response.headersSent || response.destroyed) return;
  response.statusCode = answer.status;
  for (const [name, values] of grouped(answer.headers)) response.setHeader(name, values);
  if (answer.status !== 204) response.setHeader('Content-Length', String(answer.body.length));
  response.end(answer.body);
}

function grouped(headers: RawHeaders): Map<string, string[]> {
  const byName = new Map<string, string[]>();
  for (const [name, value] of headers) byName.set(name, [...(byName.get(name) ?? []), value]);
  return byName;
}

/** How long a client may take to read a refusal and close; kube-apiserver gives 10 s too. */
const refusalTimeoutMs = 10_000;

/**
 * Writes a refusal as the last thing on the socket of an upgrade, then reads on until the client closes: a close with unread bytes
 * would be a reset, and a reset can overtake the answer. The socket is destroyed in the end, at the latest after ten seconds.
 */
export function refuseUpgrade(deps: { clock: Clock }, socket: Duplex, answer: Answer): void {
  if (socket.destroyed) return;
  const head = encodeResponseHead({
    status: answer.status,
    headers: [
      ...answer.headers,
      ['Content-Length', String(answer.body.length)],
      ['Date', new Date(deps.clock.now()).toUTCString()],
      ['Connection', 'close'],
    ],
  });
  const timer = deps.clock.after(refusalTimeoutMs, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.once('close', () => timer.cancel());
  socket.once('end', () => socket.destroy());
  socket.end(Buffer.concat([head, answer.body]));
  socket.resume();
}
