// A WebSocket client for tests at frame level, over TLS or TCP: it sends what a test wants to be sent, also what no library would
// (fragments, text on a binary protocol, unmasked or reserved frames, bytes right behind the handshake), and keeps all it gets, by
// channel. By default it behaves as client-go does: it answers pings and a Close.

import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Scope } from '../../src/base/scope.ts';
import { dialTcp, dialTls } from '../../src/net/dial.ts';
import { resetSocket } from '../../src/net/reset.ts';
import { readBody, requestUpgrade } from '../../src/net/upgrade.ts';
import { base64Message, channelByte, ChannelDecoder, channels, closeMessage } from '../../src/protocol/channel.ts';
import { type CommandEnd, parseCommandEnd } from '../../src/protocol/exit-status.ts';
import type { ResponseHead } from '../../src/protocol/http-head.ts';
import type { RawHeaders } from '../../src/protocol/raw-headers.ts';
import {
  closePayload,
  encodeFrame,
  opcodes,
  WebSocketDecoder,
  type WebSocketEvent,
} from '../../src/protocol/websocket/frame.ts';
import { checkWebSocketAccepted, websocketRequestHeaders } from '../../src/protocol/websocket/handshake.ts';

export interface WebSocketClientOptions {
  /** `https://127.0.0.1:6443/api/v1/…/exec?command=…`; the path and query go out as written. `http:` for plain TCP. */
  readonly url: string;
  /** Subprotocols to offer, in order; none by default. */
  readonly protocols?: readonly string[];
  /** PEM of the server's CA; without it no certificate is verified. */
  readonly ca?: string;
  /** A client certificate. */
  readonly certificate?: { readonly cert: string; readonly key: string };
  /** A bearer token. */
  readonly token?: string;
  /** Further headers, behind those of the handshake. */
  readonly headers?: RawHeaders;
  /** How many channels to collect; 5 by default, twice the ports for port-forward; 0: the protocol has none, see `messages`. */
  readonly channelCount?: number;
  /** Answer a Close with a Close and FIN; default true. */
  readonly answersClose?: boolean;
  /** Answer pings; default true. */
  readonly answersPings?: boolean;
  readonly timeoutMs?: number;
}

/** The server's answer when it was not a 101. */
export class UpgradeRefused extends Error {
  readonly status: number;
  readonly head: ResponseHead;
  readonly body: string;

  constructor(head: ResponseHead, body: string) {
    super(`The upgrade was refused with ${head.status}: ${body}`);
    this.status = head.status;
    this.head = head;
    this.body = body;
  }
}

/** How a connection ended: the Close that came, or what came instead. */
export interface ClientEnd {
  readonly how: 'close' | 'fin' | 'reset' | 'broken';
  /** Of the Close; 1005 without one in it; 1006 when none came. */
  readonly code: number;
  readonly reason: string;
}

