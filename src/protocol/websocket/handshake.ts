// The opening handshake of RFC 6455 as header lists: what a server reads and answers, what a client sends and checks.

import type { Buffer } from 'node:buffer';
import type { ResponseHead } from '../http-head.ts';
import type { RawHeaders } from '../raw-headers.ts';

/** `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`. */
export function acceptKey(_key: string): string {
  throw new Error('not written yet');
}

/** Whether `Connection` holds upgrade and `Upgrade` holds websocket. */
export function isWebSocketRequest(_headers: RawHeaders): boolean {
  throw new Error('not written yet');
}

export interface WebSocketOffer {
  readonly key: string;
  /** Subprotocols in the client's order. */
  readonly protocols: readonly string[];
}

/** Validates Upgrade, Connection, Version and Key. @throws KexerError badRequest */
export function readWebSocketRequest(_method: string, _headers: RawHeaders): WebSocketOffer {
  throw new Error('not written yet');
}

/** The 101 head. `protocol` undefined: no header; '' writes the empty one that Go's server writes when none was offered. */
export function websocketAccepted(_key: string, _protocol: string | undefined): Buffer {
  throw new Error('not written yet');
}

/** The headers of a client's request, Host excepted. `key` is 16 random bytes in base64. */
export function websocketRequestHeaders(_key: string, _protocols: readonly string[]): RawHeaders {
  throw new Error('not written yet');
}

/** Checks a server's 101 and gives the subprotocol it chose ('' for none). @throws KexerError badGateway */
export function checkWebSocketAccepted(_head: ResponseHead, _offer: WebSocketOffer): string {
  throw new Error('not written yet');
}
