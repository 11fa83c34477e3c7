// kube-apiserver's 401 and 403 about the impersonator are about kexer, not about its caller: passed on, a 401 would make kubectl ask for a
// login, and a 403 would name kexer's account. They become a 502 that says what is missing; every other answer passes through.

import { KexerError } from '../base/errors.ts';
import type { AnswerController, AnswerSink } from '../kube/client.ts';
import { parseStatus } from '../kube/status-parse.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

interface Head {
  readonly status: number;
  readonly reason: string;
  readonly headers: RawHeaders;
}

/** A 403 of kube-apiserver is a Status of some hundred bytes; anything longer is another server's and passes on as it is. */
const maxHeldBytes = 16 * 1024;

/** What to say instead of this answer; undefined: nothing, it is for the caller. */
export function refusedImpersonator(status: number, body: Buffer, effectiveUser: string): KexerError | undefined {
  if (status === 401) {
    return new KexerError('badGateway', "kube-apiserver does not accept the credential of kexer's impersonator");
  }
  if (status !== 403) return undefined;
  const message = parseStatus(body.toString('utf8'))?.message ?? '';
  const refused = /User "((?:[^"\\]|\\.)*)" cannot impersonate/.exec(message)?.[1];
  // The call runs as the effective user, so a refusal to impersonate that names another one was kexer's own.
  if (refused === undefined || refused === effectiveUser) return undefined;
  return new KexerError(
    'badGateway',
    "kube-apiserver does not let kexer's impersonator act as this user: its account lacks a grant of the verb impersonate",
  );
}

/** Stands before a sink; holds back a short 403 until it is known whom it is about. */
export class ImpersonatorGuard implements AnswerSink {
  readonly #sink: AnswerSink;
  readonly #effectiveUser: string;
  #held:
    | { readonly head: Head; readonly controller: AnswerController; readonly chunks: Buffer[]; size: number }
    | undefined;

  constructor(sink: AnswerSink, options: { effectiveUser: string }) {
    this.#sink = sink;
    this.#effectiveUser = options.effectiveUser;
    this.#held = undefined;
  }

  onHead(head: Head, controller: AnswerController): void {
    if (head.status === 401) this.#refuse(controller, head.status, Buffer.alloc(0));
    else if (head.status === 403) this.#held = { head, controller, chunks: [], size: 0 };
    else this.#sink.onHead(head, controller);
  }

  onData(chunk: Buffer): void {
    const held = this.#held;
    if (held === undefined) {
      this.#sink.onData(chunk);
      return;
    }
    held.chunks.push(chunk);
    held.size += chunk.length;
    if (held.size > maxHeldBytes) this.#release();
  }

  onEnd(): void {
    const held = this.#held;
    if (held !== undefined) {
      const refusal = refusedImpersonator(held.head.status, Buffer.concat(held.chunks), this.#effectiveUser);
      if (refusal !== undefined) {
        this.#sink.onError(refusal);
        return;
      }
      this.#release();
    }
    this.#sink.onEnd();
  }

  onError(error: Error): void {
    this.#release();
    this.#sink.onError(error);
  }

  #refuse(controller: AnswerController, status: number, body: Buffer): void {
    const refusal = refusedImpersonator(status, body, this.#effectiveUser);
    if (refusal !== undefined) controller.abort(refusal);
  }

  #release(): void {
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    this.#sink.onHead(held.head, held.controller);
    for (const chunk of held.chunks) this.#sink.onData(chunk);
  }
}