interface Wait {
  readonly isMet: () => boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

const defaultTimeoutMs = 10_000;

/** Opens a WebSocket that is destroyed with `scope`. @throws UpgradeRefused for any answer but a good 101 */
export async function openWebSocket(scope: Scope, options: WebSocketClientOptions): Promise<WebSocketClient> {
  const { origin, target } = splitUrl(options.url);
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  const address = { host: origin.hostname.replaceAll(/[[\]]/g, ''), port: Number(origin.port), timeoutMs };
  const socket: Socket =
    origin.protocol === 'http:'
      ? await dialTcp(address)
      : await dialTls({
          ...address,
          ca: options.ca === undefined ? undefined : [options.ca],
          isVerified: options.ca !== undefined,
          certificate: options.certificate,
          alpn: ['http/1.1'],
        });
  scope.add(async () => {
    socket.destroy();
    if (!socket.closed) await once(socket, 'close');
  });
  const key = randomBytes(16).toString('base64');
  const protocols = options.protocols ?? [];
  const headers: RawHeaders = [
    ['Host', origin.host],
    ...websocketRequestHeaders(key, protocols),
    ...(options.token === undefined ? [] : [['Authorization', `Bearer ${options.token}`] as const]),
    ...(options.headers ?? []),
  ];
  const { head, rest } = await requestUpgrade(socket, { method: 'GET', target, headers }, { timeoutMs });
  if (head.status !== 101) {
    const body = await readBody(socket, head, rest, { maxBytes: 1_000_000, timeoutMs });
    throw new UpgradeRefused(head, body.toString());
  }
  const protocol = checkWebSocketAccepted(head, { key, protocols });
  return new WebSocketClient(socket, { head, protocol, rest }, options);
}

/** The target exactly as written: URL would normalise dot segments and escapes that a test may be about. */
function splitUrl(url: string): { origin: URL; target: string } {
  const match = /^(https?:\/\/[^/]+)(\/.*)$/.exec(url);
  if (match === null) throw new Error(`Cannot open ${url}: want scheme, host, port and path`);
  return { origin: new URL(match[1] ?? ''), target: match[2] ?? '' };
}

export class WebSocketClient {
  readonly socket: Socket;
  readonly head: ResponseHead;
  /** The subprotocol chosen; '' for none. */
  readonly protocol: string;
  /** Every frame event but data, in order. */
  readonly controls: WebSocketEvent[] = [];
  /** Channels whose empty message came (a server's first message is one). */
  readonly emptyMessages: number[] = [];
  readonly #options: WebSocketClientOptions;
  readonly #decoder = new WebSocketDecoder({ role: 'client', maxMessageBytes: Number.MAX_SAFE_INTEGER });
  readonly #channelDecoder: ChannelDecoder;
  readonly #isBase64: boolean;
  readonly #parts = new Map<number, Buffer[]>();
  readonly #messages: Buffer[] = [];
  readonly #ended = Promise.withResolvers<ClientEnd>();
  #message: Buffer[] = [];
  #hasEnded = false;
  #waits: Wait[] = [];

