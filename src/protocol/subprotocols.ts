// Which streaming protocol a client and a server agree on, as kube-apiserver, kubelet and CRI server negotiate: pure functions from
// headers to a choice, or to the refusal's exact bytes as recorded from a kubelet. A client's own order of preference decides, except
// that v5 and the tunnel win wherever they stand in the list: kube-apiserver and kubelets look for them first.

import { Buffer } from 'node:buffer';
import { KexerError } from '../base/errors.ts';
import { getAllHeaders, listItems, type RawHeaders, withHeader, withoutHeaders } from './raw-headers.ts';

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
  /** channels: ChannelDecoder reads them; tunnel: SPDY bytes in binary messages; bytes: one-way log bytes. */
  readonly form: 'channels' | 'tunnel' | 'bytes';
  /** 5 has half-close; below 4 the error channel is text. */
  readonly version: 1 | 4 | 5;
  readonly isBase64: boolean;
}

export const spdyProtocolHeader = 'X-Stream-Protocol-Version';
const spdyAcceptedHeader = 'X-Accepted-Stream-Protocol-Versions';
const websocketProtocolHeader = 'Sec-WebSocket-Protocol';

/** In the order a CRI server names them. v5 over SPDY would be v4; none chooses it. */
const spdyExecProtocols = ['v4.channel.k8s.io', 'v3.channel.k8s.io', 'v2.channel.k8s.io', 'channel.k8s.io'] as const;
const spdyPortForwardProtocols = ['portforward.k8s.io'] as const;

const spdyVersions: Readonly<Record<string, SpdyChoice['version']>> = {
  'v4.channel.k8s.io': 4,
  'v3.channel.k8s.io': 3,
  'v2.channel.k8s.io': 2,
  'channel.k8s.io': 1,
  'portforward.k8s.io': 4,
};

/** By X-Stream-Protocol-Version (repeated lines and comma lists). */
export function negotiateSpdy(
  kind: 'exec' | 'attach' | 'portforward',
  headers: RawHeaders,
): SpdyChoice | UpgradeRefusal {
  const served: readonly string[] = kind === 'portforward' ? spdyPortForwardProtocols : spdyExecProtocols;
  const offered = listItems(headers, spdyProtocolHeader);
  if (offered.length === 0) {
    return refusal(
      400,
      `header ${spdyProtocolHeader} does not exist in request with ${goHeaderCount(headers)} headers`,
    );
  }
  const protocol = offered.find((item) => served.includes(item));
  const version = protocol === undefined ? undefined : spdyVersions[protocol];
  if (protocol !== undefined && version !== undefined) return { isAccepted: true, protocol, version };
  const text = `unable to negotiate protocol: client supports [${offered.join(' ')}], server accepts [${served.join(' ')}]`;
  return refusal(403, text, served);
}

/** The text stands twice, as recorded: Go's Handshake and its caller both write it. */
function refusal(status: number, text: string, accepted: readonly string[] = []): UpgradeRefusal {
  const line = `unable to upgrade: ${text}\n`;
  return {
    isAccepted: false,
    status,
    headers: [
      ['Content-Type', 'text/plain; charset=utf-8'],
      ...accepted.map((protocol) => [spdyAcceptedHeader, protocol] as const),
      ['X-Content-Type-Options', 'nosniff'],
    ],
    body: line + line,
  };
}

/** Go counts names, not lines, and keeps Host apart. */
function goHeaderCount(headers: RawHeaders): number {
  const names = new Set(headers.map(([name]) => name.toLowerCase()));
  names.delete('host');
  return names.size;
}

const channelForms: Readonly<Record<string, Pick<WebSocketChoice, 'version' | 'isBase64'>>> = {
  '': { version: 1, isBase64: false },
  'channel.k8s.io': { version: 1, isBase64: false },
  'base64.channel.k8s.io': { version: 1, isBase64: true },
  'v4.channel.k8s.io': { version: 4, isBase64: false },
  'v4.base64.channel.k8s.io': { version: 4, isBase64: true },
};
const portForwardForms: Readonly<Record<string, Pick<WebSocketChoice, 'version' | 'isBase64'>>> = {
  '': { version: 4, isBase64: false },
  'v4.channel.k8s.io': { version: 4, isBase64: false },
  'v4.base64.channel.k8s.io': { version: 4, isBase64: true },
};
const logForms: Readonly<Record<string, Pick<WebSocketChoice, 'version' | 'isBase64'>>> = {
  '': { version: 1, isBase64: false },
  'binary.k8s.io': { version: 1, isBase64: false },
  'base64.binary.k8s.io': { version: 1, isBase64: true },
};

