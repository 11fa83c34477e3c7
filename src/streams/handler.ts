// The door of streams: exec, attach, port-forward and logs of pods. Takes calls that the pipeline has authenticated and authorised
// on the outer path; everything about the inner right is decided here, by the preflight. An upgrade's socket belongs to this object
// from the moment it is handed over: it answers, relays, lingers and closes it.

import type { IncomingMessage } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

import type { Authorizer } from '../auth/authorize.ts';
import type { Clock } from '../base/clock.ts';
import { codeOf, KexerError } from '../base/errors.ts';
import { acceptCall, type Call } from '../clusters/call.ts';
import { StatusError, statusOf } from '../kube/status.ts';
import { keepAlive } from '../net/keep-alive.ts';
import { type AnyResponse, type HttpAnswer, refuseUpgrade, sendAnswer } from '../net/http-answer.ts';
import { parseQuery } from '../protocol/query.ts';
import { listItems } from '../protocol/raw-headers.ts';
import { statusAnswer } from './answer.ts';
import { abandonSession, type Announced, announceSession } from './announce.ts';
import { EarlyBytes } from './early-bytes.ts';
import { streamKindOf } from './kind.ts';
import { clientEnd } from './leg.ts';
import { serveLog } from './logs.ts';
import { parseStreamOptions, preflightQuery } from './options.ts';
import type { PodWatches } from './pod-watch.ts';
import { askStream } from './preflight.ts';
import type { Detours } from './detour.ts';
import type { SessionRegistry } from './registry.ts';
import type { SpareKubelets } from './spare-kubelets.ts';
import { type OpenStream, openStream } from './upgrade.ts';

export interface StreamHandlerOptions {
  /** Kexer's version, as the User-Agent of a preflight names it. */
  readonly version: string;
}

export interface StreamHandlerDeps {
  readonly clock: Clock;
  readonly sessions: SessionRegistry;
  /** Ends sessions whose pod is gone. */
  readonly pods: Pick<PodWatches, 'follow'>;
  /** For apiservers that do not check `create` of an upgrade by GET themselves. */
  readonly authorizer: Pick<Authorizer, 'authorize'>;
  readonly detours: Detours;
  readonly kubelets: Pick<SpareKubelets, 'dial' | 'prepare'>;
  /** Told of errors that are a defect of kexer; the client is told only that there was one. */
  readonly onDefect?: (error: unknown) => void;
}

/** A stream that may begin: kube-apiserver, the limits and the audit log have taken it. */
interface ReadyStream {
  readonly opened: OpenStream;
  readonly announced: Announced;
}

export class StreamHandler {
  readonly sessions: SessionRegistry;
  readonly #deps: StreamHandlerDeps;
  readonly #options: StreamHandlerOptions;

  constructor(deps: StreamHandlerDeps, options: StreamHandlerOptions) {
    this.sessions = deps.sessions;
    this.#deps = deps;
    this.#options = options;
  }

  /** Whether the inner path is one of pods/{exec,attach,portforward,log} with a name, by a method these have. */
  handles(call: Call): boolean {
    return streamKindOf(call) !== undefined;
  }

  /**
   * Resolves when the session is over and the socket closed or being closed. Never rejects: whatever goes wrong is answered on the socket
   * (before the 101) or told the client in its protocol (after it).
   */
  async handleUpgrade(call: Call, _request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const early = new EarlyBytes(socket, head);
    prepareSocket(socket);
    let ready: ReadyStream | HttpAnswer;
    try {
      ready = await this.#open(call, early);
    } catch (error) {
      early.release();
      call.audit.failed(error);
      if (early.gone.aborted || codeOf(error) === 'clientGone') socket.destroy();
      else refuseUpgrade(this.#deps, socket, this.#answerOf(call, error));
      return;
    }
    // From here to the first listener of the leg nothing may be awaited: bytes that come in between would be lost.
    const earlyBytes = early.release();
    if ('opened' in ready) {
      const { opened, announced } = ready;
      if (early.gone.aborted) {
        abandonSession(announced.record, clientEnd({ how: 'closed' }));
        opened.backend.destroy();
        socket.destroy();
      } else {
        // Not awaited here: this function's frame, and with it the call, would live as long as the session.
        return opened.run({ socket, head: earlyBytes }, announced);
      }
    } else if (early.gone.aborted) {
      socket.destroy();
    } else {
      call.audit.answered(ready);
      refuseUpgrade(this.#deps, socket, ready);
    }
  }

  /**
   * Logs, and plain requests to paths that want an upgrade (they get the preflight's own answer).
   * @throws StatusError | KexerError only while nothing of the response was written; the pipeline then answers.
   */
  async handleRequest(
    call: Call,
    _request: IncomingMessage | Http2ServerRequest,
    response: AnyResponse,
  ): Promise<void> {
    const kind = streamKindOf(call);
    if (kind === undefined) throw new KexerError('internal', 'Cannot stream: the path is none of a stream');
    if (kind === 'log') {
      await serveLog({ ...this.#deps, version: this.#options.version }, call, response);
      return;
    }
    const options = parseStreamOptions(kind, parseQuery(call.inner.rawQuery));
    const { answer } = await askStream(call, {
      query: preflightQuery(options),
      version: this.#options.version,
      signal: call.signal,
    });
    call.audit.answered(answer);
    sendAnswer(response, answer);
  }

  async #open(call: Call, early: EarlyBytes): Promise<ReadyStream | HttpAnswer> {
    const kind = streamKindOf(call);
    const isWebSocket = listItems(call.headers, 'Upgrade').some((token) => token.toLowerCase() === 'websocket');
    if (kind === undefined || (kind === 'log' && !isWebSocket)) {
      throw new KexerError('badRequest', 'Cannot upgrade: this path knows no such upgrade');
    }
    const signal = AbortSignal.any([call.signal, early.gone]);
    const opened = await openStream({ ...this.#deps, version: this.#options.version }, call, kind, signal);
    if ('status' in opened) return opened;
    acceptCall(call, () => opened.backend.destroy());
    return { opened, announced: await announceSession(call, opened.subject, opened.backend, 101) };
  }

  #answerOf(call: Call, error: unknown): HttpAnswer {
    const code = error instanceof StatusError ? undefined : codeOf(error);
    if (code === 'internal' || code === 'config') this.#deps.onDefect?.(error);
    return statusAnswer(statusOf(error), call.auditId);
  }
}

/** Without TCP_NODELAY each frame of a handshake of streams waits for a delayed ACK; probes find clients that vanished without a FIN. */
function prepareSocket(socket: Duplex): void {
  if (!(socket instanceof Socket)) return;
  socket.setTimeout(0);
  socket.setNoDelay(true);
  keepAlive(socket);
}
