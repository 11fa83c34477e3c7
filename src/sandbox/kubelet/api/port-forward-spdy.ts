// port-forward over SPDY (reference, section 6), natively or inside a WebSocket tunnel: each forwarded connection is a pair of
// streams, `error` and `data`, joined by requestid.

import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../../../base/clock.ts';
import { SpdyConnection, type SpdyStream } from '../../../net/spdy-connection.ts';
import { dialPort, forwardErrorText } from './port-dialer.ts';

/** A pair must be complete within this time. */
const pairTimeoutMs = 30_000;

/** Writes that may wait for a slow port before the connection is held: the frames that spdystream queues for a worker. */
const maxPendingWrites = 50;

interface Pair {
  readonly requestId: string;
  readonly timer: Timer;
  error?: SpdyStream;
  data?: SpdyStream;
}

class PortForward {
  readonly #clock: Clock;
  readonly #sandboxId: string;
  readonly #connection: SpdyConnection;
  readonly #pairs = new Map<string, Pair>();
  readonly #locals = new Set<Socket>();

  constructor(deps: { socket: Duplex; clock: Clock }, options: { head: Buffer; sandboxId: string; onEnd: () => void }) {
    this.#clock = deps.clock;
    this.#sandboxId = options.sandboxId;
    this.#connection = new SpdyConnection(
      deps,
      { role: 'server', head: options.head, isSilentUntilPeerSpeaks: true },
      {
        onStream: (stream) => this.#acceptStream(stream),
        onEnd: () => {
          for (const pair of this.#pairs.values()) pair.timer.cancel();
          for (const local of this.#locals) local.destroy();
          options.onEnd();
        },
      },
    );
  }

  #acceptStream(stream: SpdyStream): void {
    const header = (name: string): string => stream.headers.find(([key]) => key.toLowerCase() === name)?.[1] ?? '';
    const type = header('streamtype');
    const port = header('port');
    if (
      !/^[0-9]{1,5}$/.test(port) ||
      Number(port) < 1 ||
      Number(port) > 65_535 ||
      (type !== 'error' && type !== 'data')
    ) {
      stream.reset();
      return;
    }
    // Clients without requestid open the error stream first and then the data stream: their ids differ by 2.
    const fallback = String(type === 'error' ? stream.id : stream.id - 2);
    const requestId = header('requestid') === '' ? fallback : header('requestid');
    const pair = this.#pairs.get(requestId) ?? this.#newPair(requestId);
    stream.reply();
    if (pair[type] !== undefined) {
      this.#fail(pair, `error stream ${type} already exists for request ${requestId}`);
      return;
    }
    pair[type] = stream;
    const { error, data } = pair;
    if (error === undefined || data === undefined) return;
    pair.timer.cancel();
    this.#pairs.delete(requestId);
    this.#forward(error, data, Number(port));
  }

  #newPair(requestId: string): Pair {
    const timer = this.#clock.after(pairTimeoutMs, () =>
      this.#fail(pair, `timed out waiting for streams of request ${requestId}`),
    );
    const pair: Pair = { requestId, timer };
    this.#pairs.set(requestId, pair);
    return pair;
  }

  #fail(pair: Pair, text: string): void {
    pair.timer.cancel();
    this.#pairs.delete(pair.requestId);
    pair.error?.write(Buffer.from(text));
    pair.error?.reset();
    pair.data?.reset();
  }

  /** Listens to the streams at once, since bytes may come before the port is reached. */
  #forward(errors: SpdyStream, data: SpdyStream, port: number): void {
    const early: Buffer[] = [];
    let local: Socket | undefined;
    let hasEnded = false;
    let pendingWrites = 0;
    let isHolding = false;
    const write = (socket: Socket, bytes: Buffer): void => {
      pendingWrites += 1;
      socket.write(bytes, () => {
        pendingWrites -= 1;
        if (pendingWrites > 0 || !isHolding) return;
        isHolding = false;
        this.#connection.resume();
      });
      if (pendingWrites <= maxPendingWrites || isHolding) return;
      isHolding = true;
      this.#connection.pause();
    };
    data.setHandlers({
      onData: (bytes) => (local === undefined ? early.push(bytes) : write(local, bytes)),
      onEnd: (how) => {
        hasEnded = true;
        if (how === 'fin') local?.end();
        else local?.destroy();
      },
    });
    const opened = (socket: Socket): void => {
      local = socket;
      this.#adopt(socket, errors, data);
      for (const bytes of early.splice(0)) write(socket, bytes);
      if (hasEnded) socket.end();
    };
    dialPort(port, this.#sandboxId).then(opened, (error: unknown) => {
      data.end();
      errors.write(Buffer.from(forwardErrorText(port, this.#sandboxId, error)));
      errors.reset();
    });
  }

  #adopt(local: Socket, errors: SpdyStream, data: SpdyStream): void {
    local.on('error', () => {}); // a broken connection is an end: 'close' follows
    if (this.#connection.isEnded) {
      local.destroy();
      return;
    }
    this.#locals.add(local);
    local.on('data', (bytes: Buffer) => {
      if (data.write(bytes)) return;
      local.pause();
      this.#connection.onDrain(() => local.resume());
    });
    const finish = (): void => {
      data.end();
      errors.end();
    };
    // The pod's end of output ends the forwarded connection, as containerd's copy does.
    local.once('end', () => {
      finish();
      local.end();
    });
    local.once('close', () => {
      this.#locals.delete(local);
      finish();
    });
  }
}

/** Takes the upgraded socket (or a tunnel) over. */
export function servePortForwardOverSpdy(
  deps: { socket: Duplex; clock: Clock },
  options: { head: Buffer; sandboxId: string; onEnd: () => void },
): void {
  // The object lives in its connection's handlers.
  void new PortForward(deps, options);
}
