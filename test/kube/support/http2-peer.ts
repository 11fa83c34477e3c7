// An apiserver at frame level: TLS that chooses h2, and then exactly the frames that a test says. What clients send is read by kexer's own reader,
// after the preface, which is compared.

import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';

import type { Scope } from '../../../src/base/scope.ts';
import type { Endpoint } from '../../../src/kube/credential.ts';
import { type Http2Frame, errorCode } from '../../../src/protocol/http2/frame.ts';
import { FrameReader } from '../../../src/protocol/http2/frame-reader.ts';
import {
  connectionPreface,
  encodeRstStream,
  encodeSettings,
  encodeSettingsAck,
} from '../../../src/protocol/http2/frame-writer.ts';
import { HeaderDecoder } from '../../../src/protocol/http2/header-decoder.ts';
import { encodeHeaderBlock } from '../../../src/protocol/http2/header-encoder.ts';
import type { RawHeaders } from '../../../src/protocol/raw-headers.ts';
import { servingPair } from '../../support/serving-pair.ts';

/** Raw bytes of one frame. */
export function frame(type: number, flags: number, streamId: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

export function goaway(lastStreamId: number, code: number = errorCode.noError): Buffer {
  const payload = Buffer.alloc(8);
  payload.writeUInt32BE(lastStreamId, 0);
  payload.writeUInt32BE(code, 4);
  return frame(7, 0, 0, payload);
}

export function headers(streamId: number, fields: RawHeaders, isEnd = false): Buffer {
  return frame(1, isEnd ? 5 : 4, streamId, encodeHeaderBlock(fields));
}

export function data(streamId: number, bytes: Buffer | string, isEnd = false): Buffer {
  return frame(0, isEnd ? 1 : 0, streamId, Buffer.from(bytes));
}

export const ok: RawHeaders = [[':status', '200']];

/** A request as it came. */
export interface PeerRequest {
  readonly streamId: number;
  readonly headers: RawHeaders;
  readonly peer: PeerConnection;
}

/** One connection of a client. */
export class PeerConnection {
  readonly socket: TLSSocket;
  /** All but SETTINGS acknowledgements, as they came. */
  readonly frames: Http2Frame[] = [];

  constructor(socket: TLSSocket) {
    this.socket = socket;
  }

  send(...frames: Buffer[]): void {
    this.socket.write(Buffer.concat(frames));
  }

  resets(): [streamId: number, code: number][] {
    return this.frames.flatMap((one) => (one.type === 'rstStream' ? [[one.streamId, one.code]] : []));
  }
}

export interface PeerOptions {
  readonly settings?: readonly (readonly [id: number, value: number])[];
  /** false: says nothing by itself, not even SETTINGS. */
  readonly isSpeaking?: boolean;
  /** What ALPN offers. */
  readonly alpn?: readonly string[];
  readonly onConnection?: (peer: PeerConnection) => void;
  readonly onRequest?: (request: PeerRequest) => void;
  readonly onFrame?: (frame: Http2Frame, peer: PeerConnection) => void;
}

export interface Peer {
  readonly endpoint: Endpoint;
  readonly connections: PeerConnection[];
  readonly requests: PeerRequest[];
  /** Connections that were made, those that never finished their handshake included. */
  dials(): number;
}

export async function startPeer(scope: Scope, options: PeerOptions = {}): Promise<Peer> {
  const pair = await servingPair();
  const connections: PeerConnection[] = [];
  const requests: PeerRequest[] = [];
  const sockets = new Set<Socket>();
  let dials = 0;
  const server = createServer({ cert: pair.cert, key: pair.key, ALPNProtocols: [...(options.alpn ?? ['h2'])] });
  server.on('connection', (socket: Socket) => {
    dials += 1;
    sockets.add(socket.on('error', () => {}));
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('tlsClientError', () => {});
  server.on('secureConnection', (socket) => {
    socket.on('error', () => {});
    const peer = new PeerConnection(socket);
    connections.push(peer);
    options.onConnection?.(peer);
    if (socket.alpnProtocol !== 'h2') return;
    const reader = new FrameReader({ maxBlockBytes: 1024 * 1024 });
    const decoder = new HeaderDecoder({ maxListBytes: 1024 * 1024 });
    const accept = (one: Http2Frame): void => {
      if (one.type !== 'settings' || !one.isAck) peer.frames.push(one);
      options.onFrame?.(one, peer);
      if (one.type !== 'headers') return;
      const request = { streamId: one.streamId, headers: decoder.decode(one.block).headers, peer };
      requests.push(request);
      options.onRequest?.(request);
    };
    let preface = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      if (preface.length >= connectionPreface.length) {
        reader.acceptChunk(chunk, accept);
        return;
      }
      preface = Buffer.concat([preface, chunk]);
      if (preface.length < connectionPreface.length) return;
      if (!preface.subarray(0, connectionPreface.length).equals(connectionPreface)) socket.destroy();
      else reader.acceptChunk(preface.subarray(connectionPreface.length), accept);
    });
    if (options.isSpeaking !== false) peer.send(encodeSettings(options.settings ?? []), encodeSettingsAck());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.add(async () => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  const { port } = server.address() as AddressInfo;
  const endpoint = { url: `https://127.0.0.1:${port}`, ca: pair.ca, isVerified: true, servername: undefined };
  return { endpoint, connections, requests, dials: () => dials };
}

export { encodeRstStream as rstStream };
