// What a client of an upgrade will speak: read from its headers once kube-apiserver has allowed the call, with the 101 that accepts it ready to
// be written, or the answer it gets instead.

import { Buffer } from 'node:buffer';

import { quote } from '../base/quote.ts';
import type { Call } from '../clusters/call.ts';
import { badRequest } from '../kube/status.ts';
import type { HttpAnswer } from '../net/http-answer.ts';
import { encodeResponseHead } from '../protocol/http-head.ts';
import { listItems } from '../protocol/raw-headers.ts';
import {
  negotiateSpdy,
  negotiateWebSocket,
  type SpdyChoice,
  takeBearerProtocol,
  type UpgradeRefusal,
  type WebSocketChoice,
} from '../protocol/subprotocols.ts';
import { readWebSocketRequest, websocketAccepted } from '../protocol/websocket/handshake.ts';
import { statusAnswer } from './answer.ts';
import { portsOf, type StreamOptions } from './options.ts';
import { maxChannelPorts } from './port-channels.ts';

export type Protocol =
  | { readonly transport: 'spdy'; readonly choice: SpdyChoice; readonly accepted: Buffer }
  | { readonly transport: 'webSocket'; readonly choice: WebSocketChoice; readonly accepted: Buffer };

export function negotiate(call: Call, options: StreamOptions): Protocol | HttpAnswer {
  const tokens = listItems(call.headers, 'Upgrade').map((token) => token.toLowerCase());
  if (tokens.includes('websocket')) return negotiateSocket(call, options);
  if (tokens.includes('spdy/3.1')) {
    const choice = negotiateSpdy(options.kind, call.headers);
    if (!choice.isAccepted) return plainAnswer(choice);
    const accepted = encodeResponseHead({
      status: 101,
      headers: [
        ['Connection', 'Upgrade'],
        ['Upgrade', 'SPDY/3.1'],
        ['X-Stream-Protocol-Version', choice.protocol],
      ],
    });
    return { transport: 'spdy', choice, accepted };
  }
  const message = `unknown upgrade protocol ${quote(tokens.join(', '), 80)}, want SPDY/3.1 or websocket`;
  return statusAnswer(badRequest(message), call.auditId);
}

function negotiateSocket(call: Call, options: StreamOptions): Protocol | HttpAnswer {
  // The pipeline has read a token in there; it is nothing that could be chosen.
  const { headers } = takeBearerProtocol(call.headers);
  const offer = readWebSocketRequest(call.method, headers);
  const choice = negotiateWebSocket(options.kind, offer.protocols);
  if (!choice.isAccepted) return plainAnswer(choice);
  if (options.kind === 'portforward' && choice.form === 'channels') {
    const ports = portsOf(options);
    if (ports.length === 0) return statusAnswer(badRequest('query parameter "port" is required'), call.auditId);
    if (ports.length > maxChannelPorts || ports.includes(0)) {
      const message = `cannot forward these ports over one WebSocket: want up to ${maxChannelPorts} from 1 to 65535`;
      return statusAnswer(badRequest(message), call.auditId);
    }
  }
  return { transport: 'webSocket', choice, accepted: websocketAccepted(offer.key, choice.protocol) };
}

export function plainAnswer(refusal: UpgradeRefusal): HttpAnswer {
  return { status: refusal.status, headers: refusal.headers, body: Buffer.from(refusal.body) };
}
