// Whole answers, and the ends of answers that cannot be completed: onto a response object of either HTTP version, or onto the bare socket of
// an upgrade before any 101. What is in an answer is the caller's; only framing and the connection are seen to here.

import { Buffer } from 'node:buffer';
import type { ServerResponse } from 'node:http';
import { constants, type Http2ServerResponse } from 'node:http2';
import type { Duplex } from 'node:stream';

import type { Clock } from '../base/clock.ts';
import { encodeResponseHead } from '../protocol/http-head.ts';
import { hasHeader, type RawHeaders, toRawHeaders } from '../protocol/raw-headers.ts';

export type AnyResponse = ServerResponse | Http2ServerResponse;

export interface HttpAnswer {
  readonly status: number;
  readonly headers: RawHeaders;
  readonly body: Buffer;
}

/** Headers that HTTP/2 has other means for, and that would be an error there. */
const connectionHeaders = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade']);

/** Sets the head without sending it; repeated names stay repeated lines. */
export function setHead(response: AnyResponse, status: number, headers: RawHeaders): void {
  const byName = new Map<string, { name: string; values: string[] }>();
  for (const [name, value] of headers) {
    const key = name.toLowerCase();
    if ('stream' in response && connectionHeaders.has(key)) continue;
    const entry = byName.get(key);
    if (entry === undefined) byName.set(key, { name, values: [value] });
    else entry.values.push(value);
  }
  response.statusCode = status;
  for (const { name, values } of byName.values()) {
    response.setHeader(name, values.length === 1 ? (values[0] ?? '') : values);
  }
}

export interface AnswerHead {
  readonly status: number;
  readonly headers: RawHeaders;
}

/** Whether nobody can be answered any more. */
export function isGone(response: AnyResponse): boolean {
  return 'stream' in response ? response.stream.destroyed : response.destroyed;
}

/** Sends a head as {@link flushHead} does. Nothing may have been set before. @throws what Node says of a header that may not be sent. */
export function sendHead(response: AnyResponse, { status, headers }: AnswerHead): void {
  if ('stream' in response) setHead(response, status, headers);
  else writeHead(response, status, toRawHeaders(headers));
  flushHead(response);
}

/**
 * An answer all of which has come, in one write. A body is given its length where the head has none, so that it needs no chunks.
 * @param body undefined: none came, as for HEAD. @throws as {@link sendHead}, before anything is written.
 */
export function sendWholeAnswer(
  response: AnyResponse,
  { status, headers }: AnswerHead,
  body: Buffer | undefined,
): void {
  if ('stream' in response) {
    setHead(response, status, headers);
    if (body === undefined) response.end();
    else response.end(body);
    return;
  }
  const flat = toRawHeaders(headers);
  const hasBody = status !== 204 && status !== 304 && response.req.method !== 'HEAD';
  if (hasBody && !hasHeader(headers, 'Content-Length')) flat.push('Content-Length', String(body?.length ?? 0));
  writeHead(response, status, flat);
  response.end(body);
}

/** The list leaves as it is: without a name being looked up, repeated ones apart. */
function writeHead(response: ServerResponse, status: number, flat: string[]): void {
  try {
    response.writeHead(status, flat);
  } catch (error) {
    // Node has set it, and would say it of the status that follows.
    response.statusMessage = '';
    throw error;
  }
}

/** The whole answer. Nothing may have been written before; does nothing if the client has left. */
export function sendAnswer(response: AnyResponse, answer: HttpAnswer): void {
  if (response.headersSent || response.destroyed) return;
  setHead(response, answer.status, answer.headers);
  if (answer.status === 204 || answer.status === 304) {
    response.end();
    return;
  }
  response.setHeader('Content-Length', String(answer.body.length));
  if (response.req.method === 'HEAD') response.end();
  else response.end(answer.body);
}

/**
 * Ends a response so that the client sees it is broken. On HTTP/1.1 the connection is destroyed: the last chunk or a part of the announced
 * length is missing; on HTTP/2 the stream is reset. A clean end would make half a list look like a whole one.
 */
export function abortResponse(response: AnyResponse): void {
  if ('stream' in response) response.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  else response.destroy();
}

/** Sends the head in this turn, in one write with what of the body is there by its end: what follows may take its time. */
export function flushHead(response: AnyResponse): void {
  if ('stream' in response) {
    response.writeHead(response.statusCode);
    return;
  }
  // The socket, not the response: an end in the same turn would send the last chunk before those that a corked response holds back, and a
  // whole body would arrive as an empty one.
  const { socket } = response;
  socket?.cork();
  response.flushHeaders();
  if (socket !== null) setImmediate(() => socket.uncork());
}

/** How long a client may take to read a refusal and close; kube-apiserver gives 10 s too. */
const refusalTimeoutMs = 10_000;

/**
 * Writes a refusal as the last thing on the socket of an upgrade, then reads on until the client closes: a close with unread bytes would
 * be a reset, and a reset can overtake the answer. The socket is destroyed in the end, at the latest after ten seconds.
 */
export function refuseUpgrade(deps: { clock: Clock }, socket: Duplex, answer: HttpAnswer): void {
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
  lingerAndDestroy(deps, socket);
  socket.end(Buffer.concat([head, answer.body]));
}

/** Reads on without interest until the client has closed its half and everything was written, ten seconds at most; then destroys. */
export function lingerAndDestroy(deps: { clock: Clock }, socket: Duplex): void {
  const timer = deps.clock.after(refusalTimeoutMs, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.once('close', () => timer.cancel());
  // A client may have closed its half long before; the answer is to be written all the same.
  const closeWhenWritten = (): void => {
    if (socket.writableFinished) socket.destroy();
    else socket.once('finish', () => socket.destroy());
  };
  if (socket.readableEnded) closeWhenWritten();
  else socket.once('end', closeWhenWritten);
  socket.resume();
}
