// One request on an HTTP/2 connection, from the wait for one to the end of its answer: what came is handed to the sink or, while that is
// paused, held, at most the stream's window of it. The stream's window is all that a slow reader can take: the connection's is given back at
// once, so others on it go on. Ends cleanly only by END_STREAM with as many bytes as were announced.

import type { Buffer } from 'node:buffer';

import { ownBytes } from '../base/own-bytes.ts';
import { errorCode } from '../protocol/http2/frame.ts';
import { getHeader, type RawHeader, type RawHeaders } from '../protocol/raw-headers.ts';
import { type AnswerHead, answerHead, requestFields } from './http2-head.ts';
import type { AnswerController, AnswerSink, TransportRequest } from './transport.ts';
import { transportError } from './transport-error.ts';

/** What an exchange needs of the connection it is on. */
export interface StreamLink {
  /** More may come on the stream. */
  credit(streamId: number, bytes: number): void;
  /** RST_STREAM; nothing of the stream is handed on any more. */
  reset(streamId: number, code: number): void;
}

export interface ExchangeOwner {
  /** `host:port` and the path's prefix. */
  readonly authority: string;
  readonly basePath: string;
  /** It is over, whichever way. */
  forget(exchange: Http2Exchange): void;
  /** It was not processed: it may be sent another way. @param isHttp1Wanted the peer wants it by HTTP/1.1. */
  refused(exchange: Http2Exchange, isHttp1Wanted: boolean): void;
}

/**
 * What an answer may have waiting in kexer. At a round trip of a millisecond 128 MB a second, and 128 MiB for a thousand watches that all stand
 * still at full windows.
 */
export const streamWindowBytes = 128 * 1024;

export class Http2Exchange implements AnswerController {
  readonly #owner: ExchangeOwner;
  readonly #sink: AnswerSink;
  /** Until an answer has begun: it may have to be sent again. */
  #request: TransportRequest | undefined;
  /** How often it was given to a connection. */
  tries: number;
  /** On HTTP/1.1 in the end: that exchange. */
  #inner: AnswerController | undefined;
  #link: StreamLink | undefined;
  #streamId: number;
  #hasHead: boolean;
  /** Of the body, as announced; -1: not. */
  #bytesLeft: number;
  /** Received since the stream was last given room. */
  #uncreditedBytes: number;
  /** Received and not handed on, while paused. */
  #held: Buffer[] | undefined;
  #isPaused: boolean;
  /** END_STREAM has come. */
  #isWhole: boolean;
  #isOver: boolean;

  constructor(owner: ExchangeOwner, request: TransportRequest, sink: AnswerSink) {
    this.#owner = owner;
    this.#sink = sink;
    this.#request = request;
    this.tries = 0;
    this.#inner = undefined;
    this.#link = undefined;
    this.#streamId = 0;
    this.#hasHead = false;
    this.#bytesLeft = -1;
    this.#uncreditedBytes = 0;
    this.#held = undefined;
    this.#isPaused = false;
    this.#isWhole = false;
    this.#isOver = false;
  }

  pause(): void {
    this.#isPaused = true;
    this.#inner?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    if (this.#inner === undefined) this.#deliver();
    else this.#inner.resume();
  }

