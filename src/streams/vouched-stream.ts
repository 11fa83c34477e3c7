// A stream whose client has its 101 while kexer still asks whether the kubelet's leg leads into the pod that was checked. Until that is known the two
// legs are not joined: nothing is read of the client, no stream is opened at the kubelet, so that no command begins and no byte passes either
// way. The question's round trip and the client's overlap, and the client's is the longer one as a rule.
//
// If the answer is no, or there is none, the kubelet's leg is destroyed first of all, and the client is told why in its own protocol by the code that
// tells it any other failure, over a leg that leads nowhere.

import { Buffer } from 'node:buffer';
import { Duplex } from 'node:stream';

import { StatusError, statusOf } from '../kube/status.ts';
import { clientEnd, type Leg, type RunningStream, whenClosed } from './leg.ts';
import type { Protocol } from './negotiation.ts';
import type { UpgradeKind } from './options.ts';
import type { Session, SessionEnd } from './session.ts';

/** Whether a client of this can be told a failure behind its 101: before v4 the error stream has no status, and a forwarded port may have none open. */
export function canBeToldLate(kind: UpgradeKind, { choice }: Protocol): boolean {
  return kind !== 'portforward' && 'version' in choice && choice.version >= 4;
}

export interface VouchedStreamParts {
  readonly session: Session;
  readonly client: Leg;
  readonly kubelet: Leg;
  /** Resolves if the kubelet's leg may be used, rejects if not; aborted when nobody wants to know any more. */
  readonly vouch: (signal: AbortSignal) => Promise<void>;
  /** Makes one stream of the client's leg and this one. @param isRefusal the stream will be ended at once, by its `end`. */
  readonly join: (kubelet: Leg, isRefusal: boolean) => RunningStream;
}

export class VouchedStream implements RunningStream {
  readonly done: Promise<SessionEnd>;
  readonly #abort: AbortController;
  /** Why the legs must not be joined. */
  #refusal: string | undefined;
  #joined: RunningStream | undefined;

  /** @param parts.client.socket paused, with an error listener: it is not read before the legs are joined. */
  constructor(parts: VouchedStreamParts) {
    this.#abort = new AbortController();
    this.#refusal = undefined;
    this.#joined = undefined;
    this.done = this.#run(parts);
  }

  end(message: string): void {
    if (this.#joined !== undefined) {
      this.#joined.end(message);
      return;
    }
    this.#refusal ??= message;
    this.#abort.abort();
  }

  /** Nothing of the parts outlives it: what vouches has the whole call in its hands, and the session may run for days. */
  async #run({ session, client, kubelet, vouch, join }: VouchedStreamParts): Promise<SessionEnd> {
    try {
      await vouch(this.#abort.signal);
    } catch (error) {
      const message = statusOf(error).message ?? 'the pod could not be looked at again';
      // The first reason counts: a session that was ended meanwhile keeps its own.
      session.end(message, isPodGone(error) ? 'podDeleted' : 'other');
      this.#refusal ??= message;
    }
    // From here on nothing is awaited until the client's socket has its next owner.
    const refusal = this.#refusal;
    if (refusal !== undefined) kubelet.socket.destroy();
    if (client.socket.destroyed || client.socket.readableEnded) {
      kubelet.socket.destroy();
      client.socket.destroy();
      return whenClosed([client.socket, kubelet.socket], () => clientEnd({ how: 'closed' }));
    }
    this.#joined = join(refusal === undefined ? kubelet : nowhere(), refusal !== undefined);
    if (refusal !== undefined) this.#joined.end(refusal);
    return this.#joined.done;
  }
}

/** What kube-apiserver says of a pod that is not the one any more. */
function isPodGone(error: unknown): boolean {
  return error instanceof StatusError && (error.status.code === 404 || error.status.code === 409);
}

/** Takes whatever is written and says nothing. */
function nowhere(): Leg {
  const socket = new Duplex({
    read() {},
    write(_chunk, _encoding, done) {
      done();
    },
  });
  return { socket, head: Buffer.alloc(0) };
}
