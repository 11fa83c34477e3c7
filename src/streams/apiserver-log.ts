// A log on the detour: the client's GET goes to kube-apiserver as the caller, and its body is read at the client's pace. A body that is cut
// is never complete, so that half a log does not look like a whole one.

import { Readable } from 'node:stream';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import type { Call } from '../clusters/call.ts';
import type { AnswerController, AnswerSink } from '../kube/client.ts';
import type { HttpAnswer } from '../net/http-answer.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';
import { relayedAnswer } from './answer.ts';
import type { LogBody } from './log-body.ts';
import { markedUserAgent } from './user-agent.ts';

/** kube-apiserver's head comes with the kubelet's, which reads nothing before it. */
const headTimeoutMs = 60_000;
const maxRefusalBytes = 1024 * 1024;

/**
 * @returns the open body, or kube-apiserver's answer that the client gets instead: everything but a 200.
 * @throws KexerError unreachable, tls, timeout, badGateway, clientGone.
 */
export function openApiserverLog(
  deps: { clock: Clock; version: string },
  call: Call,
  signal: AbortSignal,
  trace: RawHeaders,
): Promise<LogBody | HttpAnswer> {
  return new Promise((resolve, reject) => {
    const sink = new LogAnswer({ resolve, reject });
    const controller = call.cluster.stream(
      call,
      {
        method: 'GET',
        // As it came: kube-apiserver alone reads it here.
        target: call.inner.target,
        headers: [
          ['Accept', 'application/json, */*'],
          ['User-Agent', markedUserAgent(call, deps.version, 'detour')],
          ...trace,
        ],
      },
      sink,
    );
    const timer = deps.clock.after(headTimeoutMs, () =>
      controller.abort(new KexerError('timeout', 'Cannot read the log: no answer of kube-apiserver')),
    );
    const onAbort = (): void => {
      controller.abort(new KexerError('clientGone', 'Cannot read the log: the client has left'));
    };
    sink.onSettled = () => timer.cancel();
    sink.onClosed = () => signal.removeEventListener('abort', onAbort);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}

/** The answer as a stream: {@link LogBody} once its head said 200. */
class LogAnswer extends Readable implements AnswerSink, LogBody {
  complete: boolean;
  /** Called when it is known which way the answer goes. */
  onSettled: () => void;
  onClosed: () => void;
  readonly #give: { resolve: (answer: LogBody | HttpAnswer) => void; reject: (error: Error) => void };
  #controller: AnswerController | undefined;
  #isOpen: boolean;
  #refusal:
    | { readonly status: number; readonly headers: RawHeaders; readonly chunks: Buffer[]; size: number }
    | undefined;

  constructor(give: { resolve: (answer: LogBody | HttpAnswer) => void; reject: (error: Error) => void }) {
    super();
    this.complete = false;
    this.onSettled = () => {};
    this.onClosed = () => {};
    this.#give = give;
    this.#controller = undefined;
    this.#refusal = undefined;
    this.#isOpen = false;
    // Whoever reads it comes later and looks at `destroyed` first.
    this.on('error', () => {});
  }

  onHead(head: { status: number; headers: RawHeaders }, controller: AnswerController): void {
    this.#controller = controller;
    this.onSettled();
    if (head.status !== 200) {
      this.#refusal = { ...head, chunks: [], size: 0 };
      return;
    }
    this.#isOpen = true;
    this.#give.resolve(this);
  }

  onData(chunk: Buffer): void {
    const refusal = this.#refusal;
    if (refusal === undefined) {
      if (!this.push(chunk)) this.#controller?.pause();
      return;
    }
    refusal.size += chunk.length;
    if (refusal.size <= maxRefusalBytes) refusal.chunks.push(chunk);
  }

  onEnd(): void {
    this.onClosed();
    if (this.#refusal !== undefined) {
      const { status, headers, chunks } = this.#refusal;
      this.#give.resolve(relayedAnswer({ status, headers, body: Buffer.concat(chunks) }));
      return;
    }
    this.complete = true;
    this.push(null);
  }

  onError(error: Error): void {
    this.onSettled();
    this.onClosed();
    if (this.#isOpen) this.destroy(error);
    else this.#give.reject(error);
  }

  override _read(): void {
    this.#controller?.resume();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#controller?.abort(error ?? new KexerError('clientGone', 'Cannot go on with the log: nobody reads it'));
    done(error);
  }
}
