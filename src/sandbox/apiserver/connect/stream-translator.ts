// StreamTranslatorHandler: a WebSocket v5 client on one side, SPDY to the kubelet on the other, with the executor of client-go in
// between. The client gets its 101 first, so a kubelet's refusal arrives as a Failure status. Like the real one it takes an error
// stream that ends empty for success, even when the connection to the kubelet died: exactly the fault kexer exists to avoid.

import type { Duplex } from 'node:stream';

import type { Clock } from '../../../base/clock.ts';
import { describeError } from '../../../base/errors.ts';
import { unreachable } from '../../../base/unreachable.ts';
import { SpdyConnection, type SpdyStream } from '../../../net/spdy-connection.ts';
import { readBody, requestUpgrade } from '../../../net/upgrade.ts';
import { WebSocketConnection } from '../../../net/websocket-connection.ts';
import { channelByte, ChannelDecoder, channels } from '../../../protocol/channel.ts';
import {
  type CommandEnd,
  exitCodeStatus,
  failureStatus,
  parseCommandEnd,
  successStatus,
} from '../../../protocol/exit-status.ts';
import type { HeaderPairs } from '../exchange.ts';
import type { RelayCounts } from './raw-relay.ts';
import type { ConnectOptions } from './options.ts';

/** What client-go offers on SPDY, newest first. */
const offeredProtocols = ['v5', 'v4', 'v3', 'v2']
  .map((version) => `${version}.channel.k8s.io`)
  .concat('channel.k8s.io');
const upgradeTimeoutMs = 300_000;
const maxRefusalBytes = 64 * 1024;
const pingIntervalMs = 5000;

export interface TranslatorDeps {
  readonly clock: Clock;
  /** A fresh connection to the kubelet; its failures become the client's Failure status. */
  readonly dial: () => Promise<Duplex>;
  /** The text of such a failure. */
  readonly describeDial: (error: unknown) => string;
}

/** Runs one session on a client socket that has had its 101. Settles when it is over. */
export class StreamTranslator {
  readonly #deps: TranslatorDeps;
  readonly #options: ConnectOptions;
  readonly #target: string;
  readonly #headers: HeaderPairs;
  readonly #socket: WebSocketConnection;
  readonly #decoder = new ChannelDecoder({ isBase64: false, hasHalfClose: true, channelCount: 5 });
  /** Streams towards the kubelet by channel: stdin and resize. */
  readonly #sinks = new Map<number, SpdyStream>();
  readonly #ended: Promise<void>;
  #spdy: SpdyConnection | undefined;
  #isOver = false;

