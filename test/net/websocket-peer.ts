// A server endpoint under test and its peer at frame level: one log of what its owner was told, and what the peer can read.

import { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import {
  WebSocketConnection,
  type WebSocketConnectionOptions,
  type WebSocketEnd,
} from '../../src/net/websocket-connection.ts';
import { encodeFrame, WebSocketDecoder, type WebSocketEvent } from '../../src/protocol/websocket/frame.ts';
import { duplexPair } from '../support/duplex-pair.ts';
import { FakeClock } from '../support/fake-clock.ts';

export const mask = Uint8Array.of(1, 2, 3, 4);

export interface Harness {
  readonly connection: WebSocketConnection;
  readonly clock: FakeClock;
  /** The other end of the wire, with bytes unread. */
  readonly peer: Duplex;
  /** What the connection told its owner, in order. */
  readonly log: string[];
  readonly ends: WebSocketEnd[];
  /** Sends a masked frame as a client does. */
  readonly send: (opcode: number, payload?: string | Buffer) => void;
  /** What the peer can read now, decoded. */
  readonly received: () => WebSocketEvent[];
}

/** A server endpoint under test; all its handlers write into one log. */
export function serve(options: Partial<WebSocketConnectionOptions> = {}, highWaterMark = 64 * 1024): Harness {
  const [ours, peer] = duplexPair({ highWaterMark });
  const clock = new FakeClock();
  const log: string[] = [];
  const ends: WebSocketEnd[] = [];
  const connection = new WebSocketConnection(
    { socket: ours, clock },
    { role: 'server', ...options },
    {
      onData: ({ bytes, isFirst, isLast }) =>
        log.push(
          `data ${isFirst ? '[' : ''}${bytes.length > 40 ? `${bytes.length} bytes` : bytes.toString()}${isLast ? ']' : ''}`,
        ),
      onPing: (payload) => log.push(`ping ${payload.toString()}`),
      onPong: (payload) => log.push(`pong ${payload.toString()}`),
      onEnd: (end) => {
        log.push(`end ${end.how}`);
        ends.push(end);
      },
    },
  );
  const decoder = new WebSocketDecoder({ role: 'client', maxMessageBytes: 2 ** 40 });
  peer.on('error', () => {});
  return {
    connection,
    clock,
    peer,
    log,
    ends,
    send: (opcode, payload = '') => {
      for (const bytes of encodeFrame(opcode, [Buffer.from(payload)], { key: mask })) peer.write(bytes);
    },
    received: () => {
      const chunk: unknown = peer.read();
      return Buffer.isBuffer(chunk) ? decoder.acceptChunk(Buffer.from(chunk)) : [];
    },
  };
}

/** Takes one write at a time, when told to, and gives nothing to read. */
export class SlowSocket extends Duplex {
  #done: (() => void) | undefined;

  override _read(): void {}

  override _write(_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#done = done;
  }

  takeOne(): void {
    this.#done?.();
  }
}

/** Long enough for bytes to cross the pair, which takes ticks and never time. */
export async function settle(): Promise<void> {
  for (let round = 0; round < 10; round += 1) await turn();
}
