// A kubelet that costs next to nothing: TLS, SPDY/3.1 and commands that are no processes but loops over ready-made frames. It checks
// nobody and runs nothing; what is measured is whoever stands in front of it.
//
//   exec `source MIB [CHUNK]`   stdout: so many MiB in DATA frames of CHUNK bytes (32 KiB, as runtimes write), then Success
//   exec `sink`                 reads stdin to its end, then Success
//   exec `cat`                  stdin comes back on stdout
//   exec `true`                 Success at once
//   exec `sleep`                nothing, for ever
//   port-forward                port N: N MiB, then the end of the data stream

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';

import { encodeResponseHead, HeadCollector, parseRequestHead } from '../../../src/protocol/http-head.ts';
import { SpdyDecoder } from '../../../src/protocol/spdy/decoder.ts';
import { SpdyEncoder } from '../../../src/protocol/spdy/encoder.ts';
import type { SpdyFrame } from '../../../src/protocol/spdy/frame.ts';
import { offer } from '../support/child.ts';
import { framesOf, pour } from '../support/pour.ts';
import { goCiphers } from '../support/route.ts';

const success = Buffer.from('{"metadata":{},"status":"Success"}');
const usualChunkBytes = 32 * 1024;

/** One upgraded connection. */
class Connection {
  readonly #socket: TLSSocket;
  readonly #decoder = new SpdyDecoder();
  readonly #encoder = new SpdyEncoder();
  readonly #command: readonly string[];
  readonly #wanted: number;
  /** Ids by stream type; of a port-forward the latest pair. */
  readonly #streams = new Map<string, number>();
  #hasStarted = false;

  constructor(socket: TLSSocket, query: URLSearchParams | undefined) {
    this.#socket = socket;
    this.#command = query?.getAll('command') ?? [];
    this.#wanted = query === undefined ? 2 : 2 + (query.has('input') ? 1 : 0); // error and stdout, or error and data
  }

  accept(chunk: Buffer): void {
    for (const frame of this.#decoder.acceptChunk(chunk)) this.#acceptFrame(frame);
  }

  #acceptFrame(frame: SpdyFrame): void {
    switch (frame.type) {
      case 'data':
        if (frame.streamId !== this.#streams.get('stdin')) return;
        this.#acceptInput(frame.bytes, frame.fin);
        return;
      case 'synStream': {
        const type = frame.headers.find(([name]) => name === 'streamtype')?.[1] ?? '';
        this.#streams.set(type, frame.streamId);
        this.#socket.write(this.#encoder.synReply(frame.streamId));
        if (type === 'data') this.#pourPort(frame.headers.find(([name]) => name === 'port')?.[1] ?? '1');
        else if (this.#streams.size === this.#wanted) this.#start();
        return;
      }
      case 'ping':
        if (frame.id % 2 === 1) this.#socket.write(this.#encoder.ping(frame.id));
        return;
      case 'goaway':
        this.#socket.end();
        return;
      default:
        return;
    }
  }

  #start(): void {
    if (this.#hasStarted) return;
    this.#hasStarted = true;
    const [name, mebibytes = '1', chunkBytes = usualChunkBytes] = this.#command;
    if (name === 'true') this.#finish();
    else if (name === 'source') this.#pour(this.#id('stdout'), Number(mebibytes), Number(chunkBytes));
  }

  #pour(streamId: number, mebibytes: number, chunkBytes: number): void {
    const head = this.#encoder.dataHeader(streamId, chunkBytes, false);
    pour(this.#socket, framesOf(head, chunkBytes), Math.ceil((mebibytes * 1024 * 1024) / chunkBytes), () =>
      this.#finish(),
    );
  }

  #pourPort(port: string): void {
    const [data, error] = [this.#id('data'), this.#id('error')];
    const head = this.#encoder.dataHeader(data, usualChunkBytes, false);
    const frames = (Number(port) * 1024 * 1024) / usualChunkBytes;
    pour(this.#socket, framesOf(head, usualChunkBytes), frames, () => {
      for (const id of [data, error]) this.#socket.write(this.#encoder.dataHeader(id, 0, true));
    });
  }

  #acceptInput(bytes: Buffer, isLast: boolean): void {
    if (this.#command[0] === 'cat' && bytes.length > 0) {
      this.#socket.write(this.#encoder.dataHeader(this.#id('stdout'), bytes.length, false));
      this.#socket.write(bytes);
    }
    if (isLast) this.#finish();
  }

  #finish(): void {
    const error = this.#id('error');
    this.#socket.cork();
    this.#socket.write(this.#encoder.dataHeader(this.#id('stdout'), 0, true));
    this.#socket.write(this.#encoder.dataHeader(error, success.length, false));
    this.#socket.write(success);
    this.#socket.write(this.#encoder.dataHeader(error, 0, true));
    this.#socket.uncork();
  }

  #id(type: string): number {
    return this.#streams.get(type) ?? 0;
  }
}

function serve(socket: TLSSocket): void {
  socket.on('error', () => {});
  socket.setNoDelay(true);
  const collector = new HeadCollector({ maxHeadBytes: 64 * 1024 });
  let connection: Connection | undefined;
  socket.on('data', (chunk: Buffer) => {
    if (connection !== undefined) {
      connection.accept(chunk);
      return;
    }
    const found = collector.acceptChunk(chunk);
    if (found === undefined) return;
    const { target } = parseRequestHead(found.raw);
    const url = new URL(target, 'https://kubelet');
    const isPortForward = url.pathname.startsWith('/portForward/');
    connection = new Connection(socket, isPortForward ? undefined : url.searchParams);
    const protocol = isPortForward ? 'portforward.k8s.io' : 'v4.channel.k8s.io';
    socket.write(
      encodeResponseHead({
        status: 101,
        headers: [
          ['Connection', 'Upgrade'],
          ['Upgrade', 'SPDY/3.1'],
          ['X-Stream-Protocol-Version', protocol],
        ],
      }),
    );
    if (found.rest.length > 0) connection.accept(found.rest);
  });
}

const offers = {
  /** Gives the port. */
  async listen({ cert, key }: { cert: string; key: string }): Promise<number> {
    const server = createServer({ cert, key, ciphers: goCiphers, requestCert: true, rejectUnauthorized: false }, serve);
    server.on('tlsClientError', () => {});
    server.listen({ host: '127.0.0.1', port: 0, backlog: 8192 });
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  },
};

export type KubeletOffers = typeof offers;

offer(offers);
