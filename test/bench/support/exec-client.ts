// The least client of exec and port-forward that still sees the truth: it counts the bytes of an output and knows whether Success came.
// SPDY v4, WebSocket v5 and the port-forward tunnel, each written down to the frame, so that a client costs little.

import type { TLSSocket } from 'node:tls';

import { SpdyDecoder } from '../../../src/protocol/spdy/decoder.ts';
import { SpdyEncoder } from '../../../src/protocol/spdy/encoder.ts';
import { encodeFrame, opcodes, WebSocketDecoder } from '../../../src/protocol/websocket/frame.ts';
import { type Upgraded, upgrade } from './dial.ts';
import { type Route, streamTarget } from './route.ts';

/** Masking costs clients the same whatever the key, but not with the key 0: kexer must unmask. */
export const maskingKey = Buffer.of(0x37, 0xfa, 0x21, 0x3d);

/** Streams by channel number of the WebSocket protocol. */
const stdout = 1;
const error = 3;

export interface ExecClientHandlers {
  onOutput?(bytes: Buffer): void;
}

/** What is common: counting, and the end. */
abstract class StreamClient {
  readonly socket: TLSSocket;
  readonly upgradeMs: number;
  outputBytes = 0;
  /** Resolves at a Success; rejects at any other end. */
  readonly succeeded: Promise<void>;
  protected readonly onSuccess: () => void;
  protected readonly onFailure: (error: Error) => void;
  #status = '';

  constructor({ socket, upgradeMs }: Upgraded) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    promise.catch(() => {});
    this.socket = socket;
    this.upgradeMs = upgradeMs;
    this.succeeded = promise;
    this.onSuccess = resolve;
    this.onFailure = reject;
    socket.once('close', () => reject(new Error(`closed after ${this.outputBytes} bytes, status ${this.#status}`)));
  }

  protected acceptStatus(bytes: Buffer): void {
    this.#status += bytes.toString();
    if (this.#status.includes('"status":"Success"')) this.onSuccess();
  }
}

/** exec over SPDY v4. */
export class SpdyExecClient extends StreamClient {
  readonly encoder = new SpdyEncoder();
  readonly #decoder = new SpdyDecoder();
  readonly #kinds = new Map<number, 'error' | 'stdout' | 'stdin'>();
  readonly #handlers: ExecClientHandlers;
  #stdinId = 0;
  #repliesLeft: number;
  readonly #opened = Promise.withResolvers<void>();

