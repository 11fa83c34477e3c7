// pods/log over WebSocket: bytes in binary messages (`binary.k8s.io`, or no subprotocol) or base64 text (`base64.binary.k8s.io`), one way.
// What the client sends is dropped, as kube-apiserver does. Close 1000 only when the kubelet's body was complete.

import { Buffer } from 'node:buffer';

import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import { PauseCount } from '../base/pause-count.ts';
import { WebSocketConnection } from '../net/websocket-connection.ts';
import { clientEnd, clientKeepalive, type Leg, lingerTimeoutMs, type RunningStream, whenClosed } from './leg.ts';
import type { LogBody } from './log-body.ts';
import type { OpenLog } from './log-source.ts';
import type { Session, SessionEnd } from './session.ts';

export class LogSocket implements RunningStream {
  readonly done: Promise<SessionEnd>;
  readonly #body: LogBody;
  readonly #client: WebSocketConnection;
  #end: SessionEnd | undefined;

  constructor(
    deps: { clock: Clock; session: Session },
    legs: { client: Leg; log: Pick<OpenLog, 'body' | 'source'> },
    options: { isBase64: boolean },
  ) {
    const { session } = deps;
    const { body, source } = legs.log;
    this.#body = body;
    this.#end = undefined;
    this.done = whenClosed([legs.client.socket], () => this.#closedEnd);
    const client = new WebSocketConnection(
      { socket: legs.client.socket, clock: deps.clock },
      { role: 'server', head: legs.client.head, ...clientKeepalive, closeTimeoutMs: lingerTimeoutMs },
      {
        onData: () => {},
        onEnd: (end) => {
          this.#end ??= clientEnd(end);
          body.destroy();
        },
      },
    );
    this.#client = client;
    const send = (bytes: Buffer): boolean =>
      options.isBase64 ? client.sendText(bytes.toString('base64')) : client.sendBinary(bytes);
    send(Buffer.alloc(0)); // every one of these servers begins with an empty message
    body.on('error', (error) => {
      this.#fail('kubeletGone', `${source} broke the log off (${describeError(error)})`);
    });
    const pauses = new PauseCount(body);
    session.shape({ out: pauses });
    body.on('data', (chunk: Buffer) => {
      session.countOut(chunk.length);
      // What was read before a pause may still come; the pause is counted once.
      if (send(chunk) || session.isBackedUp) return;
      session.isBackedUp = true;
      pauses.pause();
      client.onDrain(() => {
        session.isBackedUp = false;
        pauses.resume();
      });
    });
    body.on('end', () => {
      if (!body.complete) {
        this.#fail('kubeletGone', `${source} broke the log off`);
        return;
      }
      this.#end ??= { cause: 'normal', message: 'the log ended' };
      void client.close(1000);
    });
  }

  end(message: string): void {
    this.#fail('ended', message);
  }

  /** There is no channel for a reason but the Close itself, whose text is bounded to 123 bytes. */
  #fail(cause: 'kubeletGone' | 'ended', message: string): void {
    if (this.#end !== undefined) return;
    this.#end = { cause, message };
    void this.#client.close(1011, message.slice(0, 100));
    this.#body.destroy();
  }

  get #closedEnd(): SessionEnd {
    return this.#end ?? { cause: 'internal', message: 'the connection was closed' };
  }
}
