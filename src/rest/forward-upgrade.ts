// Upgrades that are not kexer's to read: a watch over WebSocket, proxy subresources, consoles of other API servers. The request goes out on a
// connection of its own over HTTP/1.1 as the caller; once the apiserver has switched protocols, bytes are joined with bytes. Anything but
// that switch is relayed as an answer.

import { Buffer } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { acceptCall, type Call } from '../clusters/call.ts';
import { type AnswerJudge, maxRefusalBytes } from '../clusters/answer-judge.ts';
import { lingerAndDestroy, refuseUpgrade } from '../net/http-answer.ts';
import { splice, type SpliceEnd, type SpliceOptions } from '../net/splice.ts';
import { readBody, requestUpgrade, type UpgradeAnswer } from '../net/upgrade.ts';
import { ChunkedDecoder, requestFraming, responseFraming } from '../protocol/framing.ts';
import { encodeResponseHead } from '../protocol/http-head.ts';
import { getAllHeaders, getHeader, listItems, type RawHeader, type RawHeaders } from '../protocol/raw-headers.ts';

/** kube-apiserver sets none on the head of an upgrade; its own dial to a backend may take 30 s, so this is generous. */
const answerTimeoutMs = 60_000;

/**
 * Owns the socket from the call on. Resolves when both directions have ended; with undefined if the protocol was never switched.
 * @throws StatusError, KexerError only while nothing was written to the socket; the caller answers then.
 */
