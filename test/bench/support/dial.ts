// A client's connection up to its 101, by any route, for all benches. Its TLS prefers what Go prefers, and verifies nobody: that is the
// client's cost, which is not measured.

import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';

import { requestUpgrade } from '../../../src/net/upgrade.ts';
import { websocketRequestHeaders } from '../../../src/protocol/websocket/handshake.ts';
import { goCiphers, type Route, routeHeaders } from './route.ts';

/** The one of RFC 6455, section 1.3. */
const sampleKey = 'dGhlIHNhbXBsZSBub25jZQ==';

export interface Upgraded {
  readonly socket: TLSSocket;
  /** Bytes behind the 101. */
  readonly head: Buffer;
  /** Milliseconds from the request to the 101, on a connection that was open. */
  readonly upgradeMs: number;
}

export async function dial(route: Route): Promise<TLSSocket> {
  const socket = connect({
    host: '127.0.0.1',
    port: route.port,
    rejectUnauthorized: false,
    ciphers: goCiphers,
    ALPNProtocols: ['http/1.1'],
  });
  socket.on('error', () => {});
  socket.setNoDelay(true);
  await once(socket, 'secureConnect');
  return socket;
}

/** @param protocol of the WebSocket; without one it is an SPDY upgrade. */
export async function upgrade(route: Route, target: string, protocol?: string): Promise<Upgraded> {
  const socket = await dial(route);
  const startedMs = performance.now();
  const version =
    target.includes('/portForward/') || target.includes('/portforward?') ? 'portforward.k8s.io' : 'v4.channel.k8s.io';
  const { head, rest } = await requestUpgrade(
    socket,
    protocol === undefined
      ? {
          method: 'POST',
          target,
          headers: [
            ...routeHeaders(route),
            ['Content-Length', '0'],
            ['Connection', 'Upgrade'],
            ['Upgrade', 'SPDY/3.1'],
            ['X-Stream-Protocol-Version', version],
          ],
        }
      : {
          method: 'GET',
          target,
          headers: [...routeHeaders(route), ...websocketRequestHeaders(sampleKey, [protocol])],
        },
    { timeoutMs: 30_000 },
  );
  const upgradeMs = performance.now() - startedMs;
  if (head.status !== 101) {
    socket.destroy();
    throw new Error(`port ${route.port} answered ${head.status} ${rest.toString()}`);
  }
  socket.resume(); // requestUpgrade leaves it paused
  return { socket, head: rest, upgradeMs };
}
