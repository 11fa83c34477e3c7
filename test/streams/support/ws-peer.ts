// A WebSocket client that writes down the messages it gets, by channel.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

import { WebSocketConnection, type WebSocketEnd } from '../../../src/net/websocket-connection.ts';
import type { FakeClock } from '../../support/fake-clock.ts';

export class WsPeer {
  readonly connection: WebSocketConnection;
  /** `1:out` for a message `out` on channel 1; what is no channel message shows as it is. */
  readonly messages: string[] = [];
  /** All bytes of a channel. */
  readonly bytes = new Map<number, Buffer[]>();
  pongs = 0;
  end: WebSocketEnd | undefined;
  #parts: Buffer[] = [];

  constructor(socket: Duplex, clock: FakeClock) {
    this.connection = new WebSocketConnection(
      { socket, clock },
      { role: 'client' },
      {
        onData: (event) => {
          this.#parts.push(Buffer.from(event.bytes));
          if (!event.isLast) return;
          const message = Buffer.concat(this.#parts);
          this.#parts = [];
          this.#keep(message, event.opcode === 'text');
        },
        onPong: () => {
          this.pongs += 1;
        },
        onEnd: (end) => {
          this.end = end;
        },
      },
    );
  }

  send(channel: number, text: string | Buffer): boolean {
    return this.connection.sendBinary(Buffer.of(channel), Buffer.from(text));
  }

  text(channel: number): string {
    return Buffer.concat(this.bytes.get(channel) ?? []).toString();
  }

  #keep(message: Buffer, isText: boolean): void {
    const channel = isText ? (message[0] ?? 0) - 48 : (message[0] ?? 255);
    const payload = isText ? Buffer.from(message.subarray(1).toString(), 'base64') : message.subarray(1);
    this.bytes.set(channel, [...(this.bytes.get(channel) ?? []), payload]);
    this.messages.push(
      `${isText ? 'text ' : ''}${channel}:${payload.length > 300 ? payload.length : payload.toString()}`,
    );
  }
}
