// What is under way at this server, from a request's head to the end of its answer, or of its socket when it was an upgrade. The end of the
// process waits for these, each kind in its own way.

import { abortResponse } from '../net/http-answer.ts';
import { streamKindOf } from '../streams/kind.ts';

import type { RequestContext } from './request-context.ts';

/** `stream`: a session, or what may become one. `watch`: without an end of its own. `call`: everything else. */
export type FlightKind = 'stream' | 'watch' | 'call';

export class InFlight {
  readonly #contexts = new Set<RequestContext>();
  #waiting: { readonly kind: FlightKind; readonly resolve: () => void }[] = [];

  add(context: RequestContext): void {
    const { exchange } = context;
    const end = exchange.kind === 'request' ? exchange.response : exchange.socket;
    if (end.destroyed) return; // its 'close' may have been
    this.#contexts.add(context);
    end.once('close', () => {
      this.#contexts.delete(context);
      this.#tell();
    });
  }

  /** Everything that is under way now. */
  list(): Iterable<RequestContext> {
    return this.#contexts;
  }

  count(kind: FlightKind): number {
    let count = 0;
    for (const context of this.#contexts) if (kindOf(context) === kind) count += 1;
    return count;
  }

  /** Resolves when none of this kind is under way; at once if none is. */
  whenNone(kind: FlightKind): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ kind, resolve });
      this.#tell();
    });
  }

  /** Breaks off all of a kind, so that their clients see that they did not end. */
  abort(kind: FlightKind): void {
    for (const context of this.#contexts) {
      if (kindOf(context) !== kind) continue;
      if (context.exchange.kind === 'request') abortResponse(context.exchange.response);
      else context.exchange.socket.destroy();
    }
  }

  #tell(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const entry of waiting) {
      if (this.count(entry.kind) === 0) entry.resolve();
      else this.#waiting.push(entry);
    }
  }
}

function kindOf(context: RequestContext): FlightKind {
  const { arrival, exchange, pathIfKnown: path } = context;
  if (exchange.kind === 'upgrade') return 'stream';
  if (path?.kind !== 'cluster')
    return path?.info.isResourceRequest === true && path.info.verb === 'watch' ? 'watch' : 'call';
  if (streamKindOf({ method: arrival.method, inner: path.inner }) !== undefined) return 'stream';
  return path.inner.info.verb === 'watch' ? 'watch' : 'call';
}
