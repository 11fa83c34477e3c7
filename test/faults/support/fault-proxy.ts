// A TCP relay that does harm at an exact byte. TLS passes through it untouched, so it stands for the network: it can end, reset, half-close,
// stall or slow down a connection, and tell others that a byte has passed so that they do theirs. It never changes a byte.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

import { resetSocket } from '../../../src/net/reset.ts';

/** `up` is from the one who dialled; `down` is the answer. */
export type Direction = 'up' | 'down';

export interface Trigger {
  readonly direction: Direction;
  /** Bytes of that direction that pass before it goes off; the handshake of TLS counts. */
  readonly atByte: number;
}

export type ProxyAction =
  /** FIN both ways; what passed before is delivered. */
  | { readonly kind: 'cut' }
  /** RST both ways. */
  | { readonly kind: 'reset' }
  /** FIN in the trigger's direction; the other one goes on. */
  | { readonly kind: 'halfClose' }
  /** Nothing passes any more, until resumed after `forMs` or for ever (`undefined`). */
  | { readonly kind: 'stall'; readonly forMs: number | undefined }
  /** From there on pieces of at most `pieceBytes`, with a pause of a turn (or `everyMs`) between, for `pieces` pieces. */
  | { readonly kind: 'drip'; readonly pieceBytes: number; readonly everyMs: number; readonly pieces: number }
  /** Nothing on the wire: somebody else acts. */
  | { readonly kind: 'none' };

export interface ProxyFault {
  readonly trigger: Trigger;
  readonly action: ProxyAction;
  /** Called when it goes off. */
  readonly onFired?: () => void;
}

