// port-forward over WebSocket: the old form with two channels for each port of the query (v4.channel.k8s.io), and the tunnel, which
// carries the SPDY connection's bytes in binary messages whose borders mean nothing.

import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { Clock } from '../../../base/clock.ts';
import { base64Message, channelByte, ChannelDecoder } from '../../../protocol/channel.ts';
import { GolangWebSocket } from './golang-websocket.ts';
import { dialPort, forwardErrorText } from './port-dialer.ts';
import { servePortForwardOverSpdy } from './port-forward-spdy.ts';

export interface PortChannelsOptions {
  readonly head: Buffer;
  readonly isBase64: boolean;
  readonly ports: readonly number[];
  readonly sandboxId: string;
}

class PortChannels {
  readonly #options: PortChannelsOptions;
  readonly #socket: GolangWebSocket;
  readonly #decoder: ChannelDecoder;
  readonly #locals: (Socket | undefined)[] = [];
  readonly #early: Buffer[][];
  #open: number;

  constructor(socket: Duplex, options: PortChannelsOptions) {
    this.#options = options;
    this.#open = options.ports.length;
    this.#early = options.ports.map(() => []);
    const channelCount = options.ports.length * 2;
    this.#decoder = new ChannelDecoder({ isBase64: options.isBase64, hasHalfClose: false, channelCount });
    this.#socket = new GolangWebSocket(
      socket,
      { library: 'x/net', head: options.head },
      {
        onMessage: (bytes) => this.#accept(bytes),
        onEnd: () => {
          for (const local of this.#locals) local?.destroy();
        },
      },
    );
    for (const [index, port] of options.ports.entries()) {
      const announcement = Buffer.alloc(2);
      announcement.writeUInt16LE(port);
      this.#send(index * 2, announcement);
      this.#send(index * 2 + 1, announcement);
      dialPort(port, options.sandboxId).then(
        (local) => this.#adopt(index, local),
        (error: unknown) => {
          this.#send(index * 2 + 1, Buffer.from(forwardErrorText(port, options.sandboxId, error)));
          this.#finish();
        },
      );
    }
  }

  #send(channel: number, bytes: Buffer): boolean {
    if (this.#options.isBase64) return this.#socket.send(true, Buffer.from(base64Message(channel, bytes)));
    return this.#socket.send(false, channelByte(channel), bytes);
  }

  #accept(bytes: Buffer): void {
    const event = this.#decoder.accept({ bytes, isFirst: true, isLast: true });
    if (event?.type !== 'data' || event.channel % 2 !== 0) return;
    const index = event.channel / 2;
    const local = this.#locals[index];
    if (local === undefined) {
      this.#early[index]?.push(event.bytes);
      return;
    }
    if (local.write(event.bytes)) return;
    this.#socket.pause();
    local.once('drain', () => this.#socket.resume());
  }

  #adopt(index: number, local: Socket): void {
    local.on('error', () => {}); // 'close' follows
    this.#locals[index] = local;
    for (const bytes of this.#early[index]?.splice(0) ?? []) local.write(bytes);
    local.on('data', (bytes: Buffer) => {
      if (this.#send(index * 2, bytes)) return;
      local.pause();
      this.#socket.onDrain(() => local.resume());
    });
    local.once('end', () => local.end());
    local.once('close', () => this.#finish());
  }

  /** One port has ended; there is no way to say so for one channel alone. */
  #finish(): void {
    this.#open -= 1;
    if (this.#open === 0) this.#socket.close();
  }
}

export function servePortForwardOverChannels(socket: Duplex, options: PortChannelsOptions): void {
  // The object lives in its socket's handlers.
  void new PortChannels(socket, options);
}

/** The tunnel's bytes as a Duplex, so that the SPDY connection need not know. */
class TunnelStream extends Duplex {
  readonly #socket: GolangWebSocket;
  #isPaused = false;

  constructor(socket: Duplex, head: Buffer) {
    super({ allowHalfOpen: true });
    this.#socket = new GolangWebSocket(
      socket,
      { library: 'gorilla', head },
      {
        onMessage: (bytes) => {
          // An empty message is what an empty DATA frame's payload becomes; an empty push would mean nothing here either.
          if (bytes.length === 0 || this.push(bytes) || this.#isPaused) return;
          this.#isPaused = true;
          this.#socket.pause();
        },
        onEnd: () => this.push(null),
      },
    );
  }

  override _read(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#socket.send(false, chunk);
    this.#socket.onDrain(done);
  }

  override _final(done: () => void): void {
    this.#socket.close();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.close();
    done(error);
  }
}

export function servePortForwardTunnel(
  deps: { socket: Duplex; clock: Clock },
  options: { head: Buffer; sandboxId: string },
): void {
  const tunnel = new TunnelStream(deps.socket, options.head);
  servePortForwardOverSpdy(
    { socket: tunnel, clock: deps.clock },
    { head: Buffer.alloc(0), sandboxId: options.sandboxId, onEnd: () => tunnel.end() },
  );
}
