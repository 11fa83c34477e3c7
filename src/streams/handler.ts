// The door of streams: exec, attach, port-forward and logs of pods. Takes calls that the pipeline has authenticated and authorised
// on the outer path; everything about the inner right is decided here, by the preflight. An upgrade's socket belongs to this object
// from the moment it is handed over: it answers, relays, lingers and closes it.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { Duplex } from 'node:stream';

import type { Clock } from '../base/clock.ts';
import type { Call } from '../clusters/call.ts';
import type { SessionRegistry } from './registry.ts';

export interface StreamHandlerOptions {
  /** Kexer's version, as the User-Agent of a preflight names it. */
  readonly version: string;
}

export class StreamHandler {
  readonly sessions: SessionRegistry;

  constructor(deps: { clock: Clock; sessions: SessionRegistry }, _options: StreamHandlerOptions) {
    this.sessions = deps.sessions;
  }

  /** Whether the inner path is one of pods/{exec,attach,portforward,log} with a name, by a method these have. */
  handles(call: Call): boolean {
    const info = call.inner.info;
    return info.isResourceRequest && info.resource === 'pods' && info.apiGroup === '';
  }

  /** Never rejects: whatever goes wrong is answered on the socket (before the 101) or told the client in its protocol (after it). */
  async handleUpgrade(_call: Call, _request: IncomingMessage, _socket: Duplex, _head: Buffer): Promise<void> {}

  /**
   * Logs, and plain requests to paths that want an upgrade (they get the preflight's own answer).
   * @throws StatusError | KexerError only while nothing of the response was written; the pipeline then answers.
   */
  async handleRequest(
    _call: Call,
    _request: IncomingMessage | Http2ServerRequest,
    _response: ServerResponse | Http2ServerResponse,
  ): Promise<void> {}
}
