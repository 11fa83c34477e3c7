// Port-forward for a client that speaks WebSocket channels, two a port: 2i carries the bytes of the i-th port, 2i+1 its error text. Each
// begins with the port's number, two bytes, little end first. The protocol has one connection a port and no half-close; the session ends
// when all ports have.

import { Buffer } from 'node:buffer';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { SpdyConnection, type SpdyEnd, type SpdyStream, type SpdyStreamEnd } from '../net/spdy-connection.ts';
import { WebSocketConnection, type WebSocketEnd } from '../net/websocket-connection.ts';
import { ChannelDecoder } from '../protocol/channel.ts';
import type { WebSocketDataEvent } from '../protocol/websocket/frame.ts';
import { ChannelWriter } from './channel-writer.ts';
import {
  clientEnd,
  clientKeepalive,
  backendEndText,
  kubeletKeepalive,
  leaveBackend,
  type Leg,
  lingerTimeoutMs,
  type RunningStream,
  whenClosed,
} from './leg.ts';
import { HeldClient } from './held-client.ts';
import type { Session, SessionEnd } from './session.ts';
import { StdinGate } from './stdin-gate.ts';
import { Valve } from './valve.ts';

/** Two channels a port, numbered by one byte of which 255 is taken. */
export const maxChannelPorts = 127;

export class PortChannels implements RunningStream {
  readonly done: Promise<SessionEnd>;
  readonly #session: Session;
  readonly #options: { readonly ports: readonly number[]; readonly isBase64: boolean; readonly backend: string };
  readonly #client: WebSocketConnection;
  readonly #kubelet: SpdyConnection;
  readonly #decoder: ChannelDecoder;
  readonly #writer: ChannelWriter;
  readonly #toClient: Valve;
  readonly #gate: StdinGate;
  readonly #data: SpdyStream[];
  #openPorts: number;
  #isOver: boolean;
  #end: SessionEnd | undefined;

  constructor(
    deps: { clock: Clock; session: Session },
    legs: { client: Leg; kubelet: Leg },
    options: { ports: readonly number[]; isBase64: boolean; backend: string },
  ) {
    this.#session = deps.session;
    this.#options = options;
    this.#data = [];
    this.#openPorts = 0;
    this.#isOver = false;
    this.#end = undefined;
    this.#decoder = new ChannelDecoder({
      isBase64: options.isBase64,
      hasHalfClose: false,
      channelCount: 2 * options.ports.length,
    });
    this.done = whenClosed([legs.client.socket, legs.kubelet.socket], () => this.#closedEnd);
    this.#kubelet = new SpdyConnection(
      { socket: legs.kubelet.socket, clock: deps.clock },
      { role: 'client', head: legs.kubelet.head, ...kubeletKeepalive, hasTransientReads: true },
      { onStream: (stream) => stream.reset(), onEnd: (end) => this.#kubeletEnded(end) },
    );
    this.#client = new WebSocketConnection(
      { socket: legs.client.socket, clock: deps.clock },
      {
        role: 'server',
        head: legs.client.head,
        ...clientKeepalive,
        closeTimeoutMs: lingerTimeoutMs,
        hasTransientReads: true,
        isFrameApart: true,
      },
      { onData: (event) => this.#receive(event), onEnd: (end) => this.#clientEnded(end) },
    );
    this.#writer = new ChannelWriter({ sink: this.#client }, { isBase64: options.isBase64, isJoined: true });
    this.#toClient = new Valve(this.#kubelet, this.#client);
    this.#gate = new StdinGate({ clock: deps.clock, client: this.#client, kubelet: this.#kubelet }, () =>
      this.end('the forwarded ports have not taken data for too long'),
    );
    deps.session.shape({ in: new HeldClient({ clock: deps.clock, client: this.#client }), out: this.#kubelet });
    for (const [index, port] of options.ports.entries()) this.#openPort(index, port);
  }

  end(message: string): void {
    this.#end ??= { cause: 'ended', message };
    this.#fail(message);
  }

  #openPort(index: number, port: number): void {
    const dataChannel = 2 * index;
    const errorChannel = dataChannel + 1;
    const number = Buffer.alloc(2);
    number.writeUInt16LE(port);
    this.#writer.sendAlone(dataChannel, number);
    this.#writer.sendAlone(errorChannel, number);
    this.#openPorts += 1;
    let openStreams = 2;
    const ended = (how: SpdyStreamEnd): void => {
      // The end of the connection is handled as such.
      if (how === 'cut' || how === 'goaway') return;
      openStreams -= 1;
      if (openStreams > 0) return;
      this.#openPorts -= 1;
      if (this.#openPorts === 0) this.#close();
    };
    const headers = [
      ['port', String(port)],
      ['requestid', String(index)],
    ] as const;
    const error = this.#kubelet.createStream([['streamtype', 'error'], ...headers], {
      onData: (bytes) => this.#output(errorChannel, bytes),
      onEnd: ended,
    });
    error.end();
    const data = this.#kubelet.createStream([['streamtype', 'data'], ...headers], {
      onData: (bytes) => this.#output(dataChannel, bytes),
      onEnd: (how) => {
        data.end(); // the client has no way to end its direction, and the port has ended the other
        ended(how);
      },
    });
    this.#data.push(data);
  }

  #output(channel: number, bytes: Buffer): void {
    this.#session.countOut(bytes.length);
    this.#toClient.check(this.#writer.send(channel, bytes));
  }

  #receive(event: WebSocketDataEvent): void {
    let message;
    try {
      message = this.#decoder.accept(event);
    } catch (error) {
      const failure = error instanceof Error ? error : new KexerError('protocol', String(error));
      this.#end ??= clientEnd({ how: 'error', error: failure });
      this.#client.destroy(failure);
      return;
    }
    // Odd channels are errors, which only the server writes.
    if (message?.type !== 'data' || message.channel % 2 === 1 || this.#isOver) return;
    const stream = this.#data[message.channel / 2];
    if (stream === undefined) return;
    const { length } = message.bytes;
    this.#session.countIn(length);
    this.#gate.check(stream.write(message.bytes), length);
  }

  #kubeletEnded(end: SpdyEnd): void {
    const message = backendEndText(this.#options.backend, end);
    if (this.#isOver) return;
    this.#end ??= { cause: 'kubeletGone', message };
    this.#fail(message);
  }

  /** Text on every error channel, and a close code that is no ordinary end. */
  #fail(message: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#gate.stop();
    for (const index of this.#options.ports.keys()) this.#writer.sendAlone(2 * index + 1, Buffer.from(message));
    void this.#client.close(1011, 'the forwarded connection broke');
    this.#kubelet.destroy();
  }

  #close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#gate.stop();
    this.#end ??= { cause: 'normal', message: 'all forwarded ports are closed' };
    this.#writer.flush();
    void this.#client.close(1000);
    this.#kubelet.destroy();
  }

  #clientEnded(end: WebSocketEnd): void {
    this.#isOver = true;
    this.#end ??= clientEnd(end);
    this.#gate.stop();
    for (const stream of this.#data) stream.end();
    leaveBackend(this.#kubelet, end);
  }

  get #closedEnd(): SessionEnd {
    return this.#end ?? { cause: 'internal', message: 'both connections were closed' };
  }
}