  static async open(
    route: Route,
    command: readonly string[],
    options: ExecClientHandlers & { hasStdin?: boolean } = {},
  ): Promise<SpdyExecClient> {
    const { hasStdin = false } = options;
    const client = new SpdyExecClient(
      await upgrade(route, streamTarget(route, { command, hasStdin })),
      hasStdin,
      options,
    );
    await Promise.race([client.#opened.promise, client.succeeded]);
    return client;
  }

  private constructor(upgraded: Upgraded, hasStdin: boolean, handlers: ExecClientHandlers) {
    super(upgraded);
    this.#handlers = handlers;
    const types = hasStdin ? (['error', 'stdin', 'stdout'] as const) : (['error', 'stdout'] as const);
    this.#repliesLeft = types.length;
    this.socket.cork();
    for (const [index, type] of types.entries()) {
      const id = 2 * index + 1;
      this.#kinds.set(id, type);
      if (type === 'stdin') this.#stdinId = id;
      this.socket.write(this.encoder.synStream(id, [['streamtype', type]], { fin: type === 'error' }));
    }
    this.socket.uncork();
    if (upgraded.head.length > 0) this.#accept(upgraded.head);
    this.socket.on('data', (chunk: Buffer) => this.#accept(chunk));
  }

  stdinHead(bytes: number, isLast = false): Buffer {
    return this.encoder.dataHeader(this.#stdinId, bytes, isLast);
  }

  #accept(chunk: Buffer): void {
    for (const frame of this.#decoder.acceptChunk(chunk)) {
      if (frame.type === 'data') {
        if (this.#kinds.get(frame.streamId) === 'error') this.acceptStatus(frame.bytes);
        else if (frame.bytes.length > 0) {
          this.outputBytes += frame.bytes.length;
          this.#handlers.onOutput?.(frame.bytes);
        }
      } else if (frame.type === 'synReply') {
        this.#repliesLeft -= 1;
        if (this.#repliesLeft === 0) this.#opened.resolve();
      } else if (frame.type === 'ping' && frame.id % 2 === 0) {
        this.socket.write(this.encoder.ping(frame.id));
      }
    }
  }
}

/** exec over WebSocket v5, as kubectl speaks it, or as older libraries do. */
export class WebSocketExecClient extends StreamClient {
  readonly #decoder = new WebSocketDecoder({ role: 'client' });
  readonly #handlers: ExecClientHandlers;
  #channel = 0;

  static async open(
    route: Route,
    command: readonly string[],
    options: ExecClientHandlers & { hasStdin?: boolean; protocol?: string } = {},
  ): Promise<WebSocketExecClient> {
    const { hasStdin = false, protocol = 'v5.channel.k8s.io' } = options;
    const target = streamTarget(route, { command, hasStdin });
    return new WebSocketExecClient(await upgrade(route, target, protocol), options);
  }

  private constructor(upgraded: Upgraded, handlers: ExecClientHandlers) {
    super(upgraded);
    this.#handlers = handlers;
    if (upgraded.head.length > 0) this.#accept(upgraded.head);
    this.socket.on('data', (chunk: Buffer) => this.#accept(chunk));
  }

  #accept(chunk: Buffer): void {
    for (const event of this.#decoder.acceptChunk(chunk)) {
      if (event.type === 'ping') this.#send(opcodes.pong, event.payload);
      if (event.type === 'close') this.#send(opcodes.close, Buffer.of(0x03, 0xe8));
      if (event.type !== 'data') continue;
      let { bytes } = event;
      if (event.isFirst) {
        this.#channel = bytes[0] ?? 0;
        bytes = bytes.subarray(1);
      }
      if (bytes.length === 0) continue;
      if (this.#channel === error) this.acceptStatus(bytes);
      if (this.#channel !== stdout) continue;
      this.outputBytes += bytes.length;
      this.#handlers.onOutput?.(bytes);
    }
  }

  #send(opcode: number, payload: Buffer): void {
    for (const part of encodeFrame(opcode, [payload], { key: maskingKey })) this.socket.write(part);
  }
}

/** One forwarded connection over the tunnel; its end counts as success. */
export class TunnelClient extends StreamClient {
  readonly #webSocket = new WebSocketDecoder({ role: 'client' });
  readonly #decoder = new SpdyDecoder();
  readonly #dataId = 3;

  static async open(route: Route, port: number): Promise<TunnelClient> {
    return new TunnelClient(await upgrade(route, streamTarget(route, { port }), 'SPDY/3.1+portforward.k8s.io'), port);
  }

  private constructor(upgraded: Upgraded, port: number) {
    super(upgraded);
    const encoder = new SpdyEncoder();
    const headers = (type: string): [string, string][] => [
      ['streamtype', type],
      ['port', String(port)],
      ['requestid', '0'],
    ];
    this.#send(opcodes.binary, encoder.synStream(1, headers('error'), { fin: true }));
    this.#send(opcodes.binary, encoder.synStream(this.#dataId, headers('data')));
    if (upgraded.head.length > 0) this.#accept(upgraded.head);
    this.socket.on('data', (chunk: Buffer) => this.#accept(chunk));
  }

  #accept(chunk: Buffer): void {
    for (const event of this.#webSocket.acceptChunk(chunk)) {
      if (event.type === 'ping') this.#send(opcodes.pong, event.payload);
      if (event.type !== 'data') continue;
      for (const frame of this.#decoder.acceptChunk(event.bytes)) {
        if (frame.type !== 'data' || frame.streamId !== this.#dataId) continue;
        this.outputBytes += frame.bytes.length;
        if (frame.fin) this.onSuccess();
      }
    }
  }

  #send(opcode: number, payload: Buffer): void {
    for (const part of encodeFrame(opcode, [payload], { key: maskingKey })) this.socket.write(part);
  }
}
