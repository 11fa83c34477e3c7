// Some answers of an apiserver are about kexer, not about its caller: the credential that carried the call was refused, or there is no apiserver
// behind the address. A judge knows them and what the caller is told instead; the guard holds an answer back until that is known.

import { ownBytes } from '../base/own-bytes.ts';
import type { AnswerController, AnswerSink } from '../kube/client.ts';
import type { StatusError } from '../kube/status.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

export interface AnswerHead {
  readonly status: number;
  readonly headers: RawHeaders;
}

/** Of one call. */
export interface AnswerJudge {
  /** Whether the body of such an answer has to be read before it is known for whom it is. */
  mayRefuse(head: AnswerHead): boolean;
  /**
   * What to say instead of the answer; undefined: nothing, it is for the caller.
   * @param body whole, or its first {@link maxRefusalBytes}.
   */
  refusal(head: AnswerHead, body: Buffer): StatusError | undefined;
}

/** A refusal of kube-apiserver is a Status of some hundred bytes; what is longer is judged by its beginning. */
export const maxRefusalBytes = 16 * 1024;

interface HeldAnswer {
  readonly head: AnswerHead & { readonly reason: string };
  readonly controller: AnswerController;
  readonly chunks: Buffer[];
  size: number;
}

/** Stands before a sink; holds an answer that may be about kexer back until it is known. */
export class AnswerGuard implements AnswerSink {
  readonly #sink: AnswerSink;
  readonly #judge: AnswerJudge;
  #held: HeldAnswer | undefined;

  constructor(sink: AnswerSink, judge: AnswerJudge) {
    this.#sink = sink;
    this.#judge = judge;
    this.#held = undefined;
  }

  onHead(head: AnswerHead & { reason: string }, controller: AnswerController): void {
    if (this.#judge.mayRefuse(head)) this.#held = { head, controller, chunks: [], size: 0 };
    else this.#sink.onHead(head, controller);
  }

  onData(chunk: Buffer): void {
    const held = this.#held;
    if (held === undefined) {
      this.#sink.onData(chunk);
      return;
    }
    held.chunks.push(ownBytes(chunk));
    held.size += chunk.length;
    if (held.size <= maxRefusalBytes) return;
    const refusal = this.#refusalOf(held);
    if (refusal === undefined) this.#release();
    else {
      this.#held = undefined;
      held.controller.abort(refusal);
    }
  }

  onEnd(): void {
    const held = this.#held;
    const refusal = held === undefined ? undefined : this.#refusalOf(held);
    if (refusal !== undefined) {
      this.#sink.onError(refusal);
      return;
    }
    this.#release();
    this.#sink.onEnd();
  }

  onError(error: Error): void {
    this.#release();
    this.#sink.onError(error);
  }

  #refusalOf({ head, chunks }: HeldAnswer): StatusError | undefined {
    return this.#judge.refusal(head, Buffer.concat(chunks));
  }

  #release(): void {
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    this.#sink.onHead(held.head, held.controller);
    for (const chunk of held.chunks) this.#sink.onData(chunk);
  }
}
