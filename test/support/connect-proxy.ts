// A small HTTP proxy that knows CONNECT and remembers what it was asked and what passed through it; or one that behaves as badly as a test wants.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';

import type { Scope } from '../../src/base/scope.ts';

/** What is kept of each tunnel, both ways together. */
const maxSeenBytes = 256 * 1024;

/** One CONNECT, its head whole. */
export interface ConnectRequest {
  /** latin1, the empty line included. */
  readonly head: string;
  /** As it stands in the request line. */
  readonly target: string;
  readonly socket: Socket;
}

export interface ConnectProxyOptions {
  /** For a proxy that is spoken to by TLS. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** What is done with a CONNECT; default: {@link ConnectProxy.tunnel}. */
  readonly answer?: (request: ConnectRequest, proxy: ConnectProxy) => void;
  /** What is done with a connection, before anything is read of it; default: its head is read. */
  readonly accept?: (socket: Socket) => void;
}

export class ConnectProxy {
  readonly port: number;
  readonly isTls: boolean;
  /** Of every CONNECT, in order. */
  readonly heads: string[];
  readonly targets: string[];
  /** What passed through tunnels, latin1, up to a bound each. */
  readonly seen: string[];
  answer: (request: ConnectRequest, proxy: ConnectProxy) => void;
  readonly #sockets: Set<Socket>;
  readonly #clients: Set<Socket>;

  private constructor(port: number, options: ConnectProxyOptions, sockets: Set<Socket>) {
    this.port = port;
    this.isTls = options.tls !== undefined;
    this.answer = options.answer ?? ((request) => this.tunnel(request));
    this.heads = [];
    this.targets = [];
    this.seen = [];
    this.#sockets = sockets;
    this.#clients = new Set();
  }

  static async start(scope: Scope, options: ConnectProxyOptions = {}): Promise<ConnectProxy> {
    const sockets = new Set<Socket>();
    const running: { proxy?: ConnectProxy } = {};
    const onConnection = (socket: Socket): void => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.once('close', () => sockets.delete(socket));
      if (options.accept === undefined) running.proxy?.read(socket);
      else options.accept(socket);
    };
    const server: Server =
      options.tls === undefined
        ? createServer({ noDelay: true }, onConnection)
        : createTlsServer({ ...options.tls }, onConnection);
    // Half-made TLS connections end with the server, too.
    const raw = new Set<Socket>();
    server.on('connection', (socket: Socket) => {
      raw.add(socket.on('error', () => {}));
      socket.once('close', () => raw.delete(socket));
    });
    server.on('tlsClientError', () => {});
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const proxy = new ConnectProxy((server.address() as AddressInfo).port, options, sockets);
    running.proxy = proxy;
    scope.add(async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of [...sockets, ...raw]) socket.destroy();
      await closed;
    });
    return proxy;
  }

  get url(): string {
    return `${this.isTls ? 'https' : 'http'}://127.0.0.1:${this.port}`;
  }

  /** Connections to it that are open, and those of tunnels to their ends. */
  get openCount(): number {
    return this.#sockets.size;
  }

  /** As a proxy closes what has been idle for too long. */
  closeAll(): void {
    for (const socket of this.#sockets) socket.end();
  }

  /** From now on tunnels that are open are reset by what next comes through them from the client. */
  resetOnData(): void {
    for (const socket of this.#clients) {
      socket.unpipe().removeAllListeners('data');
      socket.once('data', () => socket.resetAndDestroy()).resume();
    }
  }

  /** Answers 200 and joins both ends. */
  tunnel({ target, socket }: ConnectRequest, established = 'HTTP/1.1 200 Connection established\r\n\r\n'): void {
    const [, host = '', port = ''] = /^\[?(.*?)\]?:(\d+)$/.exec(target) ?? [];
    const peer = connect({ host, port: Number(port), noDelay: true });
    this.#sockets.add(peer);
    const index = this.seen.push('') - 1;
    const note = (chunk: Buffer): void => {
      const seen = this.seen[index] ?? '';
      if (seen.length < maxSeenBytes) this.seen[index] = seen + chunk.toString('latin1');
    };
    const onRefused = (): void => void socket.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n');
    peer.once('error', onRefused).on('error', () => {});
    peer.once('connect', () => {
      peer.off('error', onRefused);
      socket.write(established);
      socket.on('data', note);
      peer.on('data', note);
      socket.pipe(peer);
      this.#clients.add(socket);
      socket.once('close', () => this.#clients.delete(socket));
      peer.pipe(socket);
    });
    const end = (): void => {
      socket.destroy();
      peer.destroy();
    };
    peer.once('close', () => {
      this.#sockets.delete(peer);
      // What it has sent is still to be passed on.
      if (!socket.writableEnded) socket.end();
    });
    socket.once('close', end);
  }

  read(socket: Socket): void {
    let held = '';
    const onData = (chunk: Buffer): void => {
      held += chunk.toString('latin1');
      const end = held.indexOf('\r\n\r\n');
      if (end === -1) return;
      socket.off('data', onData).pause();
      const head = held.slice(0, end + 4);
      const [method = '', target = ''] = head.split(' ');
      this.heads.push(head);
      if (method !== 'CONNECT') {
        socket.end('HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n');
        return;
      }
      this.targets.push(target);
      const rest = held.slice(end + 4);
      if (rest !== '') socket.unshift(Buffer.from(rest, 'latin1'));
      this.answer({ head, target, socket }, this);
    };
    socket.on('data', onData);
  }
}
