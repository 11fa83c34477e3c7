// One stream of an SPDY connection: what its owner may do with it, and the state of its two directions. The connection feeds it the
// peer's frames and carries its own; a stream never touches the socket.
//
// The peer's direction ends exactly once (`onEnd`), by FIN, RST or the end of the connection, always after its last byte. What we end
// ourselves (reset, or the connection's goaway and destroy) is not reported back: from then on no handler of the stream is called.

import { Buffer } from 'node:buffer';

import { rstStatus, type HeaderList } from '../protocol/spdy/frame.ts';

/**
 * How the peer's direction of a stream ended: `fin` half-close; `reset` RST_STREAM by the peer; `goaway` the connection ended in order
 * (Kubernetes peers end the error stream by RST or so); `cut` the connection ended without GOAWAY: nothing may be concluded from what came.
 */
export type SpdyStreamEnd = 'fin' | 'reset' | 'goaway' | 'cut';

export interface SpdyStreamHandlers {
  /** SYN_REPLY of a stream that we created. */
  onReply?(headers: HeaderList): void;
  /**
   * By reference into what the socket read, never to be changed, never empty. With `hasTransientReads` valid during this call only; to write
   * it elsewhere meanwhile is fine.
   */
  onData?(bytes: Buffer): void;
  /** The peer's direction is over: exactly once, after all onData; not called for what we ended ourselves. */
  onEnd?(how: SpdyStreamEnd): void;
}

export interface SpdyStream {
  readonly id: number;
  /** Of the SYN_STREAM, whoever sent it. */
  readonly headers: HeaderList;
  /** Both directions are over: ended, reset, or the connection is gone. Writes are then dropped. */
  readonly isClosed: boolean;
  /** SYN_REPLY was received (our stream) or sent (the peer's). */
  readonly isReplied: boolean;
  /** For a stream of the peer: before onStream returns, or bytes and end are missed. */
  setHandlers(handlers: SpdyStreamHandlers): void;
  /** Sends SYN_REPLY for a stream of the peer; idempotent. */
  reply(headers?: HeaderList): void;
  /**
   * Sends DATA frames of at most 64 KiB, copied at once. On a stream we created they are held until its reply, since spdystream drops DATA of
   * streams it has not replied to. False: the connection wants a pause, see onDrain.
   */
  write(bytes: Buffer): boolean;
  /** Sends FIN after what was written; idempotent. */
  end(): void;
  /** Sends RST_STREAM (CANCEL by default) and forgets the stream. */
  reset(status?: number): void;
}

/** What a stream needs of its connection. */
export interface SpdyStreamCarrier {
  isWritable(): boolean;
  sendReply(streamId: number, headers: HeaderList): void;
  sendData(streamId: number, bytes: Buffer): void;
  sendFin(streamId: number): void;
  sendReset(streamId: number, status: number): void;
  /** Bytes that a stream holds until its reply, as a difference: they count as queued. */
  countHeld(difference: number): void;
  forget(stream: OpenStream): void;
}

/** The stream as its connection sees it. */
export class OpenStream implements SpdyStream {
  readonly id: number;
  readonly headers: HeaderList;
  readonly isOurs: boolean;
  readonly #carrier: SpdyStreamCarrier;
  #handlers: SpdyStreamHandlers;
  #isReplied = false;
  #isLocalOver: boolean;
  #isRemoteOver = false;
  /** Set while a stream of ours waits for its reply and has something to send. */
  #held: { chunks: Buffer[]; bytes: number; hasEnd: boolean } | undefined;
  #sentRun: (() => void) | undefined;

  constructor(
    carrier: SpdyStreamCarrier,
    options: { id: number; headers: HeaderList; isOurs: boolean; isLocalOver: boolean; handlers: SpdyStreamHandlers },
  ) {
    this.#carrier = carrier;
    this.id = options.id;
    this.headers = options.headers;
    this.isOurs = options.isOurs;
    this.#isLocalOver = options.isLocalOver;
    this.#handlers = options.handlers;
  }

  get isClosed(): boolean {
    return this.#isLocalOver && this.#isRemoteOver;
  }

  get isReplied(): boolean {
    return this.#isReplied;
  }

  /** It has something to send and waits for its reply. */
  get isHolding(): boolean {
    return this.#held !== undefined;
  }