/** One direction of one connection. */
class Lane {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #onBytes: (lane: Lane, chunk: Buffer) => void;
  bytes = 0;
  #queue: Buffer[] = [];
  isHeld = false;
  #hasEnded = false;
  #isAbandoned = false;
  #drip: { pieceBytes: number; everyMs: number; pieces: number } | undefined;
  #dripTimer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket, onBytes: (lane: Lane, chunk: Buffer) => void) {
    this.#from = from;
    this.#to = to;
    this.#onBytes = onBytes;
    from.on('data', (chunk: Buffer) => {
      if (this.isHeld || this.#drip !== undefined) this.#keep(chunk);
      else this.#onBytes(this, chunk);
    });
    from.on('end', () => {
      this.#hasEnded = true;
      if (!this.isHeld && this.#queue.length === 0) to.end();
    });
    to.on('drain', () => {
      if (!this.isHeld && this.#drip === undefined) from.resume();
    });
  }

  /** Bytes wait to be read, or were read and wait to be passed: an end behind them is not seen, and of a reset nothing is ever seen. */
  get isBlocked(): boolean {
    return !this.#from.destroyed && !this.#from.readableEnded && this.#from.isPaused();
  }

  send(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.bytes += chunk.length;
    if (!this.#to.write(chunk)) this.#from.pause();
  }

  /** Puts back what a fault has stopped from passing. */
  keepFirst(chunk: Buffer): void {
    if (chunk.length > 0) this.#queue.unshift(chunk);
  }

  #keep(chunk: Buffer): void {
    this.#queue.push(chunk);
    this.#from.pause();
  }

  hold(): void {
    this.isHeld = true;
    this.#from.pause();
  }

  release(): void {
    this.isHeld = false;
    if (this.#isAbandoned) return;
    const queue = this.#queue;
    this.#queue = [];
    for (const chunk of queue) this.send(chunk);
    if (this.#hasEnded) this.#to.end();
    else this.#from.resume();
  }

  drip(drip: { pieceBytes: number; everyMs: number; pieces: number }): void {
    this.#drip = { ...drip };
    this.#from.pause();
    this.#dripOnce();
  }

  #dripOnce(): void {
    const drip = this.#drip;
    if (drip === undefined) return;
    if (drip.pieces <= 0) {
      this.#drip = undefined;
      this.release();
      return;
    }
    const first = this.#queue.shift();
    if (first === undefined) {
      if (this.#hasEnded) this.#to.end();
      else this.#from.resume();
    } else {
      drip.pieces -= 1;
      this.keepFirst(first.subarray(drip.pieceBytes));
      this.send(first.subarray(0, drip.pieceBytes));
    }
    this.#dripTimer = setTimeout(() => this.#dripOnce(), drip.everyMs);
  }

  /** FIN after what passed; what comes later is dropped. */
  end(): void {
    this.hold();
    this.#discard();
    this.#to.end();
  }

  /** There is nobody any more to pass anything to: what comes is read and dropped, since an end is only seen by who reads up to it. */
  abandon(): void {
    this.#isAbandoned = true;
    this.stop();
    this.#discard();
  }

  #discard(): void {
    this.#queue = [];
    this.#from.removeAllListeners('data');
    this.#from.on('data', () => {});
    this.#from.resume();
  }

  stop(): void {
    clearTimeout(this.#dripTimer);
    this.#drip = undefined;
  }
}

/** One relayed connection. */
class Relay {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #up: Lane;
  readonly #down: Lane;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly isMeant: boolean;
  #fault: ProxyFault | undefined;

  constructor(client: Socket, server: Socket, fault: ProxyFault | undefined, isMeant: boolean) {
    this.isMeant = isMeant;
    this.#client = client;
    this.#server = server;
    this.#fault = fault;
    this.#up = new Lane(client, server, (lane, chunk) => this.#pass('up', lane, chunk));
    this.#down = new Lane(server, client, (lane, chunk) => this.#pass('down', lane, chunk));
    // An end by reset on one side is one on the other: the proxy stands for a wire.
    client.on('error', () => resetSocket(server));
    server.on('error', () => resetSocket(client));
    client.on('close', () => this.#closed(server, this.#down));
    server.on('close', () => this.#closed(client, this.#up));
    // At byte 0 there is nothing to wait for.
    if (fault !== undefined && fault.trigger.atByte === 0) server.once('connect', () => this.#fire());
  }

  get bytes(): { up: number; down: number } {
    return { up: this.#up.bytes, down: this.#down.bytes };
  }

  /** Nothing passes in a direction, not even an end: a fault holds it, or who should take it does not. */
  get isBlocked(): boolean {
    return this.#up.isBlocked || this.#down.isBlocked;
  }

  destroy(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#up.stop();
    this.#down.stop();
    this.#client.destroy();
    this.#server.destroy();
  }

  reset(): void {
    resetSocket(this.#client);
    resetSocket(this.#server);
  }

  /** @param from the lane that leads from the other side to the one that has closed */
  #closed(other: Socket, from: Lane): void {
    this.#up.stop();
    this.#down.stop();
    // Both FINs have passed, or a reset: nothing can come any more.
    if (!other.writableEnded) other.destroy();
    // Its own end is still to come, and it may be paused: nobody would resume it.
    else if (!other.destroyed) from.abandon();
  }

  #pass(direction: Direction, lane: Lane, chunk: Buffer): void {
    const fault = this.#fault;
    if (fault === undefined || fault.trigger.direction !== direction) {
      lane.send(chunk);
      return;
    }
    const room = fault.trigger.atByte - lane.bytes;
    if (chunk.length < room) {
      lane.send(chunk);
      return;
    }
    lane.send(chunk.subarray(0, room));
    this.#fire(chunk.subarray(room));
  }

  #fire(rest: Buffer = Buffer.alloc(0)): void {
    const fault = this.#fault;
    this.#fault = undefined;
    if (fault === undefined) return;
    const { action, trigger } = fault;
    const lane = trigger.direction === 'up' ? this.#up : this.#down;
    switch (action.kind) {
      case 'cut':
        this.#up.end();
        this.#down.end();
        break;
      case 'reset':
        this.reset();
        break;
      case 'halfClose':
        lane.end();
        break;
      case 'stall': {
        lane.keepFirst(rest);
        this.#up.hold();
        this.#down.hold();
        if (action.forMs === undefined) break;
        this.#timers.push(
          setTimeout(() => {
            this.#up.release();
            this.#down.release();
          }, action.forMs),
        );
        break;
      }
      case 'drip':
        lane.keepFirst(rest);
        lane.drip(action);
        break;
      case 'none':
        lane.send(rest);
        break;
    }
    fault.onFired?.();
  }
}

export class FaultProxy {
  readonly #server: Server;
  readonly #relays = new Set<Relay>();
  readonly #isMeant: (client: Socket) => boolean;
  #target: number;
  #fault: ProxyFault | undefined;
  /** Local ports of the connections, by the port of their target. */
  readonly #ledTo = new Map<number, Set<number>>();
  #first: Relay | undefined;

  private constructor(server: Server, target: number, isMeant: (client: Socket) => boolean) {
    this.#server = server;
    this.#target = target;
    this.#isMeant = isMeant;
    server.on('connection', (client: Socket) => this.#accept(client));
  }

  /**
   * A proxy on a free port of 127.0.0.1 in front of another one there.
   * @param isMeant which connections faults are for; others pass and are not counted
   */
  static async start(target: number, isMeant: (client: Socket) => boolean = () => true): Promise<FaultProxy> {
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FaultProxy(server, target, isMeant);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Connections that faults are for and that have an open side. */
  get openConnections(): number {
    return this.#relays.size - this.otherConnections;
  }

  /** Those of others. */
  get otherConnections(): number {
    return [...this.#relays].filter(({ isMeant }) => !isMeant).length;
  }

  /** Bytes that the connection passed which came first after the last `arm`. */
  get passed(): { up: number; down: number } {
    return this.#first?.bytes ?? { up: 0, down: 0 };
  }

  /**
   * Whether a connection since the last `arm` leads from the local port to that target: so the other process's ends are known. The port alone
   * is not enough: Linux gives connections to different targets the same local port, now and then.
   */
  hasLedTo(target: number, localPort: number): boolean {
    return this.#ledTo.get(target)?.has(localPort) ?? false;
  }

  aimAt(target: number): void {
    this.#target = target;
  }

  /** The next connection gets this fault; those after it none. */
  arm(fault: ProxyFault | undefined): void {
    this.#fault = fault;
    this.#first = undefined;
    this.#ledTo.clear();
  }

  /** Closes all connections. */
  drop(): void {
    for (const relay of this.#relays) relay.destroy();
  }

  /** Resets all connections, as the machines on both sides see it when the other one's process was killed. */
  reset(): void {
    for (const relay of this.#relays) relay.reset();
  }

  /**
   * Closes those in which something waits for ever, since a fault has stalled them or since one side does not read: by themselves they
   * would not even notice that the other side is gone, as a socket that is not read tells nothing of its end.
   */
  dropBlocked(): void {
    for (const relay of this.#relays) if (relay.isBlocked) relay.destroy();
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.drop();
    await closed;
  }

  #accept(client: Socket): void {
    const isMeant = this.#isMeant(client);
    const fault = isMeant ? this.#fault : undefined;
    if (isMeant) this.#fault = undefined;
    const target = this.#target;
    const server = connect({ host: '127.0.0.1', port: target, allowHalfOpen: true, noDelay: true });
    const relay = new Relay(client, server, fault, isMeant);
    this.#relays.add(relay);
    server.once('connect', () => {
      const ports = this.#ledTo.get(target) ?? new Set();
      this.#ledTo.set(target, ports.add(server.localPort ?? 0));
    });
    if (isMeant) this.#first ??= relay;
    for (const socket of [client, server]) {
      socket.once('close', () => {
        if (client.closed && server.closed) this.#relays.delete(relay);
      });
    }
  }
}
