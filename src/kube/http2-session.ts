// One HTTP/2 connection to an apiserver, once TLS has chosen it: requests without bodies out, answers in, many at a time. Not node:http2: a stream of
// its client costs 13 KiB, here 1, and a reset that meets a write under way can be lost in it, after which nothing ever ends. Finds a dead peer
// by pings as Go's client does, and closes itself when it has been idle.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

import type { Clock, Timer } from '../base/clock.ts';
import { codeOf, describeError, KexerError } from '../base/errors.ts';
import {
  defaultWindowBytes,
  errorCode,
  type GoawayFrame,
  type HeadersFrame,
  type Http2Frame,
  settingId,
  type SettingsFrame,
} from '../protocol/http2/frame.ts';
import { FrameReader } from '../protocol/http2/frame-reader.ts';
import {
  connectionPreface,
  encodeGoaway,
  encodePing,
  encodeRequestHead,
  encodeRstStream,
  encodeSettings,
  encodeSettingsAck,
  encodeWindowUpdate,
} from '../protocol/http2/frame-writer.ts';
import { HeaderDecoder } from '../protocol/http2/header-decoder.ts';
import { connectionError, type Http2Exchange, type StreamLink, streamWindowBytes } from './http2-exchange.ts';
import { idleConnectionMs, maxHeadBytes } from './transport.ts';

export interface SessionOwner {
  /** The peer has said what it allows: requests may be sent. Once at most. */
  ready(): void;
  /** Nothing may be begun any more; what runs goes on. */
  retired(): void;
  /** The connection is gone. Whatever was on it has heard it. */
  closed(cause: Error): void;
}

/** As kube-apiserver allows by default: more on one connection would only share its loss and its window. */
export const maxStreams = 100;
/** What all streams together may have under way: no stream's share is ever another's. */
const connectionWindowBytes = maxStreams * streamWindowBytes;
/** Go's client for Kubernetes: a ping after so long without a frame, and so long for its answer. */
const readIdleMs = 30_000;
const pingTimeoutMs = 15_000;
/**
 * For so long, at most twice, the place of a stream that kexer has reset stays taken. To the peer it is open until its handler has seen that; and Go's server ends a
 * connection with everything on it when a client begins and resets faster than handlers end, which one caller could then do to others.
 */
const resetCoolingMs = 1000;
/** Unread answers to pings and settings; a peer that lets so much pile up does not read. */
const maxUnwrittenBytes = 1024 * 1024;
/** Ids are odd and have 31 bits; a connection that comes near has lived long enough. */
const lastStreamId = 2 ** 30;
const pingBytes = encodePing(Buffer.alloc(8), false);

export class Http2Session implements StreamLink {
  readonly #socket: Duplex & { ref?(): unknown; unref?(): unknown };
  readonly #clock: Clock;
  readonly #owner: SessionOwner;
  readonly #reader: FrameReader;
  readonly #headers: HeaderDecoder;
  readonly #exchanges: Map<number, Http2Exchange>;
  #nextStreamId: number;
  #peerMaxStreams: number;
  #isReady: boolean;
  #isRetired: boolean;
  #closeCause: Error | undefined;
  #uncreditedBytes: number;
  /** Streams reset in this period and in the one before. */
  #coolingNew: number;
  #coolingOld: number;
  #coolingTimer: Timer | undefined;
  /** What this turn of the event loop writes. */
  #unsent: Buffer[];
  #unsentBytes: number;
  #lastReadMs: number;
  #readTimer: Timer | undefined;
  #idleTimer: Timer | undefined;
  #idleSinceMs: number;