  /** Runs once when what it holds has been sent; one at a time. */
  onceSent(run: () => void): void {
    this.#sentRun = run;
  }

  setHandlers(handlers: SpdyStreamHandlers): void {
    this.#handlers = handlers;
  }

  reply(headers: HeaderList = []): void {
    if (this.isOurs || this.#isReplied || this.isClosed) return;
    this.#isReplied = true;
    this.#carrier.sendReply(this.id, headers);
  }

  write(bytes: Buffer): boolean {
    if (this.#isLocalOver || bytes.length === 0) return this.isClosed || this.#carrier.isWritable();
    if (this.#isReplied) this.#carrier.sendData(this.id, bytes);
    else if (this.isOurs) this.#hold(bytes);
    else {
      this.reply();
      this.#carrier.sendData(this.id, bytes);
    }
    return this.#carrier.isWritable();
  }

  end(): void {
    if (this.#isLocalOver) return;
    if (this.isOurs && !this.#isReplied) {
      this.#heldNow().hasEnd = true;
      return;
    }
    this.reply();
    this.#isLocalOver = true;
    this.#carrier.sendFin(this.id);
    if (this.#isRemoteOver) this.#carrier.forget(this);
  }

  reset(status: number = rstStatus.cancel): void {
    if (this.isClosed) return;
    this.abandon();
    this.#carrier.sendReset(this.id, status);
    this.#carrier.forget(this);
  }

  /** The peer replied. A second reply is ignored, as spdystream does. */
  acceptReply(headers: HeaderList, fin: boolean): void {
    if (!this.isOurs || this.#isReplied || this.isClosed) return;
    this.#isReplied = true;
    this.#sendHeld(); // before onReply, whose owner may write more
    this.#handlers.onReply?.(headers);
    if (fin) this.acceptFin();
  }

  acceptData(bytes: Buffer, fin: boolean): void {
    if (this.#isRemoteOver) return; // after its FIN: spdystream drops it too
    if (this.isOurs && !this.#isReplied) {
      // The draft (2.2.2) makes this an error of the stream. To drop the bytes, as spdystream does, would leave a hole in the data.
      this.#carrier.sendReset(this.id, rstStatus.protocolError);
      this.acceptReset();
      return;
    }
    if (bytes.length > 0) this.#handlers.onData?.(bytes);
    if (fin) this.acceptFin();
  }

  acceptFin(): void {
    if (this.#isRemoteOver) return;
    this.#isRemoteOver = true;
    if (this.#isLocalOver) this.#carrier.forget(this);
    this.#handlers.onEnd?.('fin');
  }

  acceptReset(): void {
    this.#carrier.forget(this);
    this.acceptConnectionEnd('reset');
  }

  /** Ends both directions without sending anything and tells the owner, unless it knows the peer's end already. */
  acceptConnectionEnd(how: SpdyStreamEnd): void {
    const wasRemoteOver = this.#isRemoteOver;
    this.abandon();
    if (!wasRemoteOver) this.#handlers.onEnd?.(how);
  }

  /** Ends both directions in silence. */
  abandon(): void {
    this.#isLocalOver = true;
    this.#isRemoteOver = true;
    this.#dropHeld();
  }

  #hold(bytes: Buffer): void {
    const held = this.#heldNow();
    if (held.hasEnd) return;
    held.chunks.push(Buffer.from(bytes)); // a copy, as everywhere: the bytes are the caller's again
    held.bytes += bytes.length;
    this.#carrier.countHeld(bytes.length);
  }

  #heldNow(): { chunks: Buffer[]; bytes: number; hasEnd: boolean } {
    this.#held ??= { chunks: [], bytes: 0, hasEnd: false };
    return this.#held;
  }

  #sendHeld(): void {
    const held = this.#held;
    if (held === undefined) return;
    // Sent first and uncounted after, so that nobody who waits for a drain sees room that is not there.
    for (const bytes of held.chunks) this.#carrier.sendData(this.id, bytes);
    this.#dropHeld();
    if (held.hasEnd) this.end();
    const run = this.#sentRun;
    this.#sentRun = undefined;
    run?.();
  }

  #dropHeld(): void {
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined && held.bytes > 0) this.#carrier.countHeld(-held.bytes);
  }
}
