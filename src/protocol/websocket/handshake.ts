// The opening handshake of RFC 6455 (section 4) as header lists: what a server reads and answers, what a client sends and checks. No
// extension is ever offered or accepted.

import type { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { KexerError } from '../../base/errors.ts';
import { quote } from '../../base/quote.ts';
import { encodeResponseHead, type ResponseHead } from '../http-head.ts';
import { getAllHeaders, getHeader, hasToken, listItems, type RawHeader, type RawHeaders } from '../raw-headers.ts';

const magic = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`. */
export function acceptKey(key: string): string {
  return createHash('sha1')
    .update(key + magic)
    .digest('base64');
}

/** Whether `Connection` holds upgrade and `Upgrade` holds websocket. */
export function isWebSocketRequest(headers: RawHeaders): boolean {
  return hasToken(headers, 'Connection', 'upgrade') && hasToken(headers, 'Upgrade', 'websocket');
}

export interface WebSocketOffer {
  readonly key: string;
  /** Subprotocols in the client's order, of all header lines. */
  readonly protocols: readonly string[];
}

/** 16 bytes in base64; the last two bits of the last digit are free, and clients exist that set them. */
const keyPattern = /^[A-Za-z0-9+/]{22}==$/;

/** Validates method, Upgrade, Connection, Version and Key. @throws KexerError badRequest */
export function readWebSocketRequest(method: string, headers: RawHeaders): WebSocketOffer {
  if (method !== 'GET') throw refused(`the method is ${quote(method, 40)}, want GET`);
  if (!isWebSocketRequest(headers)) throw refused('want the headers Connection: Upgrade and Upgrade: websocket');
  const versions = getAllHeaders(headers, 'Sec-WebSocket-Version');
  if (versions.length !== 1 || versions[0] !== '13') {
    throw refused(`Sec-WebSocket-Version is ${quote(versions.join(', '), 40)}, want 13`);
  }
  const keys = getAllHeaders(headers, 'Sec-WebSocket-Key');
  const [key] = keys;
  if (key === undefined || keys.length !== 1 || !keyPattern.test(key)) {
    throw refused('Sec-WebSocket-Key is not one key of 16 bytes in base64');
  }
  return { key, protocols: listItems(headers, 'Sec-WebSocket-Protocol') };
}

function refused(text: string): KexerError {
  return new KexerError('badRequest', `Cannot open a WebSocket: ${text}`);
}

/**
 * The 101 head, in the order kubelets write it. `protocol` undefined: no such header; '' writes the empty one that Go's server
 * writes when none was offered (strict clients refuse that).
 */
export function websocketAccepted(key: string, protocol: string | undefined): Buffer {
  const headers: RawHeader[] = [
    ['Upgrade', 'websocket'],
    ['Connection', 'Upgrade'],
    ['Sec-WebSocket-Accept', acceptKey(key)],
  ];
  if (protocol !== undefined) headers.push(['Sec-WebSocket-Protocol', protocol]);
  return encodeResponseHead({ status: 101, headers });
}

/** The headers of a client's request, Host excepted. `key` is 16 random bytes in base64. */
export function websocketRequestHeaders(key: string, protocols: readonly string[]): RawHeaders {
  const headers: RawHeader[] = [
    ['Connection', 'Upgrade'],
    ['Upgrade', 'websocket'],
    ['Sec-WebSocket-Version', '13'],
    ['Sec-WebSocket-Key', key],
  ];
  if (protocols.length > 0) headers.push(['Sec-WebSocket-Protocol', protocols.join(', ')]);
  return headers;
}

/** Checks a server's 101 and gives the subprotocol it chose ('' for none). @throws KexerError badGateway */
export function checkWebSocketAccepted(head: ResponseHead, offer: WebSocketOffer): string {
  const { headers } = head;
  if (head.status !== 101) throw unusable(`its status is ${head.status}, want 101`);
  if (!isWebSocketRequest(headers)) throw unusable('it does not upgrade to websocket');
  if (getHeader(headers, 'Sec-WebSocket-Accept') !== acceptKey(offer.key))
    throw unusable('Sec-WebSocket-Accept is wrong');
  if (listItems(headers, 'Sec-WebSocket-Extensions').length > 0) throw unusable('it wants an extension nobody offered');
  const protocol = getHeader(headers, 'Sec-WebSocket-Protocol') ?? '';
  if (protocol !== '' && !offer.protocols.includes(protocol)) {
    throw unusable(`it chose the subprotocol ${quote(protocol, 80)}, which was not offered`);
  }
  return protocol;
}

function unusable(text: string): KexerError {
  return new KexerError('badGateway', `Cannot use the answer to a WebSocket request: ${text}`);
}
