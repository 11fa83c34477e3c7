// Ordinary calls: the request goes to the cluster's apiserver as its caller, the answer comes back as it is, both in pieces and with
// backpressure, nothing held. A watch's events pass one by one; a list of any length takes constant memory. What breaks off, breaks off
// on the other side too: a cut answer is never a clean end, and a client that leaves ends the call.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';

import { KexerError } from '../base/errors.ts';
import type { Call } from '../clusters/call.ts';
import type { AnswerController, AnswerSink } from '../kube/client.ts';
import { diedBeforeAnswer } from '../kube/transport-error.ts';
import { abortResponse, isGone, sendHead, sendWholeAnswer } from '../net/http-answer.ts';
import { requestFraming, type RequestFraming } from '../protocol/framing.ts';
import { listItems, type RawHeaders } from '../protocol/raw-headers.ts';

import { AnswerBody } from './answer-body.ts';
import { bodyTooLarge, requestBody } from './request-body.ts';

type AnyRequest = IncomingMessage | Http2ServerRequest;
type AnyResponse = ServerResponse | Http2ServerResponse;

export interface ForwardLimits {
  /** 0: no limit. */
  readonly maxBodyBytes: number;
}

/** Methods that may run twice: a kept-alive connection that the apiserver closed at that very moment is no failure of theirs. */
const repeatableMethods = new Set(['GET', 'HEAD']);

/**
 * Resolves when the answer is complete or broken off.
 * @throws StatusError 429; KexerError badRequest, tooLarge, unreachable, tls, timeout, badGateway; only while nothing of the answer was written.
 */
export async function forward(
  call: Call,
  request: AnyRequest,
  response: AnyResponse,
  limits: ForwardLimits,
): Promise<void> {
  const framing = requestFraming({
    headers: call.headers,
    httpVersion: call.httpVersion,
    isEndOfStream: 'stream' in request && request.stream.endAfterHeaders,
  });
  const { maxBodyBytes } = limits;
  if (framing.kind === 'length' && maxBodyBytes > 0 && framing.length > maxBodyBytes) throw bodyTooLarge(maxBodyBytes);
  try {
    await forwardOnce(call, request, response, framing, limits);
  } catch (error) {
    const mayRepeat = framing.kind === 'none' && repeatableMethods.has(call.method) && diedBeforeAnswer(error);
    if (!mayRepeat || call.signal.aborted) throw error;
    await forwardOnce(call, request, response, framing, limits);
  } finally {
    // Refused before it was read: what is left of a body would stand in front of the connection's next request for ever.
    if (!request.complete) request.resume();
  }
}

function forwardOnce(
  call: Call,
  request: AnyRequest,
  response: AnyResponse,
  framing: RequestFraming,
  { maxBodyBytes }: ForwardLimits,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const relay = new AnswerRelay(call, response, resolve, reject);
    const controller = call.cluster.stream(
      call,
      {
        method: call.method,
        target: call.inner.target,
        headers: call.headers,
        sharesConnection: isSilentOrShort(call),
        ...(framing.kind === 'none'
          ? {}
          : { body: requestBody(request, framing.kind === 'length' ? 0 : maxBodyBytes) }),
        ...(framing.kind === 'length' ? { contentLength: framing.length } : {}),
      },
      relay,
    );
    relay.attach(controller, call.signal);
  });
}

/**
 * A watch is silent for long, and one object is at most what etcd holds. A list of any length, and whatever is behind `proxy`, would take the place of
 * others on a connection for as long as its client reads.
 */
function isSilentOrShort({ method, inner }: Call): boolean {
  const { isResourceRequest, verb, name, subresource } = inner.info;
  if (method !== 'GET' || !isResourceRequest || subresource === 'proxy') return false;
  return verb === 'watch' || (verb === 'get' && name !== '');
}

/** A head, and the first piece of its body, that have not been sent. */
interface HeldAnswer {
  readonly status: number;
  readonly headers: RawHeaders;
  first: Buffer | undefined;
}

/** From the apiserver's answer to the client's response. */
class AnswerRelay implements AnswerSink {
  readonly #call: Call;
  readonly #response: AnyResponse;
  readonly #resolve: () => void;
  readonly #reject: (error: Error) => void;
  /** Until the turn of the event loop in which it came is over: as a rule the whole answer has come by then and leaves as one. */
  #held: HeldAnswer | undefined;
  #source: AnswerController | undefined;
  #body: AnswerBody | undefined;
  #forget: () => void;

  constructor(call: Call, response: AnyResponse, resolve: () => void, reject: (error: Error) => void) {
    this.#call = call;
    this.#response = response;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#held = undefined;
    this.#source = undefined;
    this.#body = undefined;
    this.#forget = () => {};
  }

  /** From now on the client's leaving ends the call. */
  attach(controller: AnswerController, signal: AbortSignal): void {
    const onAbort = (): void => {
      controller.abort(new KexerError('clientGone', 'Cannot finish the call: the client has left'));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    this.#forget = () => signal.removeEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
  }

  onHead(answer: { status: number; reason: string; headers: RawHeaders }, controller: AnswerController): void {
    if (this.#response.destroyed) return;
    // Only what changed nothing can still be refused: a watch, which may last.
    if (answer.status < 300 && repeatableMethods.has(this.#call.method)) {
      try {
        this.#call.accepted();
      } catch (error) {
        controller.abort(error instanceof Error ? error : new Error(String(error)));
        return;
      }
    }
    this.#source = controller;
    this.#held = { status: answer.status, headers: answerHeaders(answer.headers), first: undefined };
    // At the end of this turn: a watch may be silent for minutes after its head.
    setImmediate(() => this.#release());
  }

  onData(chunk: Buffer): void {
    const held = this.#held;
    if (held !== undefined && held.first === undefined) {
      held.first = chunk;
      return;
    }
    this.#release();
    this.#body?.write(chunk);
  }

  onEnd(): void {
    this.#forget();
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined) {
      try {
        if (!isGone(this.#response)) sendWholeAnswer(this.#response, held, held.first);
      } catch (cause) {
        this.#reject(unsendable(cause));
        return;
      }
    } else if (this.#body === undefined) this.#response.end();
    else this.#body.end();
    this.#resolve();
  }

  onError(error: Error): void {
    this.#forget();
    // What had begun to come was an answer, and a broken one, whether or not any of it has left.
    this.#release();
    this.#body?.close();
    if (!this.#response.headersSent) {
      this.#reject(error);
      return;
    }
    abortResponse(this.#response);
    this.#resolve();
  }

  /** Sends what is held; from here on pieces leave as they come. */
  #release(): void {
    const held = this.#held;
    const source = this.#source;
    if (held === undefined || source === undefined) return;
    this.#held = undefined;
    if (isGone(this.#response)) return;
    try {
      sendHead(this.#response, held);
    } catch (cause) {
      source.abort(unsendable(cause));
      return;
    }
    this.#body = new AnswerBody({ response: this.#response, source });
    if (held.first !== undefined) this.#body.write(held.first);
  }
}

function unsendable(cause: unknown): KexerError {
  return new KexerError('badGateway', 'Cannot pass on the answer: it has a header that may not be sent', { cause });
}

/** Headers that concern the connection to the apiserver and not its answer. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

function answerHeaders(headers: RawHeaders): RawHeaders {
  const nominated = listItems(headers, 'Connection').map((name) => name.toLowerCase());
  return headers.filter(([name]) => {
    const key = name.toLowerCase();
    return !hopByHop.has(key) && !nominated.includes(key);
  });
}
