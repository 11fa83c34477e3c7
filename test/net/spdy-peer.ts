// A peer of an SpdyConnection at frame level: sends whatever a test wants and keeps what it is sent, one line a frame.

import type { Duplex } from 'node:stream';

import {
  SpdyConnection,
  type SpdyConnectionHandlers,
  type SpdyConnectionOptions,
  type SpdyEnd,
  type SpdyStream,
  type SpdyStreamHandlers,
} from '../../src/net/spdy-connection.ts';
import { SpdyDecoder } from '../../src/protocol/spdy/decoder.ts';
import { SpdyEncoder } from '../../src/protocol/spdy/encoder.ts';
import { duplexPair, type DuplexPairOptions } from '../support/duplex-pair.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** Lets everything happen that does not wait for time. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 12; turn += 1) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

/** Bytes of a DATA frame. */
export function data(streamId: number, text: string | Buffer, fin = false): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([new SpdyEncoder().dataHeader(streamId, bytes.length, fin), bytes]);
}

export class RawPeer {
  readonly socket: Duplex;
  readonly encoder = new SpdyEncoder();
  /** What came, one line a frame. */
  readonly lines: string[] = [];
  readonly chunks: Buffer[] = [];
  hasEnd = false;
  readonly #decoder = new SpdyDecoder();

  constructor(socket: Duplex) {
    this.socket = socket;
    socket.on('error', () => this.lines.push('error'));
    socket.on('data', (chunk: Buffer) => this.#accept(chunk));
    socket.on('end', () => {
      this.hasEnd = true;
      this.lines.push('FIN');
    });
  }

  /** Lines since the last call. */
  take(): string[] {
    return this.lines.splice(0);
  }

  send(...frames: Buffer[]): void {
    this.socket.write(Buffer.concat(frames));
  }

  synStream(streamId: number, streamType: string, options: { fin?: boolean; unidirectional?: boolean } = {}): Buffer {
    return this.encoder.synStream(streamId, [['streamtype', streamType]], options);
  }

  #accept(chunk: Buffer): void {
    this.chunks.push(chunk);
    for (const frame of this.#decoder.acceptChunk(chunk)) {
      const fin = 'fin' in frame && frame.fin ? ' fin' : '';
      if (frame.type === 'data') {
        const text = frame.bytes.length > 40 ? `${frame.bytes.length} bytes` : frame.bytes.toString();
        this.lines.push(`${frame.streamId}: ${text}${fin}`);
      } else if ('headers' in frame) {
        this.lines.push(
          `${frame.type} ${frame.streamId}${fin}${frame.headers.map((pair) => ` ${pair.join('=')}`).join('')}`,
        );
      } else {
        this.lines.push(Object.values(frame).join(' '));
      }
    }
  }
}

export interface Harness {
  readonly connection: SpdyConnection;
  readonly socket: Duplex;
  readonly peer: RawPeer;
  readonly clock: FakeClock;
  /** What the connection's and its streams' handlers were told, in order. */
  readonly events: string[];
  /** Streams that the peer opened. */
  readonly streams: SpdyStream[];
  readonly ends: SpdyEnd[];
  readonly takeEvents: () => string[];
  /** Handlers that note what a stream is told. */
  readonly noting: (name: string) => SpdyStreamHandlers;
}

export interface HarnessOptions {
  readonly options?: Partial<SpdyConnectionOptions>;
  readonly handlers?: Partial<SpdyConnectionHandlers>;
  readonly pair?: DuplexPairOptions;
}

/** A connection in `role` over a pair in memory, with a raw peer at the other end. */
export function startConnection(role: 'client' | 'server', harnessOptions: HarnessOptions = {}): Harness {
  const [socket, peerSocket] = duplexPair(harnessOptions.pair);
  const clock = new FakeClock();
  const events: string[] = [];
  const streams: SpdyStream[] = [];
  const ends: SpdyEnd[] = [];
  const noting = (name: string): SpdyStreamHandlers => ({
    onReply: (headers) => events.push(`${name} reply${headers.map((pair) => ` ${pair.join('=')}`).join('')}`),
    onData: (bytes) => events.push(`${name} ${bytes.length > 40 ? `${bytes.length} bytes` : bytes.toString()}`),
    onEnd: (how) => events.push(`${name} end ${how}`),
  });
  const connection = new SpdyConnection(
    { socket, clock },
    { role, ...harnessOptions.options },
    {
      onStream: (stream) => {
        streams.push(stream);
        events.push(`stream ${stream.id} ${stream.headers.map((pair) => pair.join('=')).join(' ')}`);
        stream.setHandlers(noting(String(stream.id)));
        stream.reply();
      },
      onPing: (id) => events.push(`ping ${id}`),
      onEnd: (end) => {
        ends.push(end);
        events.push(`END ${end.how}${end.how === 'error' ? `: ${end.error.message}` : ''}`);
      },
      onClosed: () => events.push('CLOSED'),
      ...harnessOptions.handlers,
    },
  );
  return {
    connection,
    socket,
    peer: new RawPeer(peerSocket),
    clock,
    events,
    streams,
    ends,
    takeEvents: () => events.splice(0),
    noting,
  };
}

/** Queues bytes that the peer does not take, until the connection is not writable. */
export function fill(harness: Harness): void {
  harness.peer.socket.pause();
  const stream = harness.connection.createStream([['streamtype', 'stdin']], {});
  while (stream.write(Buffer.alloc(16 * 1024)));
}
