// Ends an HTTP/2 connection on which nothing is under way: Node keeps one for as long as its peer likes, the one that never sent a request
// included. Open streams keep it, however quiet they are: a watch may be silent for an hour.

import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';

export interface SessionIdleOptions {
  /** Until the first request. */
  readonly firstMs: number;
  /** Between requests. */
  readonly idleMs: number;
}

/** After GOAWAY, for a peer that does not even close. */
const closeMs = 2000;

export class SessionIdle {
  readonly #session: ServerHttp2Session;
  readonly #options: SessionIdleOptions;
  #timer: NodeJS.Timeout | undefined;
  #open: number;

  constructor(session: ServerHttp2Session, options: SessionIdleOptions) {
    this.#session = session;
    this.#options = options;
    this.#open = 0;
    this.#timer = undefined;
    this.#arm(options.firstMs);
    session.once('close', () => clearTimeout(this.#timer));
  }

  /** To be called for each request, with its stream. */
  began(stream: ServerHttp2Stream): void {
    this.#open += 1;
    clearTimeout(this.#timer);
    stream.once('close', () => {
      this.#open -= 1;
      if (this.#open === 0) this.#arm(this.#options.idleMs);
    });
  }

  #arm(ms: number): void {
    if (this.#session.destroyed) return;
    this.#timer = setTimeout(() => closeSession(this.#session), ms);
    this.#timer.unref();
  }
}

/** GOAWAY, streams that are open may end; then the end. */
export function closeSession(session: ServerHttp2Session): void {
  if (session.destroyed) return;
  session.close();
  const timer = setTimeout(() => session.destroy(), closeMs);
  timer.unref();
  session.once('close', () => clearTimeout(timer));
}