  constructor(
    deps: TranslatorDeps,
    session: { client: Duplex; head: Buffer; options: ConnectOptions; target: string; headers: HeaderPairs },
  ) {
    this.#deps = deps;
    this.#options = session.options;
    this.#target = session.target;
    this.#headers = session.headers;
    let resolveEnded = (): void => {};
    this.#ended = new Promise((resolve) => {
      resolveEnded = resolve;
    });
    this.#socket = new WebSocketConnection(
      { socket: session.client, clock: deps.clock },
      { role: 'server', head: session.head },
      {
        onData: (piece) => this.#fromClient(piece),
        onEnd: () => {
          this.#isOver = true;
          this.#spdy?.destroy();
          resolveEnded();
        },
      },
    );
  }

  async run(): Promise<RelayCounts> {
    const { stdout, stderr, tty } = this.#options;
    // Until the kubelet is there nobody takes stdin, so nothing of the client is read.
    this.#socket.pause();
    this.#socket.sendBinary(channelByte(stdout ? channels.stdout : stderr && !tty ? channels.stderr : channels.error));
    const status = await this.#execute();
    this.#socket.sendBinary(channelByte(channels.error), status);
    this.#socket.resume();
    void this.#socket.close(1000, '');
    this.#spdy?.destroy();
    await this.#ended;
    return { fromClient: this.#socket.bytesIn, toClient: this.#socket.bytesOut };
  }

  async #execute(): Promise<Buffer> {
    let backend: Duplex;
    try {
      backend = await this.#deps.dial();
    } catch (error) {
      return failureStatus('translator', this.#deps.describeDial(error));
    }
    try {
      const answer = await requestUpgrade(
        backend,
        { method: 'POST', target: this.#target, headers: this.#headers },
        { timeoutMs: upgradeTimeoutMs, clock: this.#deps.clock },
      );
      if (answer.head.status !== 101) {
        const body = await readBody(backend, answer.head, answer.rest, {
          maxBytes: maxRefusalBytes,
          timeoutMs: upgradeTimeoutMs,
          clock: this.#deps.clock,
        });
        backend.destroy();
        return failureStatus('translator', `unable to upgrade connection: ${body.toString('utf8')}`);
      }
      return await this.#stream(backend, answer.rest);
    } catch (error) {
      backend.destroy();
      return failureStatus('translator', describeError(error));
    }
  }

  /** The executor: streams in client-go's order, then everything until stdout, stderr and the error stream have ended. */
  #stream(backend: Duplex, head: Buffer): Promise<Buffer> {
    return new Promise((resolve) => {
      const errorParts: Buffer[] = [];
      const open = new Set<string>();
      const done = (name: string): void => {
        open.delete(name);
        if (open.size === 0) resolve(statusFrom(Buffer.concat(errorParts)));
      };
      const spdy = new SpdyConnection(
        { socket: backend, clock: this.#deps.clock },
        { role: 'client', head, pingIntervalMs },
        {
          onEnd: () => {
            for (const name of open) done(name);
          },
        },
      );
      this.#spdy = spdy;
      const create = (name: string, onData?: (bytes: Buffer) => void): SpdyStream => {
        if (onData !== undefined) open.add(name);
        const handlers = onData === undefined ? {} : { onData, onEnd: () => done(name) };
        return spdy.createStream([['streamtype', name]], handlers);
      };
      const { stdin, stdout, stderr, tty } = this.#options;
      create('error', (bytes) => errorParts.push(bytes));
      if (stdin) this.#sinks.set(channels.stdin, create('stdin'));
      if (stdout) create('stdout', (bytes) => this.#toClient(channels.stdout, bytes));
      if (stderr && !tty) create('stderr', (bytes) => this.#toClient(channels.stderr, bytes));
      if (tty) this.#sinks.set(channels.resize, create('resize'));
      if (this.#isOver) spdy.destroy();
      else this.#socket.resume();
    });
  }

  #toClient(channel: number, bytes: Buffer): void {
    const { isWritable } = this.#socket;
    this.#socket.sendBinary(channelByte(channel), bytes);
    // One pause for each time the client falls behind, not one for each message of a full chunk.
    if (!isWritable || this.#socket.isWritable) return;
    this.#spdy?.pause();
    this.#socket.onDrain(() => this.#spdy?.resume());
  }

  #fromClient(piece: { bytes: Buffer; isFirst: boolean; isLast: boolean }): void {
    const event = this.#decoder.accept(piece);
    if (event === undefined) return;
    const sink = this.#sinks.get(event.channel);
    if (sink === undefined) return;
    if (event.type === 'close') {
      sink.end();
      return;
    }
    if (sink.write(event.bytes)) return;
    // As in the real one a blocked stdin stops the reading of everything, pings included.
    this.#socket.pause();
    this.#spdy?.onDrain(() => this.#socket.resume());
  }
}

/** What client-go's executor concludes, and the translator's words for it. */
function statusFrom(message: Buffer): Buffer {
  if (message.length === 0) return successStatus('translator');
  let end: CommandEnd;
  try {
    end = parseCommandEnd(message);
  } catch (error) {
    return failureStatus('translator', `error stream protocol error: ${describeError(error)}`);
  }
  switch (end.kind) {
    case 'success':
      return successStatus('translator');
    case 'exit':
      return exitCodeStatus('translator', end.exitCode);
    case 'failure':
      return failureStatus('translator', end.message);
    default:
      return unreachable(end);
  }
}

/** Headers of the executor's own request; the client's, but for what belongs to its WebSocket. */
export function translatorHeaders(clientHeaders: HeaderPairs, host: string): HeaderPairs {
  const kept = clientHeaders.filter(([name]) => /^(user-agent|x-forwarded-for)$/i.test(name));
  return [
    ['Host', host],
    ...kept,
    ['Content-Length', '0'],
    ['Connection', 'Upgrade'],
    ['Upgrade', 'SPDY/3.1'],
    ...offeredProtocols.map((protocol): readonly [string, string] => ['X-Stream-Protocol-Version', protocol]),
  ];
}
