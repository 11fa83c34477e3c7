// Ends an HTTP/2 connection whose peer answers no pings any more. TCP's own keepalive does not see all of it: in Node 24 a reset that meets a
// write under way can be lost between TLS and HTTP/2 (the session then neither reads nor writes again, and no event ever comes), and a
// process that hangs has its kernel answer. Either would hold the connection, its streams and their sessions for ever.

import type { ServerHttp2Session } from 'node:http2';

export interface SessionKeepaliveOptions {
  readonly intervalMs: number;
  /** Silence after a ping for which the peer counts as gone; a suspended client may live that long. */
  readonly limitMs: number;
}

/** Pings the peer until the session is closed; destroys the session when a ping has gone unanswered for the limit. */
export function watchSession(session: ServerHttp2Session, options: SessionKeepaliveOptions): void {
  let unansweredSinceMs: number | undefined;
  const timer = setInterval(() => {
    if (session.destroyed) return;
    if (unansweredSinceMs === undefined) {
      unansweredSinceMs = performance.now();
      session.ping(() => {
        unansweredSinceMs = undefined; // also with an error: the session's own end follows then
      });
    } else if (performance.now() - unansweredSinceMs >= options.limitMs) {
      session.destroy();
    }
  }, options.intervalMs);
  timer.unref();
  session.once('close', () => clearInterval(timer));
}
