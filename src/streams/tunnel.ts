// SPDY bytes in WebSocket messages (SPDY/3.1+portforward.k8s.io) as a duplex stream, so that the same SPDY connection serves a native and
// a tunnelled client. Message boundaries mean nothing in either direction and messages may be empty.

import { Buffer } from 'node:buffer';
import { Duplex } from 'node:stream';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { ReadTap } from '../net/read-tap.ts';
import type { WriteConsumer } from '../net/socket-writer.ts';
import { WebSocketConnection, type WebSocketEnd } from '../net/websocket-connection.ts';
import type { WebSocketDataEvent } from '../protocol/websocket/frame.ts';
import { clientKeepalive, type Leg, lingerTimeoutMs } from './leg.ts';

export class TunnelDuplex extends Duplex implements WriteConsumer {
  /** The connection below copies what it is given. */
  readonly isWriteConsumer = true;
  readonly #webSocket: WebSocketConnection;
  readonly #tap: ReadTap;
  #isPausing: boolean;

  constructor(deps: { clock: Clock }, client: Leg) {
    // Close 1000 ends one direction only in our terms: the SPDY connection above still flushes what it holds.
    super({ allowHalfOpen: true, decodeStrings: true });
    this.#isPausing = false;
    this.#tap = new ReadTap();
    this.#tap.attach(this);
    this.#webSocket = new WebSocketConnection(
      { socket: client.socket, clock: deps.clock },
      {
        role: 'server',
        head: client.head,
        ...clientKeepalive,
        closeTimeoutMs: lingerTimeoutMs,
        hasTransientReads: true,
      },
      { onData: (event) => this.#receive(event), onEnd: (end) => this.#ended(end) },
    );
  }

  override _read(): void {
    if (!this.#isPausing) return;
    this.#isPausing = false;
    this.#webSocket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#send([chunk], done);
  }

  /** The batch of a turn goes out as one message. */
  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#send(
      chunks.map(({ chunk }) => chunk),
      done,
    );
  }

  override _final(done: (error?: Error | null) => void): void {
    // Resolves when the client has answered, read everything, or left; all the same to the writer.
    void this.#webSocket.close(1000).then(() => this.destroy());
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#webSocket.destroy(error ?? undefined);
    done(error);
  }

  #send(parts: Buffer[], done: (error?: Error | null) => void): void {
    const hasRoom = this.#webSocket.sendBinary(...parts);
    if (hasRoom) done();
    else this.#webSocket.onDrain(() => done());
  }

  #receive(event: WebSocketDataEvent): void {
    if (event.opcode === 'text') {
      this.destroy(new KexerError('protocol', 'Cannot read a tunnel: a text message came, want binary ones'));
      return;
    }
    if (event.bytes.length === 0 || this.readableEnded || this.destroyed) return;
    // A socket's pause stops its reading; this one's only stops what it hands on, so what comes meanwhile has to fill it.
    const hasRoom = this.isPaused() ? this.push(Buffer.from(event.bytes)) : this.#tap.give(event.bytes);
    if (hasRoom || this.#isPausing) return;
    this.#isPausing = true;
    this.#webSocket.pause();
  }

  #ended(end: WebSocketEnd): void {
    switch (end.how) {
      case 'close':
      case 'fin':
        if (!this.destroyed) this.push(null);
        break;
      case 'error':
        this.destroy(end.error);
        break;
      case 'closed':
        this.destroy();
        break;
    }
  }
}
