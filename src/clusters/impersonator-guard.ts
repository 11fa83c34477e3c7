// kube-apiserver's 401 and 403 about the impersonator are about kexer, not about its caller: passed on, a 401 would make kubectl ask for a
// login, and a 403 would name kexer's account. They become a 502 that says what is missing; every other answer passes through, the 401 and
// 403 of applications behind a proxy subresource included: only the body tells whose it is.

import { impersonationQuestions } from '../auth/impersonation.ts';
import type { AnswerController, AnswerSink } from '../kube/client.ts';
import { badGateway, StatusError } from '../kube/status.ts';
import { parseStatus } from '../kube/status-parse.ts';
import type { UserInfo } from '../kube/user.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

interface Head {
  readonly status: number;
  readonly reason: string;
  readonly headers: RawHeaders;
}

/** A refusal of kube-apiserver is a Status of some hundred bytes; anything longer is another server's and passes on as it is. */
export const maxRefusalBytes = 16 * 1024;

/** Whether the body has to be read before it is known for whom an answer with this status is. */
export function mayRefuseImpersonator(status: number): boolean {
  return status === 401 || status === 403;
}

/**
 * What to say instead of this answer to a call that the impersonator carried; undefined: nothing, it is for the caller. kube-apiserver's own
 * words, which name kexer's account, are the error's cause and for the log only.
 */
export function refusedImpersonator(status: number, body: Buffer, effectiveUser: UserInfo): StatusError | undefined {
  const refusal = mayRefuseImpersonator(status) ? parseStatus(body.toString('utf8')) : undefined;
  if (refusal?.code !== status) return undefined;
  const cause = new StatusError(refusal);
  if (status === 401) {
    if (refusal.reason !== 'Unauthorized') return undefined;
    return new StatusError(badGateway("kube-apiserver does not accept the credential of kexer's impersonator"), {
      cause,
    });
  }
  const refused = /User "((?:[^"\\]|\\.)*)" cannot impersonate/.exec(refusal.message ?? '')?.[1];
  // The call runs as the effective user, so a refusal to impersonate that names another one was kexer's own.
  if (refused === undefined || refused === effectiveUser.name) return undefined;
  const text = `kube-apiserver does not let kexer's impersonator act as this user: it needs the verb "impersonate" on ${rightsFor(effectiveUser)}`;
  return new StatusError(badGateway(text), { cause });
}

/** `users, groups, userextras/KEY`: the resources of the identity's parts, each once. */
function rightsFor(user: UserInfo): string {
  const resources = impersonationQuestions(user).map(({ resource, subresource }) =>
    subresource === '' ? resource : `${resource}/${subresource}`,
  );
  return [...new Set(resources)].join(', ');
}

interface HeldAnswer {
  readonly head: Head;
  readonly controller: AnswerController;
  readonly chunks: Buffer[];
  size: number;
}

/** Stands before a sink; holds a short 401 or 403 back until it is known whom it is about. */
export class ImpersonatorGuard implements AnswerSink {
  readonly #sink: AnswerSink;
  readonly #effectiveUser: UserInfo;
  #held: HeldAnswer | undefined;

  constructor(sink: AnswerSink, options: { effectiveUser: UserInfo }) {
    this.#sink = sink;
    this.#effectiveUser = options.effectiveUser;
    this.#held = undefined;
  }

  onHead(head: Head, controller: AnswerController): void {
    if (mayRefuseImpersonator(head.status)) this.#held = { head, controller, chunks: [], size: 0 };
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
    if (held.size > maxRefusalBytes) this.#release();
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

  #release(): void {
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    this.#sink.onHead(held.head, held.controller);
    for (const chunk of held.chunks) this.#sink.onData(chunk);
  }
}
