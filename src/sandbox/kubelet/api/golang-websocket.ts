// The server end of a WebSocket as kubelets have it, with the ways of their two Go libraries that clients meet: golang.org/x/net
// (v4 and older: every frame is a message of its own, fragments are not joined) and gorilla (v5, tunnels: fragments are joined). Both
// answer pings only while they read, and end by a Close and a FIN at once, without waiting for the peer's Close.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import { ByteQueue } from '../../../base/byte-queue.ts';
import { closePayload, closeCodes, encodeFrame, opcodes } from '../../../protocol/websocket/frame.ts';
import { applyMask } from '../../../protocol/websocket/mask.ts';

export interface GolangWebSocketHandlers {
  /** A whole message (or, for x/net, one frame of it). */
  onMessage(bytes: Buffer, isText: boolean): void;
  /** Exactly once, not after `close` or `destroy`: the peer's Close, its FIN, an error, or nonsense. */
  onEnd(): void;
}

/** Of one frame; x/net's limit. */
const maxFrameBytes = 32 * 1024 * 1024;

interface FrameHeader {
  readonly isFin: boolean;
  readonly opcode: number;
  readonly length: number;
}

export class GolangWebSocket {
  readonly #socket: Duplex;
  readonly #isJoining: boolean;
  readonly #handlers: GolangWebSocketHandlers;
  readonly #queue = new ByteQueue();
  readonly #onDrain: (() => void)[] = [];
  #header: FrameHeader | undefined;
  #fragments: Buffer[] = [];
  #isTextMessage = false;
  #pauses = 0;
  #isEnded = false;

  constructor(
    socket: Duplex,
    options: { library: 'x/net' | 'gorilla'; head: Buffer },
    handlers: GolangWebSocketHandlers,
  ) {
    this.#socket = socket;
    this.#isJoining = options.library === 'gorilla';
    this.#handlers = handlers;
    socket.on('error', () => this.#end());
    socket.on('close', () => this.#end());
    socket.on('end', () => this.#end());
    socket.on('drain', () => {
      for (const run of this.#onDrain.splice(0)) run();
    });
    if (options.head.length > 0) socket.unshift(options.head);
    socket.on('data', (chunk: Buffer) => this.#accept(chunk));
    socket.resume();
  }

  get isWritable(): boolean {
    return !this.#socket.writableNeedDrain;
  }

  /** One message; false: wait for {@link onDrain}. */
  send(isText: boolean, ...parts: Buffer[]): boolean {
    if (this.#isEnded || this.#socket.destroyed) return true;
    this.#socket.cork();
    for (const part of encodeFrame(isText ? opcodes.text : opcodes.binary, parts)) this.#socket.write(part);
    this.#socket.uncork();
    return this.isWritable;
  }

  onDrain(run: () => void): void {
    if (this.isWritable) run();
    else this.#onDrain.push(run);
  }

  /** Stops reading, pings included; counted. */
  pause(): void {
    this.#pauses += 1;
    this.#socket.pause();
  }

  resume(): void {
    this.#pauses -= 1;
    if (this.#pauses > 0) return;
    this.#socket.resume();
    this.#readFrames();
  }

  /** Close 1000 and FIN after all that was sent. */
  close(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#sendClose();
  }

  /** FIN without a Close, as when the process behind it dies. */
  abort(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#socket.resume();
    this.#socket.end();
  }

  #end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#handlers.onEnd();
    if (!this.#socket.destroyed) this.#sendClose();
  }

  #sendClose(): void {
    this.#socket.cork();
    for (const part of encodeFrame(opcodes.close, [closePayload(closeCodes.normal)])) this.#socket.write(part);
    this.#socket.uncork();
    this.#socket.resume(); // what still comes is read into nothing
    this.#socket.end();
  }

  #accept(chunk: Buffer): void {
    if (this.#isEnded) return;
    this.#queue.push(chunk);
    this.#readFrames();
  }

  #readFrames(): void {
    while (!this.#isEnded && this.#pauses === 0) {
      this.#header ??= this.#readHeader();
      if (this.#header === undefined || this.#queue.length < this.#header.length + 4) return;
      const header = this.#header;
      this.#header = undefined;
      const key = this.#queue.take(4);
      const payload = this.#queue.take(header.length);
      applyMask(payload, key, 0);
      this.#acceptFrame(header, payload);
    }
  }

  /** Undefined while it is not whole. A frame that is not masked or too long ends the connection. */
  #readHeader(): FrameHeader | undefined {
    if (this.#queue.length < 2) return undefined;
    const start = this.#queue.take(2);
    const [first = 0, second = 0] = start;
    const short = second & 0x7f;
    const extra = short === 126 ? 2 : short === 127 ? 8 : 0;
    if (this.#queue.length < extra) {
      const rest = this.#queue.take(this.#queue.length);
      this.#queue.push(Buffer.concat([start, rest]));
      return undefined;
    }
    const extended = this.#queue.take(extra);
    const length = extra === 2 ? extended.readUInt16BE() : extra === 8 ? Number(extended.readBigUInt64BE()) : short;
    if ((second & 0x80) === 0 || length > maxFrameBytes) {
      this.#end();
      return undefined;
    }
    return { isFin: (first & 0x80) !== 0, opcode: first & 0x0f, length };
  }

  #acceptFrame(header: FrameHeader, payload: Buffer): void {
    switch (header.opcode) {
      case opcodes.ping:
        for (const part of encodeFrame(opcodes.pong, [payload])) this.#socket.write(part);
        return;
      case opcodes.pong:
        return;
      case opcodes.close:
        this.#end();
        return;
      default:
        this.#acceptData(header, payload);
    }
  }

  #acceptData({ isFin, opcode }: FrameHeader, payload: Buffer): void {
    if (opcode !== opcodes.continuation) this.#isTextMessage = opcode === opcodes.text;
    if (!this.#isJoining) {
      this.#handlers.onMessage(payload, this.#isTextMessage);
      return;
    }
    this.#fragments.push(payload);
    if (!isFin) return;
    const message = Buffer.concat(this.#fragments);
    this.#fragments = [];
    this.#handlers.onMessage(message, this.#isTextMessage);
  }
}
