// TunnelingHandler: a port-forward whose SPDY bytes come in WebSocket messages. Towards the kubelet it is an ordinary SPDY upgrade;
// afterwards every message's payload is a piece of the byte stream, and every read a message.

import type { Duplex } from 'node:stream';

import type { Clock } from '../../../base/clock.ts';
import { acceptKey } from '../../../protocol/websocket/handshake.ts';
import { encodeResponseHead } from '../../../protocol/http-head.ts';
import { WebSocketConnection } from '../../../net/websocket-connection.ts';
import type { ApiRequest } from '../chain/api-request.ts';
import type { HeaderPairs } from '../exchange.ts';
import type { RelayCounts } from './raw-relay.ts';

const tunnelPrefix = 'SPDY/3.1+';

/** The protocols a client wants to tunnel, without the prefix. */
export function tunnelledProtocols(offered: readonly string[]): string[] {
  return offered
    .filter((protocol) => protocol.startsWith(tunnelPrefix) && protocol.endsWith('.k8s.io'))
    .map((protocol) => protocol.slice(tunnelPrefix.length));
}

/** The client's headers as those of an SPDY upgrade. */
export function tunnelHeaders(headers: HeaderPairs, protocols: readonly string[]): HeaderPairs {
  const rest = headers.filter(([name]) => {
    const lower = name.toLowerCase();
    return !lower.startsWith('sec-websocket-') && lower !== 'upgrade' && lower !== 'connection';
  });
  return [
    ...rest,
    ['Connection', 'Upgrade'],
    ['Upgrade', 'SPDY/3.1'],
    ...protocols.map((protocol): readonly [string, string] => ['X-Stream-Protocol-Version', protocol]),
  ];
}

/** Accepts the client's WebSocket with a subprotocol; its socket is the caller's from then on. */
export function acceptWebSocket(request: ApiRequest, protocol: string): { socket: Duplex; head: Buffer } {
  const upgrade = request.take();
  request.noteStarted({ code: 101 });
  upgrade.socket.write(
    encodeResponseHead({
      status: 101,
      headers: [
        ['Upgrade', 'websocket'],
        ['Connection', 'Upgrade'],
        ['Sec-WebSocket-Accept', acceptKey(request.header('sec-websocket-key') ?? '')],
        ['Sec-WebSocket-Protocol', protocol],
      ],
    }),
  );
  return upgrade;
}

/** Copies until either side ends, then closes both. */
export function runTunnel(
  deps: { clock: Clock },
  client: { socket: Duplex; head: Buffer },
  backend: { socket: Duplex; rest: Buffer },
): Promise<RelayCounts> {
  return new Promise((resolve) => {
    const webSocket = new WebSocketConnection(
      { socket: client.socket, clock: deps.clock },
      { role: 'server', head: client.head },
      {
        onData: ({ bytes }) => {
          if (backend.socket.writable && bytes.length > 0 && !backend.socket.write(bytes)) {
            webSocket.pause();
            backend.socket.once('drain', () => webSocket.resume());
          }
        },
        onEnd: () => {
          backend.socket.destroy();
          resolve({ fromClient: webSocket.bytesIn, toClient: webSocket.bytesOut });
        },
      },
    );
    backend.socket.on('error', () => {}); // its end is seen at 'close'
    const forward = (bytes: Buffer): void => {
      if (webSocket.sendBinary(bytes)) return;
      backend.socket.pause();
      webSocket.onDrain(() => backend.socket.resume());
    };
    if (backend.rest.length > 0) forward(backend.rest);
    backend.socket.on('data', forward);
    backend.socket.once('close', () => void webSocket.close(1000, ''));
    backend.socket.resume();
  });
}

export const portForwardTunnel = (protocol: string): string => `${tunnelPrefix}${protocol}`;
