// UpgradeAwareHandler: the client's upgrade request goes to a backend as it is, the backend's answer comes back as it is, and then
// bytes are copied both ways until the first direction ends, which closes both. The weaknesses are the real one's: no half-close,
// and bytes a client sent before the 101 are lost.

import type { Duplex } from 'node:stream';

import { codeOf, KexerError } from '../../../base/errors.ts';
import type { Clock } from '../../../base/clock.ts';
import { failure, StatusError } from '../../../kube/status.ts';
import { encodeResponseHead } from '../../../protocol/http-head.ts';
import { readBody, requestUpgrade, type UpgradeAnswer } from '../../../net/upgrade.ts';
import type { ApiRequest } from '../chain/api-request.ts';
import type { HeaderPairs } from '../exchange.ts';

export interface RelayCounts {
  readonly fromClient: number;
  readonly toClient: number;
}

const refusalTimeoutMs = 10_000;
/** Upgrade answers have no deadline in the real one; this one only keeps a test from hanging for ever. */
const answerTimeoutMs = 300_000;
const maxRefusalBytes = 1024 * 1024;

/** The headers a Go proxy sends on: all of the client's, with its address appended to X-Forwarded-For. */
export function forwardedHeaders(request: ApiRequest): HeaderPairs {
  const earlier = request.headerValues('x-forwarded-for');
  const rest = request.headers.filter(([name]) => name.toLowerCase() !== 'x-forwarded-for');
  return [...rest, ['X-Forwarded-For', [...earlier, request.remoteAddress].join(', ')]];
}

/** Sends the upgrade and reads the answer's head. @throws StatusError 500 with Go's words. */
export async function askUpgrade(
  backend: Duplex,
  request: { method: string; target: string; headers: HeaderPairs },
  options: { clock: Clock; signal: AbortSignal },
): Promise<UpgradeAnswer> {
  try {
    return await requestUpgrade(backend, request, { timeoutMs: answerTimeoutMs, ...options });
  } catch (error) {
    const text = codeOf(error) === 'unreachable' ? 'unexpected EOF' : 'malformed HTTP response';
    throw new StatusError(failure(500, '', text), { cause: error });
  }
}

/** Relays an answer that is not 101: its status and body, raw. @throws StatusError 500 below 400, which makes no sense here. */
export async function relayRefusal(
  request: ApiRequest,
  backend: Duplex,
  { head, rest }: UpgradeAnswer,
  clock: Clock,
): Promise<void> {
  if (head.status < 400) {
    backend.destroy();
    throw new StatusError(failure(500, '', `invalid upgrade response: status code ${head.status}`));
  }
  const body = await readBody(backend, head, rest, {
    maxBytes: maxRefusalBytes,
    timeoutMs: refusalTimeoutMs,
    clock,
  }).catch((error: unknown) => {
    // What came is shown; a refusal that breaks off is still a refusal.
    if (error instanceof KexerError) return Buffer.alloc(0);
    throw error;
  });
  backend.destroy();
  const skipped = new Set(['content-length', 'transfer-encoding', 'connection']);
  const headers = head.headers.filter(([name]) => !skipped.has(name.toLowerCase()));
  const { socket } = request.take();
  request.noteStarted({ code: head.status });
  socket.write(
    encodeResponseHead({
      status: head.status,
      reason: head.reason,
      headers: [...headers, ['Connection', 'close'], ['Content-Length', String(body.length)]],
    }),
  );
  socket.end(body);
}

/** Takes the client's socket, replays the backend's 101 and copies until one side ends. Settles when both sockets are closed. */
export async function relayBytes(request: ApiRequest, backend: Duplex, answer: UpgradeAnswer): Promise<RelayCounts> {
  const { socket: client } = request.take();
  request.noteStarted({ code: 101 });
  client.write(answer.head.raw);
  if (answer.rest.length > 0) client.write(answer.rest);
  return copyUntilFirstEnd(client, backend);
}

function copyUntilFirstEnd(client: Duplex, backend: Duplex): Promise<RelayCounts> {
  let fromClient = 0;
  let toClient = 0;
  client.on('error', () => {}); // both directions learn of it by 'close'
  backend.on('error', () => {});
  client.on('data', (chunk: Buffer) => {
    fromClient += chunk.length;
  });
  backend.on('data', (chunk: Buffer) => {
    toClient += chunk.length;
  });
  client.pipe(backend, { end: false });
  backend.pipe(client, { end: false });
  const closeBoth = (sink: Duplex, source: Duplex): void => {
    source.destroy();
    if (!sink.destroyed) sink.end(() => sink.destroy());
  };
  client.once('end', () => closeBoth(backend, client));
  backend.once('end', () => closeBoth(client, backend));
  client.once('close', () => closeBoth(backend, client));
  backend.once('close', () => closeBoth(client, backend));
  return new Promise((resolve) => {
    const check = (): void => {
      if (client.closed && backend.closed) resolve({ fromClient, toClient });
    };
    client.once('close', check);
    backend.once('close', check);
    check();
  });
}