  constructor(
    socket: Socket,
    answer: { head: ResponseHead; protocol: string; rest: Buffer },
    options: WebSocketClientOptions,
  ) {
    this.socket = socket;
    this.head = answer.head;
    this.protocol = answer.protocol;
    this.#options = options;
    this.#isBase64 = answer.protocol.includes('base64');
    this.#channelDecoder = new ChannelDecoder({
      isBase64: this.#isBase64,
      hasHalfClose: false,
      channelCount: options.channelCount ?? 5,
    });
    socket.on('error', () => this.#finish({ how: 'reset', code: 1006, reason: '' }));
    socket.on('end', () => this.#finish({ how: 'fin', code: 1006, reason: '' }));
    socket.on('close', () => this.#finish({ how: 'reset', code: 1006, reason: '' }));
    this.#accept(answer.rest);
    socket.on('data', (chunk: Buffer) => this.#accept(chunk));
  }

  /** Settles when a Close came or the connection ended without one. */
  get ended(): Promise<ClientEnd> {
    return this.#ended.promise;
  }

  /** All payload of a channel so far. */
  channel(number: number): Buffer {
    return Buffer.concat(this.#parts.get(number) ?? []);
  }

  get stdout(): string {
    return this.channel(channels.stdout).toString();
  }

  get stderr(): string {
    return this.channel(channels.stderr).toString();
  }

  /** The status channel, parsed. @throws KexerError protocol while it holds none */
  get status(): CommandEnd {
    return parseCommandEnd(this.channel(channels.error));
  }

  /** Whole messages, channel byte included: for protocols without channels and for counting. */
  get messages(): readonly Buffer[] {
    return this.#messages;
  }

  /** Settles once `isMet`; looked at after every read. Rejects if the connection ends before. */
  waitFor(isMet: () => boolean): Promise<void> {
    if (isMet()) return Promise.resolve();
    if (this.#hasEnded) return Promise.reject(new Error('The connection ended before the condition was met'));
    return new Promise((resolve, reject) => {
      this.#waits.push({ isMet, resolve, reject });
    });
  }

  /** One message on a channel, in the form of the protocol. */
  send(channel: number, payload: string | Buffer): void {
    const bytes = Buffer.from(payload);
    if (this.#isBase64) this.sendFrame(opcodes.text, Buffer.from(base64Message(channel, bytes)));
    else this.sendFrame(opcodes.binary, Buffer.concat([channelByte(channel), bytes]));
  }

  /** As Python's client does with str: a text frame on a binary protocol. */
  sendAsText(channel: number, text: string): void {
    this.sendFrame(opcodes.text, Buffer.concat([channelByte(channel), Buffer.from(text)]));
  }

  /** One message in as many fragments as parts; the channel byte is in the first. */
  sendFragmented(channel: number, parts: readonly (string | Buffer)[]): void {
    const fragments = [channelByte(channel), ...parts.map((part) => Buffer.from(part))];
    for (const [index, fragment] of fragments.entries()) {
      this.sendFrame(index === 0 ? opcodes.binary : opcodes.continuation, fragment, {
        isFin: index === fragments.length - 1,
      });
    }
  }

  /** v5: no more stdin. */
  halfClose(channel: number = channels.stdin): void {
    this.sendFrame(opcodes.binary, closeMessage(channel));
  }

  resize(width: number, height: number): void {
    this.send(channels.resize, `${JSON.stringify({ Width: width, Height: height })}\n`);
  }

  ping(payload = ''): void {
    this.sendFrame(opcodes.ping, Buffer.from(payload));
  }

  /** Sends a Close; with `answersClose` the FIN follows the server's. */
  close(code = 1000, reason = ''): void {
    this.sendFrame(opcodes.close, closePayload(code, reason));
  }

  /** Any frame; `isMasked` false breaks the protocol. False: the socket wants 'drain'. */
  sendFrame(opcode: number, payload: Buffer, options: { isFin?: boolean; isMasked?: boolean } = {}): boolean {
    const key = options.isMasked === false ? undefined : new Uint8Array(randomBytes(4));
    const frame = encodeFrame(opcode, [payload], { isFin: options.isFin ?? true, key });
    return this.socket.write(Buffer.concat(frame));
  }

  /** Bytes as they are. */
  sendBytes(bytes: Buffer): void {
    this.socket.write(bytes);
  }

  /** As a process that is killed: a reset, if anything is unread, else a FIN. */
  destroy(): void {
    this.socket.destroy();
  }

  /** RST, whatever is unread. */
  reset(): void {
    resetSocket(this.socket);
  }

  #accept(chunk: Buffer): void {
    for (const event of this.#decoder.acceptChunk(chunk)) this.#onEvent(event);
    if (this.#decoder.failure !== undefined) {
      this.#finish({ how: 'broken', code: this.#decoder.failure.closeCode, reason: this.#decoder.failure.message });
    }
    this.#waits = this.#waits.filter(({ isMet, resolve }) => {
      if (!isMet()) return true;
      resolve();
      return false;
    });
  }

  #onEvent(event: WebSocketEvent): void {
    if (event.type !== 'data') {
      this.controls.push(event);
      if (event.type === 'ping' && this.#options.answersPings !== false) this.sendFrame(opcodes.pong, event.payload);
      if (event.type === 'close') this.#onClose(event.code, event.reason);
      return;
    }
    this.#message.push(event.bytes);
    const read = this.#options.channelCount === 0 ? undefined : this.#channelDecoder.accept(event);
    if (read?.type === 'data') {
      const parts = this.#parts.get(read.channel);
      if (parts === undefined) this.#parts.set(read.channel, [read.bytes]);
      else parts.push(read.bytes);
    }
    if (!event.isLast) return;
    const message = Buffer.concat(this.#message);
    this.#message = [];
    this.#messages.push(message);
    if (message.length === 1) this.emptyMessages.push(this.#isBase64 ? Number(message.toString()) : (message[0] ?? 0));
  }

  #onClose(code: number, reason: string): void {
    this.#finish({ how: 'close', code, reason });
    if (this.#options.answersClose === false) return;
    this.sendFrame(opcodes.close, closePayload(code));
    this.socket.end();
  }

  #finish(end: ClientEnd): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#ended.resolve(end);
    for (const { reject } of this.#waits)
      reject(new Error(`The connection ended (${end.how} ${end.code}) before the condition was met`));
    this.#waits = [];
  }
}
