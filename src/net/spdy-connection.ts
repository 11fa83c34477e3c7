// One SPDY/3.1 endpoint over a Duplex, in either role: the sandbox's servers and clients, kexer's two legs, and test clients. It
// follows spdystream (reference, section 7): ids and pings by parity, no flow control, GOAWAY ends everything at once.
//
// Frames of one connection are delivered synchronously, in the order they came. Backpressure is the owner's: pause() and resume()
// hold the whole socket, write() and onDrain() tell when. Whatever a peer does ends this connection alone, by onEnd, exactly once.
// A handler that throws ends it too (code `internal`), so that one session's defect is not the process's.

import type { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

import type { Clock, Timer } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { SpdyDecoder } from '../protocol/spdy/decoder.ts';
import { SpdyEncoder } from '../protocol/spdy/encoder.ts';
import {
  maxStreamId,
  rstStatus,
  type HeaderList,
  type SpdyFrame,
  type SpdyLimits,
  type SynStreamFrame,
} from '../protocol/spdy/frame.ts';
import { tapReads } from './read-tap.ts';
import { SilenceWatch } from './silence-watch.ts';
import { SocketWriter } from './socket-writer.ts';
import { SpdyPings } from './spdy-pings.ts';
import { OpenStream, type SpdyStream, type SpdyStreamCarrier, type SpdyStreamHandlers } from './spdy-stream.ts';

export type { SpdyStream, SpdyStreamEnd, SpdyStreamHandlers } from './spdy-stream.ts';

/**
 * How a connection ended: the peer's GOAWAY; its FIN without one; an error (socket, protocol, limit, or given to destroy); or us (destroy,
 * or goaway and then whatever end the peer made after all our bytes had left).
 */
export type SpdyEnd = { how: 'goaway' } | { how: 'fin' } | { how: 'error'; error: Error } | { how: 'closed' };

export interface SpdyConnectionHandlers {
  /** The peer opened a stream: call stream.setHandlers and stream.reply, or stream.reset, before returning. */
  onStream?(stream: SpdyStream): void;
  /** After the automatic echo. */
  onPing?(id: number): void;
  /** Exactly once, after onEnd of every open stream. Nothing is read afterwards; queued bytes still go out, unless it was an error. */
  onEnd(end: SpdyEnd): void;
  /** Exactly once, after onEnd: the socket is closed. */
  onClosed?(): void;
}

export interface SpdyConnectionOptions {
  readonly role: 'client' | 'server';
  /** Bytes that came with the upgrade head. */
  readonly head?: Buffer;
  readonly limits?: Partial<SpdyLimits>;
  /** Open streams that the peer may have; further ones are refused by RST_STREAM. Default 2000. */
  readonly maxStreams?: number;
  /** Sends a PING whenever nothing went either way for so long, a {@link SpdyConnection.pong} to a peer that is paused; default: never. */
  readonly pingIntervalMs?: number;
  /** Ends the connection when pings have gone unanswered for so long, as far as that proves anything: see silence-watch.ts. */
  readonly silenceLimitMs?: number;
  readonly isPeerKnownToAnswer?: boolean;
  /** A server behind an upgrade: client-go loses bytes that are sent before its first frame, so nothing is. */
  readonly isSilentUntilPeerSpeaks?: boolean;
  /** How long an ended connection waits for the peer to read and to close; starts again while queued bytes get fewer. Default 10 min. */
  readonly lingerTimeoutMs?: number;
  /**
   * How long after our GOAWAY has left our FIN waits for the peer's own end; default: not at all. A proxy between closes both its sides at the
   * first FIN, and what the peer had not read by then is lost if the proxy itself has unread bytes of the peer (its close is a reset).
   */
  readonly finDelayMs?: number;
  /** Bytes given to `onData` are valid during that call only, and cost less (read-tap.ts); small frames that came together are given as one. */
  readonly hasTransientReads?: boolean;
  /** Queued bytes at which isWritable becomes false; at least the socket's own mark. */
  readonly highWaterBytes?: number;
}

const defaultMaxStreams = 2000;
const defaultLingerTimeoutMs = 10 * 60 * 1000;

/** Payload of one DATA frame that we write, so that a status can always be put in soon after. */
const maxDataBytes = 64 * 1024;

/**
 * Bytes of PING echoes, SYN_REPLY and RST_STREAM that may wait while the peer does not read. They are the only output that a peer causes
 * by itself; 10,000 pings without reading one answer is no honest peer (client-go waits for each).
 */
const maxReplyBacklogBytes = 128 * 1024;

export class SpdyConnection {
  readonly #socket: Duplex;
  readonly #clock: Clock;
  readonly #options: Omit<SpdyConnectionOptions, 'head'>;
  readonly #handlers: SpdyConnectionHandlers;
  readonly #decoder: SpdyDecoder;
  readonly #encoder = new SpdyEncoder();
  readonly #writer: SocketWriter;
  readonly #streams = new Map<number, OpenStream>();
  readonly #carrier: SpdyStreamCarrier;
  #peerStreams = 0; // of #streams, those the peer opened
  #nextStreamId: number;
  #lastPeerStreamId = 0;
  #pauses = 0;
  #hasPeerSpoken = false;
  #heldBytes = 0; // by streams that wait for their reply
  #replyBacklog = 0;
  #bytesIn = 0;
  readonly #silence: SilenceWatch | undefined;
  readonly #pings: SpdyPings;
  #pingTimer: Timer | undefined;
  #trafficAtPingTimer = 0;
  #lingerTimer: Timer | undefined;
  #queuedAtLinger = 0;
  /** Set by our goaway(): we have said the last word and only wait for the peer's. */
  #isLeaving = false;
  #end: SpdyEnd | undefined;

  /** Takes the socket over: listens to it at once (errors first) and starts reading in the next turn, so that no handler is called before the constructor returns. */
  constructor(
    deps: { socket: Duplex; clock: Clock },
    options: SpdyConnectionOptions,
    handlers: SpdyConnectionHandlers,
  ) {
    this.#socket = deps.socket;
    this.#clock = deps.clock;
    const { head, ...kept } = options; // a slice of what was read would keep all of that alive
    this.#options = kept;
    this.#handlers = handlers;
    this.#decoder = new SpdyDecoder(options.limits, { isJoining: options.hasTransientReads === true });
    const { silenceLimitMs: limitMs, isPeerKnownToAnswer = false } = options;
    this.#silence = limitMs === undefined ? undefined : new SilenceWatch(deps, { limitMs, isPeerKnownToAnswer });
    const socket = this.#socket;
    socket.on('error', (error) => this.#acceptError(error));
    socket.on('close', () => this.#acceptClose());
    this.#writer = new SocketWriter(
      { socket },
      {
        isHeld: options.isSilentUntilPeerSpeaks === true,
        ...(options.highWaterBytes === undefined ? {} : { highWaterBytes: options.highWaterBytes }),
      },
    );
    this.#carrier = this.#makeCarrier();
    this.#nextStreamId = options.role === 'client' ? 1 : 2;
    const pingDeps = { encoder: this.#encoder, writer: this.#writer, silence: this.#silence };
    this.#pings = new SpdyPings(pingDeps, options.role);
    if (head !== undefined && head.length > 0 && socket.readable) socket.unshift(head);
    socket.on('data', (chunk: Buffer) => this.#acceptChunk(chunk));
    if (options.hasTransientReads === true) tapReads(socket, (bytes) => this.#acceptChunk(bytes));
    socket.on('end', () => this.#peerEnded({ how: 'fin' }));
    socket.resume();
    // A socket that died, or whose FIN was read, before it came here emits nothing any more.
    if (socket.closed) process.nextTick(() => this.#acceptClose());
    else if (socket.readableEnded) process.nextTick(() => this.#peerEnded({ how: 'fin' }));
    this.#armPing();
  }

  get bytesIn(): number {
    return this.#bytesIn;
  }

  get bytesOut(): number {
    return this.#writer.bytesOut;
  }

  /** Bytes written and not yet taken by the socket. */
  get queuedBytes(): number {
    return this.#writer.queuedBytes + this.#heldBytes;
  }

  get isEnded(): boolean {
    return this.#end !== undefined;
  }

  /** False while too many bytes wait for the socket. */
  get isWritable(): boolean {
    return this.#writer.isWritable;
  }

  /** Calls `run` once when the connection is writable again, at once if it is; never on a connection that ended. */
  onDrain(run: () => void): void {
    this.#writer.onDrain(run);
  }

  /** Sends SYN_STREAM. The stream is ready at onReply; what is written before is held. @throws KexerError 'cut' on a connection that has ended. */
  createStream(headers: HeaderList, handlers: SpdyStreamHandlers, options: { fin?: boolean } = {}): SpdyStream {
    if (this.#end !== undefined || this.#isLeaving) {
      throw new KexerError('cut', 'Cannot create an SPDY stream: the connection has ended');
    }
    const id = this.#nextStreamId;
    if (id > maxStreamId) throw new KexerError('overLimit', 'Cannot create an SPDY stream: all ids are used');
    const fin = options.fin === true;
    const frame = this.#encoder.synStream(id, headers, { fin });
    this.#nextStreamId += 2;
    const stream = new OpenStream(this.#carrier, { id, headers, isOurs: true, isLocalOver: fin, handlers });
    this.#streams.set(id, stream);
    this.#writer.write(frame);
    return stream;
  }

  /** Sends a PING now. Nothing is sent while a silent server waits for its client, or behind bytes that do not leave. */
  ping(): void {
    if (this.#end !== undefined || this.#isLeaving || this.#isSilent || !this.isWritable) return;
    this.#pings.send();
  }

  /**
   * An echo that the peer did not ask for and ignores. A peer that is not read cannot answer, and its own echo may get stuck behind what it sends;
   * yet only who is written to is seen to have gone: at once if by a reset, by the second time if by a FIN.
   */
  pong(): void {
    if (this.#end === undefined && !this.#isLeaving && !this.#isSilent && this.isWritable) this.#pings.sendUnasked();
  }

  /**
   * Runs once when the peer has read all that was written so far, what streams hold until their reply included: a PING goes behind it, and peers
   * echo in the order they read. Never on a connection that ends before.
   */
  onceRead(run: () => void): void {
    if (this.#end !== undefined || this.#isLeaving) return;
    const unreplied = [...this.#streams.values()].find((stream) => stream.isHolding);
    if (unreplied === undefined) this.#pings.send(run);
    else unreplied.onceSent(() => this.onceRead(run));
  }

  /** Stops reading the whole socket until each pause has its resume. Frames of the chunk in hand are still delivered. */
  pause(): void {
    this.#pauses += 1;
    if (this.#pauses === 1 && !this.#isLeaving && this.#end === undefined) this.#socket.pause();
  }

  resume(): void {
    if (this.#pauses === 0) return;
    this.#pauses -= 1;
    if (this.#pauses === 0) this.#socket.resume();
  }

  /**
   * GOAWAY and FIN (see `finDelayMs`) after all queued bytes. What the peer still sends is read and dropped until it closes, so that its reading is not cut by
   * a reset; then onEnd. No stream handler is called any more.
   */
  goaway(): void {
    if (this.#end !== undefined || this.#isLeaving) return;
    this.#isLeaving = true;
    this.#abandonStreams();
    this.#pingTimer?.cancel();
    const isSilent = this.#isSilent;
    if (!isSilent) this.#writer.write(this.#encoder.goaway(this.#lastPeerStreamId));
    const { finDelayMs = 0 } = this.#options;
    // A peer that was told nothing has only the FIN to go by.
    if (finDelayMs === 0 || isSilent) this.#linger();
    else this.#lingerBeforeFin(finDelayMs);
  }

  /** Closes the socket at once, queued bytes lost. With an error the end is `error` and streams are `cut`; without, it is `closed`. */
  destroy(error?: Error): void {
    if (error === undefined) this.#abandonStreams();
    this.#finish(error === undefined ? { how: 'closed' } : { how: 'error', error });
    this.#writer.abandon();
    this.#socket.destroy();
  }

  /** Bytes both ways without our pings, which would otherwise put off the next one. */
  get #traffic(): number {
    return this.#bytesIn + this.bytesOut - this.#pings.bytes;
  }

  get #isSilent(): boolean {
    return this.#options.isSilentUntilPeerSpeaks === true && !this.#hasPeerSpoken;
  }

  #makeCarrier(): SpdyStreamCarrier {
    return {
      isWritable: () => this.isWritable,
      sendReply: (streamId, headers) => this.#answer(this.#encoder.synReply(streamId, headers)),
      sendData: (streamId, bytes) => this.#sendData(streamId, bytes),
      sendFin: (streamId) => this.#writer.write(this.#encoder.dataHeader(streamId, 0, true)),
      sendReset: (streamId, status) => this.#answer(this.#encoder.rstStream(streamId, status)),
      countHeld: (difference) => this.#countHeld(difference),
      forget: (stream) => this.#forget(stream),
    };
  }

  #sendData(streamId: number, bytes: Buffer): void {
    this.#silence?.payloadSent();
    if (bytes.length <= maxDataBytes) {
      this.#writer.write(this.#encoder.dataHeader(streamId, bytes.length, false));
      this.#writer.write(bytes);
      return;
    }
    for (let from = 0; from < bytes.length; from += maxDataBytes) {
      this.#sendData(streamId, bytes.subarray(from, from + maxDataBytes));
    }
  }

  /** Sends a frame that the peer's own frames cause, within a bound. */
  #answer(frame: Buffer): void {
    this.#writer.write(frame);
    if (this.isWritable) {
      this.#replyBacklog = 0;
      return;
    }
    this.#replyBacklog += frame.length;
    if (this.#replyBacklog <= maxReplyBacklogBytes) return;
    this.destroy(
      new KexerError('overLimit', 'Cannot go on with an SPDY peer: it causes answers and does not read them'),
    );
  }

  #countHeld(difference: number): void {
    this.#heldBytes += difference;
    this.#writer.setHeldElsewhere(this.#heldBytes);
  }

  #forget(stream: OpenStream): void {
    if (this.#streams.delete(stream.id) && !stream.isOurs) this.#peerStreams -= 1;
  }

  #acceptChunk(chunk: Buffer): void {
    this.#bytesIn += chunk.length;
    if (this.#end !== undefined || this.#isLeaving) return;
    if (!this.#hasPeerSpoken) {
      this.#hasPeerSpoken = true;
      this.#writer.release();
    }
    try {
      for (const frame of this.#decoder.acceptChunk(chunk)) {
        this.#acceptFrame(frame);
        if (this.#end !== undefined || this.#isLeaving) return;
      }
      if (this.#decoder.failure !== undefined) this.destroy(this.#decoder.failure);
    } catch (error) {
      if (this.#end !== undefined) throw error; // out of onEnd: nobody is left who could be told
      const isOurs = error instanceof KexerError;
      this.destroy(
        isOurs ? error : new KexerError('internal', 'Cannot handle an SPDY frame: a handler threw', { cause: error }),
      );
    }
  }

  #acceptFrame(frame: SpdyFrame): void {
    switch (frame.type) {
      case 'data':
        this.#streams.get(frame.streamId)?.acceptData(frame.bytes, frame.fin);
        return;
      case 'synStream':
        this.#acceptSynStream(frame);
        return;
      case 'synReply':
        this.#streams.get(frame.streamId)?.acceptReply(frame.headers, frame.fin);
        return;
      case 'headers':
        if (frame.fin) this.#streams.get(frame.streamId)?.acceptFin();
        return;
      case 'rstStream':
        this.#streams.get(frame.streamId)?.acceptReset();
        return;
      case 'ping':
        this.#acceptPing(frame.id);
        return;
      case 'goaway':
        this.#peerEnded({ how: 'goaway' });
        return;
      case 'settings':
      case 'windowUpdate':
        return; // no Kubernetes peer acts on them
    }
  }

  #acceptSynStream(frame: SynStreamFrame): void {
    const id = frame.streamId;
    const isPeerId = id % 2 === (this.#options.role === 'client' ? 0 : 1);
    if (!isPeerId || id <= this.#lastPeerStreamId) {
      this.#answer(this.#encoder.rstStream(id, rstStatus.protocolError));
      return;
    }
    this.#lastPeerStreamId = id;
    if (this.#peerStreams >= (this.#options.maxStreams ?? defaultMaxStreams)) {
      this.#answer(this.#encoder.rstStream(id, rstStatus.refusedStream));
      return;
    }
    const stream = new OpenStream(this.#carrier, {
      id,
      headers: frame.headers,
      isOurs: false,
      isLocalOver: frame.unidirectional,
      handlers: {},
    });
    this.#streams.set(id, stream);
    this.#peerStreams += 1;
    if (this.#handlers.onStream === undefined) stream.reset(rstStatus.refusedStream);
    else this.#handlers.onStream(stream);
    if (frame.fin) stream.acceptFin();
  }

  #acceptPing(id: number): void {
    if (this.#pings.acceptEcho(id)) return;
    this.#answer(this.#encoder.ping(id));
    if (this.#end === undefined) this.#handlers.onPing?.(id);
  }

  #acceptError(error: Error): void {
    this.#lose(error);
    this.#socket.destroy();
  }

  #acceptClose(): void {
    if (this.#end === undefined) this.#lose(); // somebody else destroyed the socket
    this.#lingerTimer?.cancel();
    this.#writer.abandon();
    this.#handlers.onClosed?.();
  }

  #lose(cause?: Error): void {
    // After our goaway a peer may close by reset; that is its right once it has been given everything.
    if (this.#isLeaving && this.#writer.queuedBytes === 0) this.#finish({ how: 'closed' });
    else this.#finish({ how: 'error', error: lost(cause) });
  }

  /** The peer is done: our queued bytes and our FIN still go out to it. */
  #peerEnded(end: SpdyEnd): void {
    if (this.#end !== undefined) return; // a FIN that follows a GOAWAY
    this.#finish(this.#isLeaving ? { how: 'closed' } : end);
    if (!this.#socket.destroyed) this.#linger();
  }

  /** Spdystream and client-go close as soon as they have read a GOAWAY; who does not gets the FIN after all. */
  #lingerBeforeFin(delayMs: number): void {
    this.#socket.resume();
    this.#queuedAtLinger = this.#writer.queuedBytes;
    this.#lingerTimer = this.#clock.after(delayMs, () => {
      const { queuedBytes } = this.#writer;
      if (queuedBytes > 0 && queuedBytes < this.#queuedAtLinger) this.#lingerBeforeFin(delayMs);
      else this.#linger();
    });
  }

  /** FIN after all queued bytes, then reading into nothing until the peer closes or the time is over. */
  #linger(): void {
    this.#writer.end();
    this.#socket.resume();
    this.#armLinger();
  }

  #armLinger(): void {
    this.#lingerTimer?.cancel();
    this.#queuedAtLinger = this.#writer.queuedBytes;
    this.#lingerTimer = this.#clock.after(this.#options.lingerTimeoutMs ?? defaultLingerTimeoutMs, () => {
      if (this.#writer.queuedBytes < this.#queuedAtLinger) this.#armLinger();
      else this.destroy();
    });
  }

  #armPing(): void {
    const intervalMs = this.#options.pingIntervalMs;
    if (intervalMs === undefined) return;
    this.#trafficAtPingTimer = this.#traffic;
    this.#pingTimer = this.#clock.after(intervalMs, this.#onPingTimer);
  }

  readonly #onPingTimer = (): void => {
    if (this.#silence?.isDead({ bytesIn: this.#bytesIn, isPaused: this.#pauses > 0 }) === true) {
      this.destroy(new KexerError('timeout', 'it has answered no ping for too long'));
      return;
    }
    if (this.#traffic === this.#trafficAtPingTimer) {
      if (this.#pauses > 0) this.pong();
      else this.ping();
    }
    this.#armPing();
  };

  #abandonStreams(): void {
    for (const stream of this.#streams.values()) stream.abandon();
    this.#streams.clear();
    this.#peerStreams = 0;
  }

  #finish(end: SpdyEnd): void {
    if (this.#end !== undefined) return;
    this.#end = end; // first, so that handlers called below find an ended connection
    this.#pingTimer?.cancel();
    const how = end.how === 'goaway' ? 'goaway' : 'cut';
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    this.#peerStreams = 0;
    for (const stream of streams) stream.acceptConnectionEnd(how);
    this.#handlers.onEnd(end);
  }
}

function lost(cause?: Error): KexerError {
  const options = cause === undefined ? {} : { cause };
  return new KexerError('cut', 'Cannot go on with an SPDY connection: it was lost', options);
}
