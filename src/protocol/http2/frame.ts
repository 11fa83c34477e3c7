// HTTP/2 as values (RFC 9113), as far as a client that sends no bodies needs it: the frames it receives, their numbers, and the limits a
// reader keeps. Nothing here touches a socket.

import type { Buffer } from 'node:buffer';

/** A part of a DATA frame, by reference into the chunk that carried it. */
export interface DataPiece {
  readonly type: 'data';
  readonly streamId: number;
  readonly bytes: Buffer;
  /** What counts against the windows: the bytes and, once a frame, its padding. */
  readonly flowBytes: number;
  /** END_STREAM; only with the last piece of its frame. */
  readonly isEnd: boolean;
}

/** HEADERS and its CONTINUATIONs, joined. */
export interface HeadersFrame {
  readonly type: 'headers';
  readonly streamId: number;
  readonly block: Buffer;
  readonly isEnd: boolean;
}

export interface RstStreamFrame {
  readonly type: 'rstStream';
  readonly streamId: number;
  readonly code: number;
}

export interface SettingsFrame {
  readonly type: 'settings';
  readonly isAck: boolean;
  /** In wire order; of a repeated one the last counts. */
  readonly values: readonly (readonly [id: number, value: number])[];
}

export interface PingFrame {
  readonly type: 'ping';
  readonly isAck: boolean;
  /** Eight bytes. */
  readonly opaque: Buffer;
}

export interface GoawayFrame {
  readonly type: 'goaway';
  readonly lastStreamId: number;
  readonly code: number;
}

/** Checked; without bodies there is nothing to do about it. */
export interface WindowUpdateFrame {
  readonly type: 'windowUpdate';
  readonly streamId: number;
  readonly increment: number;
}

export type Http2Frame =
  | DataPiece
  | HeadersFrame
  | RstStreamFrame
  | SettingsFrame
  | PingFrame
  | GoawayFrame
  | WindowUpdateFrame;

/** Section 6. */
export const frameType = Object.freeze({
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
});

/** END_STREAM and ACK are the same bit. */
export const frameFlag = Object.freeze({ endStream: 0x1, ack: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 });

/** Section 6.5.2. */
export const settingId = Object.freeze({
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
});

/** Section 7. */
export const errorCode = Object.freeze({
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  http11Required: 13,
});

/** Stream ids and windows have 31 bits. */
export const maxUint31 = 0x7f_ff_ff_ff;
/** SETTINGS_MAX_FRAME_SIZE as both sides begin; kexer never raises its own. */
export const defaultMaxFrameBytes = 16_384;
/** Windows as both sides begin. */
export const defaultWindowBytes = 65_535;
export const frameHeadBytes = 9;
