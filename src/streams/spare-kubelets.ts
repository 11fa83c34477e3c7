// Connections to kubelets that are made ahead of need. To dial is most of the time from a request to its 101: TCP and TLS are two round trips
// and two handshakes' arithmetic. A node whose streams follow one another has one connection waiting, verified and authenticated as every
// other, with nothing asked on it yet. It then carries one stream, as a connection dialled on the spot does; no user's identity is in it, since
// kubelets know kexer alone. A node that is asked once costs nothing, a busy one at most one connection after its last stream.

import type { TLSSocket } from 'node:tls';

import type { Clock, Timer } from '../base/clock.ts';
import type { KubeletAccess } from '../clusters/cluster.ts';
import { addressText } from '../net/dial.ts';
import { isSameMaterial, type TlsMaterial } from '../net/tls-memory.ts';
import type { CallStages } from '../observe/stages.ts';
import { dialKubelet } from './kubelet-dial.ts';
import type { Target } from './target.ts';

export interface SpareKubeletsOptions {
  /**
   * How long a connection waits, in milliseconds, and how closely streams to a node must follow one another for one to be made; 0: none
   * is. Kubelets close an idle connection after 90 s.
   */
  readonly lifetimeMs: number;
}

export interface DialledKubelet {
  readonly socket: TLSSocket;
  /** Made before it was asked for: the kubelet may be closing it at this very moment. */
  readonly isSpare: boolean;
}

/** Of the whole process; nodes beyond are dialled on the spot. */
const maxSpares = 100;
/** Nodes whose last stream is remembered. */
const maxRecent = 1000;

/** What tells that a waiting connection is of no use any more. */
const endings = ['end', 'close', 'error'] as const;

/** One connection, until it is taken or gone. */
class Spare {
  readonly #material: TlsMaterial;
  readonly #abort = new AbortController();
  readonly #onGone: () => void;
  readonly #dialled: Promise<TLSSocket>;
  readonly #timer: Timer;
  /** undefined while it is being made. */
  #socket: TLSSocket | undefined;

  constructor(
    clock: Clock,
    { access, target, lifetimeMs }: { access: KubeletAccess; target: Target; lifetimeMs: number },
    onGone: () => void,
  ) {
    this.#material = materialOf(access);
    this.#onGone = onGone;
    this.#socket = undefined;
    this.#timer = clock.after(lifetimeMs, this.drop);
    this.#dialled = dialKubelet({ clock }, access, target, this.#abort.signal);
    this.#dialled.then((socket) => {
      this.#socket = socket;
      for (const event of endings) socket.once(event, this.drop);
    }, this.drop); // why it failed the next stream finds out by itself
  }

  readonly drop = (): void => {
    this.#timer.cancel();
    this.#abort.abort();
    this.#socket?.destroy();
    this.#onGone();
  };

  /** Ends it as a spare. undefined: it was of no use. @param signal of the stream that it is for */
  take(access: KubeletAccess, signal: AbortSignal): Promise<DialledKubelet> | undefined {
    const socket = this.#socket;
    const isStale = socket !== undefined && (!socket.readable || !socket.writable || socket.readableLength > 0);
    if (isStale || !isSameMaterial(this.#material, materialOf(access))) {
      this.drop();
      return undefined;
    }
    this.#timer.cancel();
    this.#onGone();
    if (socket === undefined) return this.#awaitDial(signal);
    for (const event of endings) socket.off(event, this.drop);
    return Promise.resolve({ socket, isSpare: true });
  }

  /** Still being made: from now on a dial like any other, which ends with its stream. */
  async #awaitDial(signal: AbortSignal): Promise<DialledKubelet> {
    const cancel = (): void => this.#abort.abort();
    if (signal.aborted) cancel();
    signal.addEventListener('abort', cancel, { once: true });
    try {
      const socket = await this.#dialled;
      for (const event of endings) socket.off(event, this.drop);
      return { socket, isSpare: false };
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }
}

/** What is known of the kubelets of one access, by their addresses. */
interface Known {
  /** When a stream last went there, in monotonic milliseconds; the longest ago first. */
  readonly lastUse: Map<string, number>;
  /** Where the last two were close to one another. */
  readonly busy: Set<string>;
  readonly spares: Map<string, Spare>;
}

export class SpareKubelets {
  readonly #clock: Clock;
  readonly #lifetimeMs: number;
  readonly #known: WeakMap<KubeletAccess, Known>;
  /** Those that wait or are being made, of all accesses. */
  readonly #spares: Set<Spare>;
  #isClosed: boolean;

  constructor(deps: { clock: Clock }, { lifetimeMs }: SpareKubeletsOptions) {
    this.#clock = deps.clock;
    this.#lifetimeMs = lifetimeMs;
    this.#known = new WeakMap();
    this.#spares = new Set();
    this.#isClosed = lifetimeMs === 0;
  }

  /** The connection that waits for this, or a new one. @throws KexerError as {@link dialKubelet} */
  dial(
    deps: { stages: CallStages },
    access: KubeletAccess,
    target: Target,
    signal: AbortSignal,
  ): Promise<DialledKubelet> {
    const spare = this.#noteUse(access, addressText(target))?.take(access, signal);
    if (spare !== undefined) return deps.stages.run('dial', () => spare);
    const parts = { clock: this.#clock, stages: deps.stages };
    return dialKubelet(parts, access, target, signal).then((socket) => ({ socket, isSpare: false }));
  }

  /**
   * To be called when a stream to this kubelet is open: makes a spare for the next one, if there is likely to be one soon. In a turn of
   * its own: whoever waits for the open stream's 101 comes first.
   */
  prepare(access: KubeletAccess, target: Target): void {
    if (this.#known.get(access)?.busy.has(addressText(target)) !== true) return;
    this.#clock.after(0, () => this.#make(access, target));
  }

  /** Closes those that wait. None is made afterwards. */
  close(): void {
    this.#isClosed = true;
    for (const spare of this.#spares) spare.drop();
  }

  /** @returns what waits there */
  #noteUse(access: KubeletAccess, address: string): Spare | undefined {
    if (this.#isClosed) return undefined;
    const known = this.#known.get(access) ?? { lastUse: new Map(), busy: new Set(), spares: new Map() };
    this.#known.set(access, known);
    const { lastUse, busy } = known;
    const nowMs = this.#clock.monotonic();
    const lastMs = lastUse.get(address) ?? Number.NEGATIVE_INFINITY;
    if (nowMs - lastMs <= this.#lifetimeMs) busy.add(address);
    else busy.delete(address);
    lastUse.delete(address);
    lastUse.set(address, nowMs);
    if (lastUse.size > maxRecent) {
      const [oldest = ''] = lastUse.keys();
      lastUse.delete(oldest);
      busy.delete(oldest);
    }
    return known.spares.get(address);
  }

  #make(access: KubeletAccess, target: Target): void {
    const address = addressText(target);
    const spares = this.#known.get(access)?.spares;
    if (this.#isClosed || spares === undefined || spares.has(address) || this.#spares.size >= maxSpares) return;
    const spare = new Spare(this.#clock, { access, target, lifetimeMs: this.#lifetimeMs }, () => {
      this.#spares.delete(spare);
      if (spares.get(address) === spare) spares.delete(address);
    });
    this.#spares.add(spare);
    spares.set(address, spare);
  }
}

function materialOf(access: KubeletAccess): TlsMaterial {
  return { ca: access.ca, certificate: access.certificate() };
}
