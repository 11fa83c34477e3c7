// Which streaming protocol a client and a server agree on, as kube-apiserver, kubelet and CRI server negotiate: pure functions from
// headers to a choice or to the refusal's exact bytes.

import type { RawHeaders } from './raw-headers.ts';

export type StreamKind = 'exec' | 'attach' | 'portforward' | 'log';

/** A refusal to send before any 101: `Content-Length` (and Date) are the sender's to add. */
export interface UpgradeRefusal {
  readonly isAccepted: false;
  readonly status: number;
  readonly headers: RawHeaders;
  readonly body: string;
}

export interface SpdyChoice {
  readonly isAccepted: true;
  /** To be echoed in X-Stream-Protocol-Version. */
  readonly protocol: string;
  /** 1 to 4 for exec and attach: below 4 the error stream is text. 4 for port-forward, where it means nothing. */
  readonly version: 1 | 2 | 3 | 4;
}

export interface WebSocketChoice {
  readonly isAccepted: true;
  /** To be echoed in Sec-WebSocket-Protocol; '' when none was offered. */
  readonly protocol: string;
  /** channels: {@link ChannelDecoder}; tunnel: SPDY bytes in binary messages; bytes: one-way log bytes. */
  readonly form: 'channels' | 'tunnel' | 'bytes';
  /** 5 has half-close; below 4 the error channel is text. */
  readonly version: 1 | 4 | 5;
  readonly isBase64: boolean;
}

/** By X-Stream-Protocol-Version (repeated lines and comma lists). */
export function negotiateSpdy(
  _kind: 'exec' | 'attach' | 'portforward',
  _headers: RawHeaders,
): SpdyChoice | UpgradeRefusal {
  throw new Error('not written yet');
}

/**
 * By the offered subprotocols. `generation` '1.35' knows neither v5 nor the tunnel, as kubelets do up to 1.35.
 */
export function negotiateWebSocket(
  _kind: StreamKind,
  _offered: readonly string[],
  _options: { generation?: '1.35' | '1.36' } = {},
): WebSocketChoice | UpgradeRefusal {
  throw new Error('not written yet');
}

/**
 * Takes the bearer token item (`base64url.bearer.authorization.k8s.io.…`) out of Sec-WebSocket-Protocol. Without one, `token` is
 * undefined and `headers` is what came. @throws KexerError unauthenticated if it is malformed, repeated, or the only item
 */
export function takeBearerProtocol(_headers: RawHeaders): { token: string | undefined; headers: RawHeaders } {
  throw new Error('not written yet');
}
