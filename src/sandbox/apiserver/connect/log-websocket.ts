// pods/log over WebSocket (k8s.io/streaming wsstream.Reader): one way, an empty message first, then the kubelet's bytes in binary messages or,
// for base64.binary.k8s.io, in text ones; Close 1000 at the end, whatever end the kubelet's body had.

import type { IncomingMessage } from 'node:http';

import type { Clock } from '../../../base/clock.ts';
import { WebSocketConnection } from '../../../net/websocket-connection.ts';
import { listItems } from '../../../protocol/raw-headers.ts';
import { negotiateWebSocket } from '../../../protocol/subprotocols.ts';
import type { ApiRequest } from '../chain/api-request.ts';
import { acceptWebSocket } from './tunnel.ts';

export function wantsWebSocket(request: ApiRequest): boolean {
  return request.canUpgrade && request.isUpgrade && request.header('upgrade')?.toLowerCase() === 'websocket';
}

/** Settles with the number of the log's bytes that were sent. */
export async function copyToWebSocket(
  deps: { clock: Clock },
  request: ApiRequest,
  body: IncomingMessage,
): Promise<number> {
  const choice = negotiateWebSocket('log', listItems(request.headers, 'Sec-WebSocket-Protocol'));
  if (!choice.isAccepted) {
    body.destroy();
    request.send(choice.status, '', '');
    return 0;
  }
  const { socket, head } = acceptWebSocket(request, choice.protocol);
  const ended = Promise.withResolvers<void>();
  const client = new WebSocketConnection(
    { socket, clock: deps.clock },
    { role: 'server', head },
    {
      onData: () => {},
      onEnd: () => {
        body.destroy();
        ended.resolve();
      },
    },
  );
  const send = (bytes: Buffer): boolean =>
    choice.isBase64 ? client.sendText(bytes.toString('base64')) : client.sendBinary(bytes);
  send(Buffer.alloc(0));
  let count = 0;
  body.on('data', (chunk: Buffer) => {
    count += chunk.length;
    if (send(chunk)) return;
    body.pause();
    client.onDrain(() => body.resume());
  });
  body.on('error', () => {}); // cut: the client sees an end like any other
  body.once('close', () => void client.close(1000, ''));
  await ended.promise;
  return count;
}
