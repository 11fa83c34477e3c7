// The pings of one SPDY connection: those of ours, what waits for their echoes, and echoes that nobody asked for. Whose a ping is, is told by its
// parity (SPDY/3.1, 2.6.5): clients count odd, servers even.

import type { SpdyEncoder } from '../protocol/spdy/encoder.ts';
import { maxStreamId } from '../protocol/spdy/frame.ts';
import type { SilenceWatch } from './silence-watch.ts';
import type { SocketWriter } from './socket-writer.ts';

interface PingDeps {
  readonly encoder: SpdyEncoder;
  readonly writer: SocketWriter;
  readonly silence: SilenceWatch | undefined;
}

export class SpdyPings {
  readonly #deps: PingDeps;
  #nextId: number;
  #bytes: number;
  /** By the ping whose echo they wait for. */
  #readRuns: Map<number, () => void> | undefined;

  constructor(deps: PingDeps, role: 'client' | 'server') {
    this.#deps = deps;
    this.#nextId = role === 'client' ? 1 : 2;
    this.#bytes = 0;
    this.#readRuns = undefined; // few connections ask
  }

  /** Of pings of ours, their echoes and unasked ones, both ways: what was not caused by anything else. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @param onEcho called once when the peer echoes it. */
  send(onEcho?: () => void): void {
    const id = this.#nextId;
    this.#nextId = id + 2 > maxStreamId ? id % 2 || 2 : id + 2;
    this.#write(id);
    this.#deps.silence?.pingSent(id);
    if (onEcho === undefined) return;
    this.#readRuns ??= new Map();
    this.#readRuns.set(id, onEcho);
  }

  /** As if the peer had pinged, with the last number that it would come to: it ignores what it did not send (2.6.5). */
  sendUnasked(): void {
    this.#write(this.#nextId % 2 === 0 ? maxStreamId : maxStreamId - 1);
  }

  /** @returns false: it is no echo of ours, but a ping of the peer, which is owed one. */
  acceptEcho(id: number): boolean {
    if (id % 2 !== this.#nextId % 2) return false;
    this.#bytes += this.#deps.encoder.ping(id).length;
    this.#deps.silence?.pongHeard(id);
    const run = this.#readRuns?.get(id);
    this.#readRuns?.delete(id);
    run?.();
    return true;
  }

  #write(id: number): void {
    const frame = this.#deps.encoder.ping(id);
    this.#bytes += frame.length;
    this.#deps.writer.write(frame);
  }
}
