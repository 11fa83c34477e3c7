// SPDY/3.1 as values: the frames an endpoint sends and receives, their numbers, and the limits a reader keeps. It follows
// draft-mbelshe-httpbis-spdy-00 (SPDY/3) as moby/spdystream implements it; "3.1" appears only in the Upgrade token, the version
// field on the wire is 3. Nothing here touches a socket.

import type { Buffer } from 'node:buffer';

/** Header fields in wire order; a value that carried NUL separators is already split into repeated names. */
export type HeaderList = readonly (readonly [name: string, value: string])[];

export interface SynStreamFrame {
  readonly type: 'synStream';
  readonly streamId: number;
  readonly associatedId: number;
  readonly priority: number;
  readonly fin: boolean;
  readonly unidirectional: boolean;
  readonly headers: HeaderList;
}

export interface SynReplyFrame {
  readonly type: 'synReply';
  readonly streamId: number;
  readonly fin: boolean;
  readonly headers: HeaderList;
}

export interface HeadersFrame {
  readonly type: 'headers';
  readonly streamId: number;
  readonly fin: boolean;
  readonly headers: HeaderList;
}

export interface RstStreamFrame {
  readonly type: 'rstStream';
  readonly streamId: number;
  readonly status: number;
}

/** Its content means nothing to kexer: it is checked and dropped. */
export interface SettingsFrame {
  readonly type: 'settings';
}

/** Read and ignored: no Kubernetes peer has flow control. */
export interface WindowUpdateFrame {
  readonly type: 'windowUpdate';
  readonly streamId: number;
  readonly delta: number;
}

export interface PingFrame {
  readonly type: 'ping';
  readonly id: number;
}

export interface GoawayFrame {
  readonly type: 'goaway';
  readonly lastStreamId: number;
  readonly status: number;
}

/** A piece of a DATA frame, by reference into the chunk that carried it. `fin` is set only on the last piece of a FIN frame. */
export interface DataPiece {
  readonly type: 'data';
  readonly streamId: number;
  readonly bytes: Buffer;
  readonly fin: boolean;
}

export type SpdyFrame =
  | SynStreamFrame
  | SynReplyFrame
  | HeadersFrame
  | RstStreamFrame
  | SettingsFrame
  | WindowUpdateFrame
  | PingFrame
  | GoawayFrame
  | DataPiece;

/** The version field of every control frame. */
export const spdyVersion = 3;

/** The length field has 24 bits. */
export const maxFrameLength = 0xff_ff_ff;

/** Stream ids have 31 bits; 0 is no stream. */
export const maxStreamId = 0x7f_ff_ff_ff;

/** Control frame types (section 2.6). 5 was NOOP and 10 is CREDENTIAL: unknown here, as in spdystream. */
export const frameType = Object.freeze({
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  headers: 8,
  windowUpdate: 9,
});

/** Flag bits; FIN is the same bit in control and data frames. */
export const frameFlag = Object.freeze({ fin: 0x01, unidirectional: 0x02 });

/** Status codes of RST_STREAM (section 2.6.3). Kubernetes sends CANCEL and PROTOCOL_ERROR. */
export const rstStatus = Object.freeze({
  protocolError: 1,
  invalidStream: 2,
  refusedStream: 3,
  unsupportedVersion: 4,
  cancel: 5,
  internalError: 6,
  flowControlError: 7,
  streamInUse: 8,
  streamAlreadyClosed: 9,
});

/** What a decoder accepts of a stranger. Every bound is per header block or control frame; DATA needs none, as it is not held. */
export interface SpdyLimits {
  /** Payload of one control frame, which is also the bound of a compressed header block. */
  readonly maxControlBytes: number;
  /** One header block after inflation. */
  readonly maxHeaderBlockBytes: number;
  /** Names in one header block, and values after the split at NUL. */
  readonly maxHeaders: number;
}

/** Kubernetes' header blocks have fewer than 200 bytes. The count is spdystream's; the sizes are below its own (1 MiB a field). */
export const defaultSpdyLimits: SpdyLimits = Object.freeze({
  maxControlBytes: 64 * 1024,
  maxHeaderBlockBytes: 1024 * 1024,
  maxHeaders: 1000,
});
