// Logs over HTTP/1.1, HTTP/2 and WebSocket. A client takes a body as whole when it ended as its protocol ends a body: last chunk, END_STREAM
// or Close 1000.

import { describeError } from '../../../src/base/errors.ts';
import { connect as connectHttp2 } from 'node:http2';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';

import { Scope } from '../../../src/base/scope.ts';
import { openWebSocket, UpgradeRefused, type WebSocketClient } from '../../support/websocket-client.ts';
import { failure, podUrl, type RunningSession, type SessionReport, type SessionTarget, type Work } from './session.ts';

const none = Buffer.alloc(0);

function logUrl(target: SessionTarget, work: Work): string {
  return podUrl(target, work.pod, 'log', new URLSearchParams(work.isFollowing ? { follow: 'true' } : {}));
}

/** What both HTTP clients have in common: collecting a body. */
abstract class HttpLogSession implements RunningSession {
  readonly #done = Promise.withResolvers<SessionReport>();
  readonly #chunks: Buffer[] = [];
  #status = 0;

  get done(): Promise<SessionReport> {
    return this.#done.promise;
  }

  get isOpen(): boolean {
    return this.#status === 200;
  }

  abstract pause(): void;
  abstract resume(): void;
  abstract leave(): void;

  protected answered(status: number): void {
    this.#status = status;
  }

  protected got(chunk: Buffer): void {
    this.#chunks.push(chunk);
  }

  protected ended(isWhole: boolean, why: string): void {
    const received = Buffer.concat(this.#chunks);
    if (this.#status === 0) {
      this.#done.resolve({ phase: 'unreached', result: failure(why, false), received: none });
    } else if (this.#status === 200) {
      this.#done.resolve({ phase: 'open', result: isWhole ? { kind: 'success' } : failure(why, false), received });
    } else {
      const message = `${this.#status} ${received.toString()}`;
      this.#done.resolve({ phase: 'refused', result: failure(message, true), received: none });
    }
  }
}

export class Http1LogSession extends HttpLogSession {
  readonly #request;
  #response: IncomingMessage | undefined;

  constructor(target: SessionTarget, work: Work) {
    super();
    const { ca, certificate } = target;
    this.#request = request(logUrl(target, work), { ca, ...certificate, agent: false });
    this.#request.on('response', (response) => {
      this.#response = response;
      this.answered(response.statusCode ?? 0);
      response.on('data', (chunk: Buffer) => this.got(chunk));
      response.on('error', () => {}); // 'close' follows
      response.on('close', () => this.ended(response.complete, 'the body was cut'));
    });
    this.#request.on('error', (error) => this.ended(false, error.message));
    this.#request.end();
  }

  pause(): void {
    this.#response?.pause();
  }

  resume(): void {
    this.#response?.resume();
  }

  leave(): void {
    this.ended(false, 'the client has left');
    this.#request.destroy();
  }
}

export class Http2LogSession extends HttpLogSession {
  readonly #session;
  readonly #stream;

  constructor(target: SessionTarget, work: Work) {
    super();
    const { ca, certificate } = target;
    const url = new URL(logUrl(target, work));
    this.#session = connectHttp2(url.origin, { ca, ...certificate });
    this.#session.on('error', () => {}); // the stream's 'close' follows
    this.#stream = this.#session.request({ ':path': `${url.pathname}${url.search}` });
    let hasEnded = false;
    let why = 'the stream was cut';
    this.#stream.on('response', (headers) => this.answered(Number(headers[':status'])));
    this.#stream.on('data', (chunk: Buffer) => this.got(chunk));
    this.#stream.on('end', () => {
      hasEnded = true;
    });
    this.#stream.on('aborted', () => {
      hasEnded = false;
      why = 'the stream was aborted';
    });
    this.#stream.on('error', (error: Error) => {
      hasEnded = false;
      why = error.message;
    });
    this.#stream.on('close', () => {
      this.ended(hasEnded && this.#stream.rstCode === 0, why);
      this.#session.destroy();
    });
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  leave(): void {
    this.ended(false, 'the client has left');
    this.#session.destroy();
  }
}

export class WebSocketLogSession implements RunningSession {
  readonly done: Promise<SessionReport>;
  #client: WebSocketClient | undefined;

  constructor(target: SessionTarget, protocol: string, work: Work) {
    this.done = this.#run(target, protocol, work);
  }

  get isOpen(): boolean {
    return this.#client !== undefined;
  }

  pause(): void {
    this.#client?.socket.pause();
  }

  resume(): void {
    this.#client?.socket.resume();
  }

  leave(): void {
    this.#client?.destroy();
  }

  async #run(target: SessionTarget, protocol: string, work: Work): Promise<SessionReport> {
    const scope = new Scope();
    const { ca, certificate } = target;
    try {
      const protocols = protocol === '' ? [] : [protocol];
      const client = await openWebSocket(scope, {
        url: logUrl(target, work),
        ca,
        certificate,
        protocols,
        channelCount: 0,
      });
      this.#client = client;
      const end = await client.ended;
      const isBase64 = protocol.includes('base64');
      const received = Buffer.concat(
        client.messages.map((message) => (isBase64 ? Buffer.from(message.toString(), 'base64') : message)),
      );
      return {
        phase: 'open',
        result:
          end.code === 1000
            ? { kind: 'success' }
            : failure(`the connection ended by ${end.how}, ${end.code} ${end.reason}`, end.how === 'close'),
        received,
      };
    } catch (error) {
      if (error instanceof UpgradeRefused) {
        return { phase: 'refused', result: failure(`${error.status} ${error.body}`, true), received: none };
      }
      return { phase: 'unreached', result: failure(describeError(error), false), received: none };
    } finally {
      await scope.close();
    }
  }
}
