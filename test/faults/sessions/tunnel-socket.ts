// The client's end of SPDY in WebSocket messages, as client-go's tunneling dialer has it: a Duplex whose end is Close 1000 and whose error
// is any other end.

import { randomBytes } from 'node:crypto';
import { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';

import { systemClock } from '../../../src/base/clock.ts';
import { dialTls } from '../../../src/net/dial.ts';
import { readBody, requestUpgrade } from '../../../src/net/upgrade.ts';
import { WebSocketConnection } from '../../../src/net/websocket-connection.ts';
import { checkWebSocketAccepted, websocketRequestHeaders } from '../../../src/protocol/websocket/handshake.ts';
import { UpgradeRefused } from '../../support/spdy-client.ts';
import type { SessionTarget } from './session.ts';

const timeoutMs = 8000;

export class TunnelSocket extends Duplex {
  readonly #webSocket: WebSocketConnection;

  constructor(socket: TLSSocket, head: Buffer) {
    super({ allowHalfOpen: true });
    this.#webSocket = new WebSocketConnection(
      { socket, clock: systemClock },
      { role: 'client', head },
      {
        onData: (event) => {
          if (event.bytes.length > 0 && !this.destroyed && !this.push(event.bytes)) this.#webSocket.pause();
        },
        onEnd: (end) => {
          if (end.how === 'close' && end.code === 1000) this.push(null);
          else this.destroy(new Error(`the tunnel ended by ${JSON.stringify(end)}`));
        },
      },
    );
    socket.once('close', () => this.destroy());
  }

  override _read(): void {
    this.#webSocket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#webSocket.sendBinary(chunk)) done();
    else this.#webSocket.onDrain(() => done());
  }

  override _final(done: () => void): void {
    void this.#webSocket.close(1000);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#webSocket.destroy();
    done(error);
  }
}

/** @throws UpgradeRefused for any answer but 101 */
export async function openTunnel(target: SessionTarget, path: string): Promise<TunnelSocket> {
  const protocol = 'SPDY/3.1+portforward.k8s.io';
  const socket = await dialTls({
    host: '127.0.0.1',
    port: target.port,
    ca: [target.ca],
    isVerified: true,
    certificate: target.certificate,
    alpn: ['http/1.1'],
    timeoutMs,
  });
  const key = randomBytes(16).toString('base64');
  const headers = [['Host', `127.0.0.1:${target.port}`] as const, ...websocketRequestHeaders(key, [protocol])];
  const { head, rest } = await requestUpgrade(socket, { method: 'GET', target: path, headers }, { timeoutMs });
  if (head.status !== 101) {
    const body = await readBody(socket, head, rest, { maxBytes: 1024 * 1024, timeoutMs });
    socket.destroy();
    throw new UpgradeRefused(head.status, head.headers, body.toString());
  }
  checkWebSocketAccepted(head, { key, protocols: [protocol] });
  return new TunnelSocket(socket, rest);
}
