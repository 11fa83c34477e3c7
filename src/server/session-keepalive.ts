// Ends an HTTP/2 connection whose peer answers no pings any more. TCP's own keepalive does not see all of it: in Node 24 a reset that meets a
// write under way can be lost between TLS and HTTP/2 (the session then neither reads nor writes again, and no event ever comes: one in 200 resets during a
// transfer), and a
// process that hangs has its kernel answer. Either would hold the connection, its streams and their sessions for ever.

import type { ServerHttp2Session } from 'node:http2';
import type { Duplex } from 'node:stream';

export interface SessionKeepaliveOptions {
  readonly intervalMs: number;
  /** Silence after a ping for which the peer counts as gone; a suspended client may live that long. */
  readonly limitMs: number;
}

/**
 * Pings the peer until the session is closed; ends the connection when a ping has gone unanswered for the limit.
 * @param socket below the session: to destroy a session that can no longer write does not close it, to destroy its TLS does.
 */
export function watchSession(session: ServerHttp2Session, socket: Duplex, options: SessionKeepaliveOptions): void {
  let unansweredSinceMs: number | undefined;
  const timer = setInterval(() => {
    const isOver = unansweredSinceMs !== undefined && performance.now() - unansweredSinceMs >= options.limitMs;
    if (isOver) session.destroy();
    if (session.destroyed) {
      socket.destroy();
    } else if (unansweredSinceMs === undefined) {
      unansweredSinceMs = performance.now();
      session.ping(() => {
        unansweredSinceMs = undefined; // also with an error: the session's own end follows then
      });
    }
  }, options.intervalMs);
  timer.unref();
  session.once('close', () => clearInterval(timer));
}
