// One WebSocket endpoint over a Duplex, in either role. It answers pings, closes in order and hands out messages in the pieces they came
// in; what they mean is the owner's. It never buffers a message, never drops queued bytes on an orderly close, and never destroys a
// socket with unread bytes before its peer had the time to read ours: a reset would take them from it.
//
//     open ──close()──▶ closing ──peer's Close, FIN, error, time──▶ ended ──both FINs, or time──▶ socket destroyed
//       └────────────peer's Close, FIN, error, destroy()──────────────▲
//
// `onEnd` is called on entering `ended`. From `closing` on data is read and dropped, whatever holds a pause.

import { Buffer } from 'node:buffer';
import { randomFillSync } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import {
  closePayload,
  encodeFrame,
  encodeFrameHeader,
  opcodes,
  WebSocketDecoder,
  type WebSocketDataEvent,
  type WebSocketEvent,
  type WebSocketRole,
} from '../protocol/websocket/frame.ts';
import { tapReads } from './read-tap.ts';
import { SilenceWatch } from './silence-watch.ts';
import { SocketWriter } from './socket-writer.ts';
import { sharedStages } from './write-stage.ts';

export type WebSocketEnd =
  /** The peer's Close came. 1005: without a code. */
  | { readonly how: 'close'; readonly code: number; readonly reason: string }
  /** The peer ended the connection without a Close. */
  | { readonly how: 'fin' }
  /** The socket failed, or the peer broke the protocol (then it was sent a Close that says so). */
  | { readonly how: 'error'; readonly error: Error }
  /** By us: `close` ran to its end without the peer's Close, or `destroy`. */
  | { readonly how: 'closed' };

export interface WebSocketHandlers {
  onData(event: WebSocketDataEvent): void;
  /** After the automatic pong. */
  onPing?(payload: Buffer): void;
  onPong?(payload: Buffer): void;
  /** Exactly once, after all `onData`. */
  onEnd(end: WebSocketEnd): void;
}

export interface WebSocketConnectionOptions {
  readonly role: WebSocketRole;
  /** Bytes that came with the upgrade. */
  readonly head?: Buffer | undefined;
  /** Pings the peer so often; default: never. */
  readonly pingIntervalMs?: number | undefined;
  /** Ends the connection when pings have gone unanswered for so long, as far as that proves anything: see silence-watch.ts. */
  readonly silenceLimitMs?: number | undefined;
  readonly maxMessageBytes?: number | undefined;
  /** Bytes of data events are valid during that call only, and cost less: see read-tap.ts. */
  readonly hasTransientReads?: boolean | undefined;
  /**
   * Each frame in a write of its own: see {@link SocketWriter.writeApart}. One frame leaves in a turn of the event loop then; for clients that
   * may need it.
   */
  readonly isFrameApart?: boolean | undefined;
  /** How long `close` waits for the peer's Close or FIN since bytes last left for it; default 30 s. */
  readonly closeTimeoutMs?: number | undefined;
}

const defaultCloseTimeoutMs = 30_000;
/** After both sides said Close only FINs are missing, which take a round trip. */
const finTimeoutMs = 5000;

type State = 'open' | 'closing' | 'ended';

export class WebSocketConnection {
  readonly #socket: Duplex;
  readonly #writer: SocketWriter;
  readonly #clock: Clock;
  readonly #role: WebSocketRole;
  readonly #handlers: WebSocketHandlers;
  readonly #decoder: WebSocketDecoder;
  readonly #closeTimeoutMs: number;
  readonly #hasTransientReads: boolean;
  readonly #isFrameApart: boolean;
  readonly #pingIntervalMs: number | undefined;
  readonly #closed = Promise.withResolvers<void>();
  #state: State = 'open';
  #head: Buffer | undefined; // not yet given to the decoder
  #hasStarted = false; // the head was given and 'data' is listened to
  #pauses = 0;
  #bytesIn = 0;
  #owedPong: Buffer | undefined; // for the latest ping while the socket took no more bytes
  readonly #silence: SilenceWatch | undefined;
  #pingCount = 0;
  #pingTimer: Timer | undefined;
  #lingerTimer: Timer | undefined;
  #unsent = 0; // bytes queued when the linger timer was last set