export async function forwardUpgrade(
  deps: {
    clock: Clock;
    /** Before the client is told; a failure is its answer. */
    beforeSwitch: (protocol: string, backend: Duplex) => Promise<void>;
    onSwitched: (protocol: string) => void;
    onBytes?: SpliceOptions['onBytes'];
    onJoined?: SpliceOptions['onJoined'];
  },
  call: Call,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<SpliceEnd | undefined> {
  // A body before the switch would have to be delimited here and there alike; no client of Kubernetes sends one.
  const framing = requestFraming({ headers: call.headers, httpVersion: request.httpVersion });
  if (framing.kind === 'chunked' || (framing.kind === 'length' && framing.length > 0)) {
    throw new KexerError('badRequest', 'Cannot upgrade a request that has a body');
  }
  const wanted = wantedProtocol(call.headers);
  const route = await call.cluster.dialUpgrade(
    call,
    { method: call.method, target: call.inner.target, headers: call.headers },
    call.signal,
  );
  const answer = await requestUpgrade(route.socket, route, {
    timeoutMs: answerTimeoutMs,
    clock: deps.clock,
    signal: call.signal,
  });
  if (answer.head.status !== 101) {
    const judge = call.cluster.judgeOf(call);
    return judge?.mayRefuse(answer.head) === true
      ? relayJudgedRefusal({ ...deps, judge }, call, socket, route.socket, answer)
      : relayRefusal(deps, call, socket, route.socket, answer);
  }
  const agreed = getHeader(answer.head.headers, 'Upgrade') ?? '';
  if (agreed.toLowerCase() !== wanted.toLowerCase()) {
    route.socket.destroy();
    throw new KexerError('badGateway', 'Cannot upgrade: the apiserver switched to a protocol nobody asked for');
  }
  acceptCall(call, () => route.socket.destroy());
  await deps.beforeSwitch(agreed, route.socket);
  socket.write(encodeResponseHead({ status: 101, headers: switchingHeaders(answer.head.headers, agreed) }));
  deps.onSwitched(agreed);
  const { onBytes, onJoined } = deps;
  return splice(socket, route.socket, { headToA: answer.rest, headToB: head, onBytes, onJoined });
}

/**
 * HTTP within the connection (h2c), or TLS: requests in there would be nobody's that kexer has asked, on a connection that may be the
 * impersonator's own.
 */
const forbiddenProtocols = /^(?:h2c?|https?|tls)(?:\/|$)/i;

/** @throws KexerError badRequest */
function wantedProtocol(headers: RawHeaders): string {
  const values = getAllHeaders(headers, 'Upgrade');
  const [wanted = ''] = values;
  if (values.length !== 1 || !isProtocolToken(wanted)) {
    throw new KexerError('badRequest', 'Cannot upgrade: want one protocol in Upgrade');
  }
  if (forbiddenProtocols.test(wanted)) {
    throw new KexerError('badRequest', `Cannot upgrade to ${wanted}: HTTP/2 is spoken by ALPN here`);
  }
  return wanted;
}

/** `websocket`, `SPDY/3.1`: printable, one token, at most a version. */
function isProtocolToken(value: string): boolean {
  return /^[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:\/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?$/.test(value);
}

/** Whatever the apiserver says instead of switching goes to the client, as the last answer of its connection. */
async function relayRefusal(
  deps: { clock: Clock },
  call: Call,
  socket: Duplex,
  upstream: Duplex,
  answer: UpgradeAnswer,
): Promise<undefined> {
  const headers = [...endToEnd(answer.head.headers, true), ['Connection', 'close'] as const];
  socket.write(encodeResponseHead({ status: answer.head.status, reason: answer.head.reason, headers }));
  try {
    // The answer may be a list or a watch without end (an apiserver may ignore Upgrade), so it is relayed in pieces.
    await pipeline(bodyBytes(call.method, upstream, answer), socket);
    lingerAndDestroy(deps, socket);
  } catch {
    // One side broke off: the pipeline has destroyed the socket, so the client sees a body that is not whole.
  } finally {
    upstream.destroy();
  }
  return undefined;
}

/** An answer that may be about kexer: read first. @throws StatusError 502 then. */
async function relayJudgedRefusal(
  deps: { clock: Clock; judge: AnswerJudge },
  call: Call,
  socket: Duplex,
  upstream: Duplex,
  { head, rest }: UpgradeAnswer,
): Promise<undefined> {
  const { clock } = deps;
  const limits = { maxBytes: maxRefusalBytes, timeoutMs: answerTimeoutMs, method: call.method, clock };
  const body = await readBody(upstream, head, rest, limits).finally(() => upstream.destroy());
  const refusal = deps.judge.refusal(head, body);
  if (refusal !== undefined) throw refusal;
  refuseUpgrade(deps, socket, { status: head.status, headers: endToEnd(head.headers, false), body });
  return undefined;
}

/** The bytes of an answer's body as they are on the wire, to its end and no further. @throws if it is cut. */
async function* bodyBytes(method: string, upstream: Duplex, answer: UpgradeAnswer): AsyncGenerator<Buffer> {
  const framing = responseFraming(method, answer.head);
  const chunked = framing.kind === 'chunked' ? new ChunkedDecoder() : undefined;
  let missing = framing.kind === 'none' ? 0 : framing.kind === 'length' ? framing.length : Number.POSITIVE_INFINITY;
  const take = (chunk: Buffer): Buffer => {
    if (chunked === undefined) {
      const taken = chunk.subarray(0, missing);
      missing -= taken.length;
      return taken;
    }
    chunked.acceptChunk(chunk);
    if (!chunked.isDone) return chunk;
    missing = 0;
    return chunk.subarray(0, chunk.length - chunked.rest.length);
  };
  yield take(answer.rest);
  if (missing === 0) return;
  for await (const chunk of upstream) {
    if (Buffer.isBuffer(chunk)) yield take(chunk);
    if (missing === 0) return;
  }
  if (framing.kind !== 'untilClose') throw new KexerError('cut', 'Cannot pass on the whole answer: it was cut');
}

function switchingHeaders(headers: RawHeaders, protocol: string): RawHeader[] {
  return [['Connection', 'Upgrade'], ['Upgrade', protocol], ...endToEnd(headers, false)];
}

/** Without what concerns the connection; the framing stays where a body follows in the same bytes. */
function endToEnd(headers: RawHeaders, hasBody: boolean): RawHeader[] {
  const dropped = new Set(['connection', 'keep-alive', 'proxy-connection', 'upgrade', 'te', 'trailer']);
  if (!hasBody) dropped.add('content-length').add('transfer-encoding');
  for (const name of listItems(headers, 'Connection')) dropped.add(name.toLowerCase());
  return headers.filter(([name]) => !dropped.has(name.toLowerCase()));
}
