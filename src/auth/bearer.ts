// The bearer token of a request: from Authorization, or from a WebSocket's subprotocol list, where browsers have to put it. Strict where
// Go is lenient, because the token goes out again: what was reviewed must be what is sent.

import { KexerError } from '../base/errors.ts';
import { getAllHeaders, hasToken, type RawHeaders, trimSpace } from '../protocol/raw-headers.ts';

/** Followed by the token in unpadded base64url. */
export const bearerProtocolPrefix = 'base64url.bearer.authorization.k8s.io.';

/** @returns undefined if the request shows no token. @throws KexerError unauthenticated if it shows one that has no one reading. */
export function bearerTokenOf(headers: RawHeaders): string | undefined {
  return tokenOfAuthorization(headers) ?? tokenOfWebSocket(headers);
}

function tokenOfAuthorization(headers: RawHeaders): string | undefined {
  const values = getAllHeaders(headers, 'Authorization');
  // Go reads the first and drops the rest; a middlebox may read the last.
  if (values.length > 1) throw refuse('there is more than one Authorization header');
  const [scheme = '', token, ...rest] = trimSpace(values[0] ?? '').split(' ');
  if (scheme.toLowerCase() !== 'bearer' || token === undefined || token === '') return undefined;
  if (rest.length > 0) throw refuse('there is more than a token in it');
  return checked(token);
}

function tokenOfWebSocket(headers: RawHeaders): string | undefined {
  if (!hasToken(headers, 'Connection', 'upgrade') || !hasToken(headers, 'Upgrade', 'websocket')) return undefined;
  const items = getAllHeaders(headers, 'Sec-WebSocket-Protocol').flatMap((value) => value.split(',').map(trimSpace));
  const tokens = items.filter((item) => item.startsWith(bearerProtocolPrefix));
  const [first] = tokens;
  if (first === undefined) return undefined;
  if (tokens.length > 1) throw refuse('multiple base64.bearer.authorization tokens specified');
  const encoded = first.slice(bearerProtocolPrefix.length);
  if (encoded === '') return undefined;
  if (!/^[A-Za-z0-9_-]+$/.test(encoded) || encoded.length % 4 === 1) {
    throw refuse('invalid base64.bearer.authorization token');
  }
  // One must be left to be echoed to the client.
  if (items.length === 1) throw refuse('missing additional subprotocol');
  return checked(Buffer.from(encoded, 'base64url').toString('latin1'));
}

/** Only what can stand in an Authorization header as one word. */
function checked(token: string): string {
  if (!/^[\x21-\x7e]+$/.test(token)) throw refuse('it has characters that no token has');
  return token;
}

function refuse(reason: string): KexerError {
  return new KexerError('unauthenticated', `Cannot take the bearer token: ${reason}`);
}
