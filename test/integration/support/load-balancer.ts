// A TCP load balancer as a Service or a cloud's is one: new connections go in turn to the backends that say they are ready, what is open stays
// where it is, and nothing is ever tried again.

import { request } from 'node:https';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** How often backends are asked; a kubelet's is slower, and so is the shutdown delay of a kexer there. */
const probeMs = 100;

export class LoadBalancer {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;
  /** By port: whether it was ready when it was asked last. */
  readonly #backends: Map<number, boolean>;
  readonly #waiters: Set<() => void>;
  readonly #timer: NodeJS.Timeout;
  /** Connections that each backend was given. */
  readonly counts: Map<number, number>;
  #next: number;

  constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    this.#sockets = new Set();
    this.#backends = new Map();
    this.#waiters = new Set();
    this.counts = new Map();
    this.#next = 0;
    server.on('connection', (socket) => this.#accept(socket));
    this.#timer = setInterval(() => this.#probe(), probeMs);
  }

  static async start(): Promise<LoadBalancer> {
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    return new LoadBalancer(server);
  }

  /** A backend that is given connections from its first good answer on. */
  add(port: number): void {
    this.#backends.set(port, false);
  }

  /** Resolves when a backend is given connections, or is not any more. */
  async until(port: number, isReady: boolean): Promise<void> {
    while (this.#backends.get(port) !== isReady) {
      await new Promise<void>((resolve) => {
        this.#waiters.add(resolve);
      });
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
  }

  #probe(): void {
    for (const port of this.#backends.keys()) {
      const outgoing = request(
        { host: '127.0.0.1', port, path: '/readyz', rejectUnauthorized: false, agent: false, timeout: 1000 },
        (response) => {
          response.resume();
          this.#set(port, response.statusCode === 200);
        },
      );
      outgoing.on('timeout', () => outgoing.destroy());
      outgoing.on('error', () => this.#set(port, false));
      outgoing.end();
    }
  }

  #set(port: number, isReady: boolean): void {
    if (this.#backends.get(port) === isReady) return;
    this.#backends.set(port, isReady);
    const waiters = Array.from(this.#waiters);
    this.#waiters.clear();
    for (const wake of waiters) wake();
  }

  #accept(socket: Socket): void {
    const ready = [...this.#backends].filter(([, isReady]) => isReady).map(([port]) => port);
    const port = ready[this.#next % Math.max(1, ready.length)];
    this.#next += 1;
    this.#own(socket);
    if (port === undefined) {
      socket.destroy();
      return;
    }
    this.counts.set(port, (this.counts.get(port) ?? 0) + 1);
    const backend = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    this.#own(backend);
    socket.on('error', () => backend.destroy()).on('close', () => backend.destroy());
    backend.on('error', () => socket.destroy()).on('close', () => socket.end());
    socket.pipe(backend);
    backend.pipe(socket);
  }

  #own(socket: Socket): void {
    socket.setNoDelay(true);
    socket.on('error', () => {}); // the other side of it is told where it is piped
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }
}