  constructor(
    deps: { socket: Duplex; clock: Clock },
    options: WebSocketConnectionOptions,
    handlers: WebSocketHandlers,
  ) {
    this.#socket = deps.socket;
    this.#writer = new SocketWriter({ socket: deps.socket });
    this.#clock = deps.clock;
    this.#role = options.role;
    this.#handlers = handlers;
    this.#decoder = new WebSocketDecoder({ role: options.role, maxMessageBytes: options.maxMessageBytes });
    this.#closeTimeoutMs = options.closeTimeoutMs ?? defaultCloseTimeoutMs;
    this.#hasTransientReads = options.hasTransientReads === true;
    this.#isFrameApart = options.isFrameApart === true;
    this.#pingIntervalMs = options.pingIntervalMs;
    this.#silence =
      options.silenceLimitMs === undefined
        ? undefined
        : new SilenceWatch(deps, { limitMs: options.silenceLimitMs, isPeerKnownToAnswer: false });
    this.#head = options.head;
    // 'error' first, and for good: a late reset must not end the process.
    this.#socket.on('error', (error: Error) => this.#end({ how: 'error', error }));
    this.#socket.on('end', () => this.#onFin());
    this.#socket.on('close', () => this.#onSocketClose());
    this.#schedulePing();
    // A tick later, so that handlers never run before the owner holds this object.
    process.nextTick(() => {
      if (this.#socket.destroyed) this.#onSocketClose();
      else this.#start();
    });
  }

  /** Bytes of frames read and written, headers and control frames included. */
  get bytesIn(): number {
    return this.#bytesIn;
  }

  get bytesOut(): number {
    return this.#writer.bytesOut;
  }

  /** Whether messages can still be sent: neither side has closed or failed. */
  get isOpen(): boolean {
    return this.#state === 'open';
  }

  /** One unfragmented message from parts by reference; false: wait for {@link onDrain}. Once not open it does nothing. */
  sendBinary(...parts: Buffer[]): boolean {
    return this.#send(opcodes.binary, parts);
  }

  /**
   * A message of the bytes from `from` to `to` of a stage (write-stage.ts), which is taken over; in front of `from` there is room for the frame's head.
   * For an endpoint whose frames leave apart: nothing is copied while it {@link isIdle}.
   */
  sendStage(stage: Buffer, from: number, to: number): boolean {
    if (this.#state !== 'open' || this.#socket.destroyed || !this.#isFrameApart || this.#role === 'client') {
      const hasRoom = this.#send(opcodes.binary, [stage.subarray(from, to)]);
      sharedStages.give(stage);
      return hasRoom;
    }
    this.#silence?.payloadSent();
    const head = encodeFrameHeader({ opcode: opcodes.binary, length: to - from });
    stage.set(head, from - head.length);
    this.#writer.writeStageApart(stage, from - head.length, to);
    return this.#writer.isWritable;
  }

  /** Whether a message that leaves apart would leave now. */
  get isIdle(): boolean {
    return this.#writer.isIdle;
  }

  /** Runs once when it is idle, at once if it is; the latest counts. Never after the end. */
  onIdle(run: () => void): void {
    this.#writer.onIdle(run);
  }

  /** Bytes that wait elsewhere to be sent here: they take room, too. */
  setHeldElsewhere(bytes: number): void {
    this.#writer.setHeldElsewhere(bytes);
  }

  sendText(text: string): boolean {
    return this.#send(opcodes.text, [Buffer.from(text)]);
  }

  ping(payload: Buffer = Buffer.alloc(0)): void {
    this.#send(opcodes.ping, [payload]);
  }

  /** Unsolicited unless it answers a ping; client-go lives by them while its stdin is blocked. */
  pong(payload: Buffer = Buffer.alloc(0)): void {
    this.#send(opcodes.pong, [payload]);
  }

  /**
   * Sends Close after all queued bytes, then reads and drops what comes until the peer's Close or FIN, then sends FIN. Settles, never
   * rejecting, when the socket is closed. The deadline starts anew while queued bytes leave.
   */
  close(code: number, reason = ''): Promise<void> {
    if (this.#state === 'open') {
      const frame = encodeFrame(opcodes.close, [closePayload(code, reason)], { key: this.#maskingKey() });
      this.#writer.writeApart(Buffer.concat(frame));
      this.#state = 'closing';
      this.#pingTimer?.cancel();
      this.#discard();
      this.#linger(this.#closeTimeoutMs);
    }
    return this.#closed.promise;
  }

  /** At once, without a Close; queued bytes are lost. */
  destroy(error?: Error): void {
    this.#end({ how: 'closed' });
    this.#socket.destroy(error);
  }

  /**
   * Stops reading until as many `resume` calls came. Pieces of bytes already read may still be given. Nothing is read meanwhile, so the
   * peer's pings and its Close wait too.
   */
  pause(): void {
    this.#pauses += 1;
    if (this.#state === 'open') this.#socket.pause();
  }

  resume(): void {
    if (this.#pauses === 0) return;
    this.#pauses -= 1;
    if (this.#pauses > 0) return;
    if (this.#hasStarted) this.#socket.resume();
    else process.nextTick(() => this.#start());
  }

  /** False while too much is queued. */
  get isWritable(): boolean {
    return this.#state === 'open' && this.#writer.isWritable;
  }

  /** Runs once at the next drain, or at once if writable. Never after the end. */
  onDrain(run: () => void): void {
    this.#writer.onDrain(() => {
      if (this.#state === 'open') run();
    });
  }

  #start(): void {
    if (this.#hasStarted || this.#socket.destroyed) return;
    if (this.#pauses > 0 && this.#state === 'open') return; // the last resume comes here again
    this.#hasStarted = true;
    const head = this.#head;
    this.#head = undefined;
    if (head !== undefined && head.length > 0) this.#onBytes(head);
    this.#socket.on('data', (chunk: Buffer) => this.#onBytes(chunk));
    if (this.#hasTransientReads) tapReads(this.#socket, (bytes) => this.#onBytes(bytes));
    if (this.#pauses > 0 && this.#state === 'open') this.#socket.pause();
    else this.#socket.resume();
    if (this.#socket.readableEnded) this.#onFin();
  }

  #onBytes(chunk: Buffer): void {
    this.#bytesIn += chunk.length;
    if (this.#state === 'ended') return;
    for (const event of this.#decoder.acceptChunk(chunk)) this.#onEvent(event);
    const { failure } = this.#decoder;
    if (failure === undefined || this.#isEnded()) return;
    this.#send(opcodes.close, [closePayload(failure.closeCode)]);
    this.#end({ how: 'error', error: failure });
  }

  /** Handlers may end the connection in the middle of a chunk; a method, since the compiler would hold `#state` for known. */
  #isEnded(): boolean {
    return this.#state === 'ended';
  }

  #onEvent(event: WebSocketEvent): void {
    if (this.#state === 'ended') return;
    switch (event.type) {
      case 'data':
        if (this.#state === 'open') this.#handlers.onData(event);
        return;
      case 'ping':
        this.#answer(event.payload);
        if (this.#state === 'open') this.#handlers.onPing?.(event.payload);
        return;
      case 'pong':
        if (event.payload.length === 4) this.#silence?.pongHeard(event.payload.readUInt32BE());
        if (this.#state === 'open') this.#handlers.onPong?.(event.payload);
        return;
      case 'close':
        // The same code back (section 5.5.1), unless ours went out before.
        this.#send(opcodes.close, [closePayload(event.code)]);
        this.#end({ how: 'close', code: event.code, reason: event.reason });
    }
  }

  #onFin(): void {
    // Bytes that came before the FIN may still be waiting for a resume.
    if (!this.#hasStarted && this.#head !== undefined && this.#state === 'open') return;
    this.#end(this.#state === 'closing' ? { how: 'closed' } : { how: 'fin' });
  }

  #onSocketClose(): void {
    this.#lingerTimer?.cancel();
    if (this.#state === 'closing') this.#end({ how: 'closed' });
    this.#end({
      how: 'error',
      error: this.#socket.errored ?? new KexerError('cut', 'The connection of a WebSocket was closed'),
    });
    this.#lingerTimer?.cancel();
    this.#closed.resolve();
  }

  /** Enters `ended`: nothing is given or taken any more; what is queued still leaves, then FIN. */
  #end(end: WebSocketEnd): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#pingTimer?.cancel();
    this.#owedPong = undefined;
    if (this.#socket.destroyed) {
      this.#writer.abandon();
    } else {
      this.#discard();
      this.#writer.end();
      this.#linger(Math.min(finTimeoutMs, this.#closeTimeoutMs));
    }
    this.#handlers.onEnd(end);
  }

  /** Reads on, dropping: only a socket whose received bytes were read is closed without a reset. */
  #discard(): void {
    if (this.#hasStarted) this.#socket.resume();
    else this.#start();
  }

  #linger(timeoutMs: number): void {
    this.#lingerTimer?.cancel();
    this.#unsent = this.#writer.queuedBytes;
    this.#lingerTimer = this.#clock.after(timeoutMs, () => {
      if (this.#writer.queuedBytes < this.#unsent) this.#linger(timeoutMs);
      else this.#giveUp();
    });
  }

  #giveUp(): void {
    this.#end({ how: 'closed' });
    this.#socket.destroy();
  }

  #send(opcode: number, parts: readonly Buffer[]): boolean {
    if (this.#state !== 'open' || this.#socket.destroyed) return true;
    if (opcode === opcodes.binary || opcode === opcodes.text) this.#silence?.payloadSent();
    const frame = encodeFrame(opcode, parts, { key: this.#maskingKey() });
    if (this.#isFrameApart) this.#writer.writeApart(...frame);
    else for (const bytes of frame) if (bytes.length > 0) this.#writer.write(bytes);
    return this.#writer.isWritable;
  }

  #maskingKey(): Uint8Array<ArrayBuffer> | undefined {
    return this.#role === 'client' ? randomFillSync(new Uint8Array(4)) : undefined;
  }

  /** Pings of a peer that does not read would fill the queue with pongs: then the latest one's answer will do (section 5.5.3). */
  #answer(payload: Buffer): void {
    if (this.isWritable) {
      this.#send(opcodes.pong, [payload]);
      return;
    }
    const isFirst = this.#owedPong === undefined;
    this.#owedPong = Buffer.from(payload); // what was read is gone by then
    if (!isFirst) return;
    this.onDrain(() => {
      if (this.#owedPong !== undefined) this.#send(opcodes.pong, [this.#owedPong]);
      this.#owedPong = undefined;
    });
  }

  #schedulePing(): void {
    if (this.#pingIntervalMs === undefined) return;
    this.#pingTimer = this.#clock.after(this.#pingIntervalMs, () => {
      if (this.#silence?.isDead({ bytesIn: this.#bytesIn, isPaused: this.#pauses > 0 }) === true) {
        this.#end({ how: 'error', error: new KexerError('timeout', 'it has answered no ping for too long') });
        this.#socket.destroy();
        return;
      }
      // A peer that reads nothing would only collect them.
      if (this.isWritable) this.#sendNumberedPing();
      this.#schedulePing();
    });
  }

  /** Its answer is told from that to an earlier one, and from pongs that nobody asked for. */
  #sendNumberedPing(): void {
    this.#pingCount = (this.#pingCount + 1) >>> 0;
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(this.#pingCount);
    this.ping(payload);
    this.#silence?.pingSent(this.#pingCount);
  }
}