  abort(reason: Error): void {
    // On HTTP/1.1 by now: the sink hears it from there.
    this.#inner?.abort(reason);
    if (this.#isOver) return;
    this.#end(errorCode.cancel);
    this.#sink.onError(reason);
  }

  /** The fields to send. @throws Error of what may not stand in a head. */
  fields(): RawHeader[] {
    const { method = '', target = '', headers = [] } = this.#request ?? {};
    const { authority, basePath } = this.#owner;
    return requestFields({ method, authority, path: basePath + target, headers });
  }

  /** It was sent as this stream. */
  began(link: StreamLink, streamId: number): void {
    this.#link = link;
    this.#streamId = streamId;
    this.tries += 1;
  }

  /** Sends it by HTTP/1.1 instead. */
  divert(dispatch: (request: TransportRequest, sink: AnswerSink) => AnswerController): void {
    if (this.#isOver || this.#request === undefined) return;
    const request = this.#request;
    this.#leave();
    this.#isOver = true;
    this.#owner.forget(this);
    this.#inner = dispatch(request, this.#sink);
    if (this.#isPaused) this.#inner.pause();
  }

  /** A header block of the stream. */
  acceptHead(fields: RawHeaders, isEnd: boolean): void {
    if (this.#isOver) return;
    if (this.#hasHead) {
      // Trailers: HTTP/1.1's are not passed on either.
      if (isEnd) this.acceptEnd();
      else this.#breakOff(errorCode.protocolError, new Error('a second head in the middle of the answer'));
      return;
    }
    let head: AnswerHead;
    try {
      head = answerHead(fields);
    } catch (error) {
      this.#breakOff(errorCode.protocolError, error);
      return;
    }
    if (head.status < 200) {
      // 100, 103: the answer is still to come.
      if (isEnd) this.#breakOff(errorCode.protocolError, headless());
      return;
    }
    this.#hasHead = true;
    this.#request = undefined;
    this.#bytesLeft = announcedBytes(head);
    this.#sink.onHead(head, this);
    if (isEnd) this.acceptEnd();
  }

  /** A piece of the body; `flowBytes` counts against the window, padding included. */
  acceptData(bytes: Buffer, flowBytes: number): void {
    if (this.#isOver) return;
    if (!this.#hasHead) {
      this.#breakOff(errorCode.protocolError, headless());
      return;
    }
    this.#uncreditedBytes += flowBytes;
    if (this.#uncreditedBytes > streamWindowBytes) {
      this.#breakOff(errorCode.flowControlError, new Error('the apiserver sent more than the stream has room for'));
      return;
    }
    if (this.#bytesLeft >= 0) {
      this.#bytesLeft -= bytes.length;
      if (this.#bytesLeft < 0) {
        this.#breakOff(errorCode.protocolError, new Error('the body is longer than announced'));
        return;
      }
    }
    if (bytes.length > 0) {
      if (this.#isPaused || this.#held !== undefined) (this.#held ??= []).push(ownBytes(bytes));
      else this.#sink.onData(bytes);
    }
    this.#credit();
  }

  /** END_STREAM. */
  acceptEnd(): void {
    if (this.#isOver) return;
    if (this.#bytesLeft > 0) {
      this.#breakOff(errorCode.protocolError, new Error('the body was cut'));
      return;
    }
    this.#isWhole = true;
    this.#leave();
    this.#deliver();
  }

  /** RST_STREAM by the peer. */
  acceptReset(code: number): void {
    if (this.#isOver) return;
    const isRefused = code === errorCode.refusedStream || code === errorCode.http11Required;
    if (isRefused) this.refuse(code === errorCode.http11Required);
    else this.lost(connectionError(`the apiserver reset the stream (${code})`));
  }

  /** The peer said that it has not looked at the request. */
  refuse(isHttp1Wanted: boolean): void {
    if (this.#isOver) return;
    if (this.#hasHead) {
      this.lost(connectionError('the apiserver took back an answer that it had begun'));
      return;
    }
    this.#leave();
    this.#owner.refused(this, isHttp1Wanted);
  }

  /** Its connection, or the way to one, is gone. */
  lost(cause: unknown): void {
    if (this.#isOver) return;
    this.#end(undefined);
    this.#sink.onError(transportError(cause, this.#owner.authority, this.#hasHead));
  }

  /** Everything that is held, then the end if it has come. The sink may pause, or abort, in between. */
  #deliver(): void {
    while (!this.#isPaused && !this.#isOver) {
      const bytes = this.#held?.shift();
      if (bytes === undefined) break;
      this.#sink.onData(bytes);
    }
    if (this.#isPaused || this.#isOver) return;
    this.#held = undefined;
    this.#credit();
    if (!this.#isWhole) return;
    this.#end(undefined);
    this.#sink.onEnd();
  }

  /** Half a window at a time: a WINDOW_UPDATE for each piece would cost more than the piece. */
  #credit(): void {
    if (this.#held !== undefined || this.#uncreditedBytes < streamWindowBytes / 2) return;
    this.#link?.credit(this.#streamId, this.#uncreditedBytes);
    this.#uncreditedBytes = 0;
  }

  #breakOff(code: number, cause: unknown): void {
    this.#end(code);
    this.#sink.onError(transportError(cause, this.#owner.authority, this.#hasHead));
  }

  #leave(): void {
    this.#link = undefined;
  }

  #end(code: number | undefined): void {
    this.#isOver = true;
    this.#held = undefined;
    const link = this.#link;
    this.#leave();
    if (code !== undefined) link?.reset(this.#streamId, code);
    this.#owner.forget(this);
  }
}

/** A connection that died under the request: what `diedBeforeAnswer` knows from HTTP/1.1. */
export function connectionError(message: string): Error {
  return Object.assign(new Error(message), { code: 'ECONNRESET' });
}

function headless(): Error {
  return Object.assign(new Error('the answer has no head'), { code: 'HPE_INVALID_CONSTANT' });
}

function announcedBytes({ status, headers }: AnswerHead): number {
  const length = getHeader(headers, 'Content-Length');
  // A 304 announces the body that it does not have.
  return length === undefined || status === 304 || !/^\d{1,15}$/.test(length) ? -1 : Number(length);
}