  /** @param socket connected, ALPN h2; it belongs to the session from now on. */
  constructor(deps: { socket: Duplex; clock: Clock }, owner: SessionOwner) {
    this.#socket = deps.socket;
    this.#clock = deps.clock;
    this.#owner = owner;
    this.#reader = new FrameReader({ maxBlockBytes: maxHeadBytes });
    this.#headers = new HeaderDecoder({ maxListBytes: maxHeadBytes });
    this.#exchanges = new Map();
    this.#nextStreamId = 1;
    this.#peerMaxStreams = maxStreams;
    this.#isReady = false;
    this.#isRetired = false;
    this.#closeCause = undefined;
    this.#uncreditedBytes = 0;
    this.#coolingNew = 0;
    this.#coolingOld = 0;
    this.#coolingTimer = undefined;
    this.#unsent = [];
    this.#unsentBytes = 0;
    this.#lastReadMs = deps.clock.monotonic();
    this.#readTimer = undefined;
    this.#idleTimer = undefined;
    this.#idleSinceMs = 0;
    const { socket } = deps;
    socket.on('error', (error) => this.destroy(error));
    socket.on('end', () => this.destroy(connectionError('the apiserver closed the connection')));
    socket.on('close', () => this.destroy(connectionError('the connection was closed')));
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    this.#write(connectionPreface);
    this.#write(
      encodeSettings([
        [settingId.enablePush, 0],
        [settingId.initialWindowSize, streamWindowBytes],
        [settingId.maxHeaderListSize, maxHeadBytes],
      ]),
    );
    this.#write(encodeWindowUpdate(0, connectionWindowBytes - defaultWindowBytes));
    this.#awaitFrames(readIdleMs);
  }

  /** How many requests more may be begun now; 0 when it is retired. */
  get room(): number {
    if (this.#isRetired) return 0;
    const taken = this.#exchanges.size + this.#coolingNew + this.#coolingOld;
    return Math.max(0, Math.min(maxStreams, this.#peerMaxStreams) - taken);
  }

  /** Sends the request of `exchange`. There must be room. */
  begin(exchange: Http2Exchange): void {
    const fields = exchange.fields();
    const streamId = this.#nextStreamId;
    this.#nextStreamId += 2;
    if (this.#exchanges.size === 0) this.#socket.ref?.();
    this.#exchanges.set(streamId, exchange);
    exchange.began(this, streamId);
    this.#write(encodeRequestHead(streamId, fields, streamId === 1));
    if (this.#nextStreamId > lastStreamId) this.#retire();
  }

  credit(streamId: number, bytes: number): void {
    if (this.#exchanges.has(streamId)) this.#write(encodeWindowUpdate(streamId, bytes));
  }

  reset(streamId: number, code: number): void {
    if (!this.#exchanges.has(streamId)) return;
    this.#write(encodeRstStream(streamId, code));
    this.#coolingNew += 1;
    this.#coolingTimer ??= this.#clock.after(resetCoolingMs, () => this.#cool());
    this.#forget(streamId);
  }

  /** Begins nothing any more and closes when the last answer is complete. */
  close(): void {
    this.#retire();
  }

  /** Ends the connection at once; what is under way is lost by `cause`. */
  destroy(cause: Error): void {
    if (this.#closeCause !== undefined) return;
    this.#closeCause = cause;
    this.#isRetired = true;
    this.#readTimer?.cancel();
    this.#idleTimer?.cancel();
    this.#coolingTimer?.cancel();
    this.#flush();
    this.#socket.destroy();
    const lost = [...this.#exchanges.values()];
    this.#exchanges.clear();
    for (const exchange of lost) exchange.lost(cause);
    this.#owner.closed(cause);
  }

  #cool(): void {
    this.#coolingOld = this.#coolingNew;
    this.#coolingNew = 0;
    this.#coolingTimer = this.#coolingOld === 0 ? undefined : this.#clock.after(resetCoolingMs, () => this.#cool());
  }

  #read(chunk: Buffer): void {
    this.#lastReadMs = this.#clock.monotonic();
    try {
      this.#reader.acceptChunk(chunk, (frame) => {
        if (this.#closeCause === undefined) this.#accept(frame);
      });
    } catch (error) {
      const code = codeOf(error);
      if (code !== 'protocol' && code !== 'tooLarge') throw error;
      // The peer is told; the words for those whose answers it breaks are those of a parser of HTTP/1.1.
      this.#write(encodeGoaway(code === 'protocol' ? errorCode.protocolError : errorCode.frameSizeError));
      this.destroy(Object.assign(new Error(describeError(error)), { code: 'HPE_INVALID_CONSTANT' }));
    }
  }

  #accept(frame: Http2Frame): void {
    if (!this.#isReady && frame.type !== 'settings') {
      throw new KexerError('protocol', `Cannot speak HTTP/2 with the apiserver: it begins with ${frame.type}`);
    }
    switch (frame.type) {
      case 'data':
        this.#uncreditedBytes += frame.flowBytes;
        if (this.#uncreditedBytes > connectionWindowBytes / 4) {
          this.#write(encodeWindowUpdate(0, this.#uncreditedBytes));
          this.#uncreditedBytes = 0;
        }
        this.#requireBegun(frame.streamId);
        this.#exchanges.get(frame.streamId)?.acceptData(frame.bytes, frame.flowBytes);
        if (frame.isEnd) this.#ended(frame.streamId)?.acceptEnd();
        return;
      case 'headers':
        this.#acceptHeaders(frame);
        return;
      case 'rstStream':
        this.#requireBegun(frame.streamId);
        this.#ended(frame.streamId)?.acceptReset(frame.code);
        return;
      case 'settings':
        this.#acceptSettings(frame);
        return;
      case 'ping':
        if (!frame.isAck) this.#write(encodePing(frame.opaque, true));
        return;
      case 'goaway':
        this.#acceptGoaway(frame);
        return;
      case 'windowUpdate': // there are no bodies to send
    }
  }

  #acceptHeaders({ streamId, block, isEnd }: HeadersFrame): void {
    this.#requireBegun(streamId);
    // Decoded even if nobody waits for it any more: the next block builds on it.
    const { headers, isTooLarge } = this.#headers.decode(block);
    const exchange = this.#exchanges.get(streamId);
    if (exchange === undefined) return;
    if (isTooLarge) {
      this.reset(streamId, errorCode.cancel);
      exchange.lost(Object.assign(new Error('the head of the answer is too large'), { code: 'HPE_HEADER_OVERFLOW' }));
      return;
    }
    if (isEnd) this.#ended(streamId);
    exchange.acceptHead(headers, isEnd);
  }

  #acceptSettings({ isAck, values }: SettingsFrame): void {
    if (isAck) return;
    for (const [id, value] of values) if (id === settingId.maxConcurrentStreams) this.#peerMaxStreams = value;
    this.#write(encodeSettingsAck());
    if (this.#isReady) return;
    this.#isReady = true;
    this.#owner.ready();
    this.#awaitIdle();
  }

  #acceptGoaway({ lastStreamId: last }: GoawayFrame): void {
    // Before those that were not looked at are sent again: not here.
    this.#retire();
    for (const [streamId, exchange] of this.#exchanges) {
      if (streamId <= last) continue;
      this.#exchanges.delete(streamId);
      exchange.refuse(false);
    }
    this.#awaitIdle();
  }

  /** A stream that kexer has not begun cannot have an answer. */
  #requireBegun(streamId: number): void {
    if (streamId % 2 === 1 && streamId < this.#nextStreamId) return;
    throw new KexerError('protocol', `Cannot speak HTTP/2 with the apiserver: it answers on stream ${streamId}`);
  }

  /** Takes a stream out that the peer has ended. */
  #ended(streamId: number): Http2Exchange | undefined {
    const exchange = this.#exchanges.get(streamId);
    if (exchange !== undefined) this.#forget(streamId);
    return exchange;
  }

  #forget(streamId: number): void {
    this.#exchanges.delete(streamId);
    this.#awaitIdle();
  }

  #retire(): void {
    if (!this.#isRetired) {
      this.#isRetired = true;
      this.#owner.retired();
    }
    this.#awaitIdle();
  }

  /** Nothing is under way: the connection does not keep the process any more and ends after a while, a retired one now. */
  #awaitIdle(): void {
    if (this.#exchanges.size > 0 || this.#closeCause !== undefined) return;
    this.#socket.unref?.();
    this.#idleSinceMs = this.#clock.monotonic();
    if (this.#isRetired) {
      this.#idleTimer?.cancel();
      this.#idleTimer = this.#clock.after(0, () => this.#closeIdle());
    } else if (this.#idleTimer === undefined) {
      this.#armIdleTimer(idleConnectionMs);
    }
  }

  /** One timer for many calls: it looks how long the connection has been idle when it is due. */
  #armIdleTimer(delayMs: number): void {
    this.#idleTimer = this.#clock.after(delayMs, () => {
      this.#idleTimer = undefined;
      if (this.#exchanges.size > 0) return;
      const leftMs = this.#idleSinceMs + idleConnectionMs - this.#clock.monotonic();
      if (leftMs > 0) this.#armIdleTimer(leftMs);
      else this.#closeIdle();
    });
  }

  #closeIdle(): void {
    if (this.#exchanges.size > 0) return;
    if (!this.#isRetired) {
      this.#isRetired = true;
      this.#owner.retired();
    }
    // What was written leaves first; a peer that does not take it is found by its silence.
    this.#socket.once('finish', () => this.destroy(connectionError('the connection was idle')));
    this.#write(encodeGoaway(errorCode.noError));
    this.#flush();
    this.#socket.end();
  }

  #awaitFrames(delayMs: number): void {
    this.#readTimer = this.#clock.after(delayMs, () => {
      const silentMs = this.#clock.monotonic() - this.#lastReadMs;
      if (silentMs < readIdleMs) {
        this.#awaitFrames(readIdleMs - silentMs);
        return;
      }
      const askedMs = this.#clock.monotonic();
      this.#write(pingBytes);
      this.#readTimer = this.#clock.after(pingTimeoutMs, () => {
        if (this.#lastReadMs >= askedMs) this.#awaitFrames(readIdleMs);
        else this.destroy(connectionError(`the apiserver has not answered a ping for ${pingTimeoutMs} ms`));
      });
    });
  }

  /** What a turn of the event loop writes leaves at its end as one: requests of many callers are one record of TLS and one system call. */
  #write(bytes: Buffer): void {
    if (this.#closeCause !== undefined || !this.#socket.writable) return;
    this.#unsent.push(bytes);
    this.#unsentBytes += bytes.length;
    if (this.#unsent.length === 1) setImmediate(() => this.#flush());
    if (this.#socket.writableLength + this.#unsentBytes > maxUnwrittenBytes) {
      this.destroy(connectionError('the apiserver does not read'));
    }
  }

  #flush(): void {
    const [first] = this.#unsent;
    if (first === undefined) return;
    const bytes = this.#unsent.length === 1 ? first : Buffer.concat(this.#unsent, this.#unsentBytes);
    this.#unsent = [];
    this.#unsentBytes = 0;
    if (this.#socket.writable) this.#socket.write(bytes);
  }
}