const version5 = 'v5.channel.k8s.io';
const tunnelPrefix = 'SPDY/3.1+';

export interface WebSocketNegotiationOptions {
  /** '1.35' knows neither v5 nor the tunnel, as kubelets do up to 1.35; default '1.36'. */
  readonly generation?: '1.35' | '1.36' | undefined;
}

/** By the offered subprotocols, bearer token items already taken out. */
export function negotiateWebSocket(
  kind: StreamKind,
  offered: readonly string[],
  options: WebSocketNegotiationOptions = {},
): WebSocketChoice | UpgradeRefusal {
  if (options.generation !== '1.35') {
    const first = kind === 'portforward' ? negotiateTunnel(offered) : negotiateVersion5(kind, offered);
    if (first !== undefined) return first;
  }
  const forms = kind === 'log' ? logForms : kind === 'portforward' ? portForwardForms : channelForms;
  for (const protocol of offered.length === 0 ? [''] : offered) {
    const form = Object.hasOwn(forms, protocol) ? forms[protocol] : undefined;
    if (form !== undefined) {
      return { isAccepted: true, protocol, form: kind === 'log' ? 'bytes' : 'channels', ...form };
    }
  }
  // golang.org/x/net/websocket writes a bare status line and closes.
  return { isAccepted: false, status: 403, headers: [['Connection', 'close']], body: '' };
}

function negotiateVersion5(kind: StreamKind, offered: readonly string[]): WebSocketChoice | undefined {
  if (kind === 'log' || !offered.includes(version5)) return undefined;
  return { isAccepted: true, protocol: version5, form: 'channels', version: 5, isBase64: false };
}

/** A tunnel of a protocol that is not port-forward's reaches the SPDY negotiation behind it, and gets its refusal. */
function negotiateTunnel(offered: readonly string[]): WebSocketChoice | UpgradeRefusal | undefined {
  const inner = offered.filter((item) => item.startsWith(tunnelPrefix)).map((item) => item.slice(tunnelPrefix.length));
  if (inner.length === 0) return undefined;
  const choice = negotiateSpdy(
    'portforward',
    inner.map((protocol) => [spdyProtocolHeader, protocol]),
  );
  if (!choice.isAccepted) return choice;
  return { isAccepted: true, protocol: tunnelPrefix + choice.protocol, form: 'tunnel', version: 4, isBase64: false };
}

const bearerPrefix = 'base64url.bearer.authorization.k8s.io.';

/**
 * Takes the bearer token item (`base64url.bearer.authorization.k8s.io.…`) out of Sec-WebSocket-Protocol, as
 * k8s.io/apiserver/pkg/authentication/request/websocket does: browsers cannot set an Authorization header. Without one, `token` is
 * undefined and `headers` is what came. @throws KexerError unauthenticated if it is malformed, repeated, or the only item
 */
export function takeBearerProtocol(headers: RawHeaders): { token: string | undefined; headers: RawHeaders } {
  if (!getAllHeaders(headers, websocketProtocolHeader).some((value) => value.includes(bearerPrefix))) {
    return { token: undefined, headers };
  }
  const items = listItems(headers, websocketProtocolHeader);
  const bearers = items.filter((item) => item.startsWith(bearerPrefix));
  const others = items.filter((item) => !item.startsWith(bearerPrefix));
  const [bearer] = bearers;
  if (bearer === undefined) return { token: undefined, headers };
  if (bearers.length > 1) throw badBearer('multiple base64.bearer.authorization tokens specified');
  if (others.length === 0) throw badBearer('missing additional subprotocol');
  const token = decodeToken(bearer.slice(bearerPrefix.length));
  const rest = withoutHeaders(headers, websocketProtocolHeader);
  return { token, headers: withHeader(rest, websocketProtocolHeader, others.join(',')) };
}

function decodeToken(encoded: string): string {
  const bytes = /^[A-Za-z0-9_-]+$/.test(encoded) ? Buffer.from(encoded, 'base64url') : undefined;
  // A length of 4n + 1 is no base64; the decoder drops the odd digit silently.
  if (bytes === undefined || encoded.length % 4 === 1)
    throw badBearer('invalid base64.bearer.authorization token encoding');
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new KexerError('unauthenticated', 'invalid base64.bearer.authorization token', { cause: error });
  }
}

function badBearer(text: string): KexerError {
  return new KexerError('unauthenticated', text);
}
