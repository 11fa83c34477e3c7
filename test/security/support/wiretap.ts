// What kexer says to kube-apiserver, byte by byte: a TLS relay between the two that kexer takes for the apiserver. It reads the requests that
// pass and keeps their heads as they were; it can hold an answer back, so that a test may change the world between a check and what
// follows, or answer in kube-apiserver's place, for answers that a real one gives in other versions or on bad days.

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server, type TLSSocket } from 'node:tls';

import { ChunkedDecoder, requestFraming } from '../../../src/protocol/framing.ts';
import { HeadCollector, parseRequestHead } from '../../../src/protocol/http-head.ts';
import { getHeader, hasToken, type RawHeaders } from '../../../src/protocol/raw-headers.ts';

export interface TappedRequest {
  readonly method: string;
  /** As on the wire. */
  readonly target: string;
  readonly headers: RawHeaders;
  /** The bytes of the head, the empty line included. */
  readonly raw: Buffer;
  /** Bytes of the body so far, the framing of chunks included. */
  readonly body: Buffer[];
  /** Settles when the apiserver has begun to answer. */
  readonly answered: Promise<void>;
}

export type Reaction =
  /** The answer waits until then. */
  | { readonly holdUntil: Promise<unknown> }
  /** Sent instead; the request never reaches the apiserver. */
  | { readonly answer: Buffer };

export interface WiretapOptions {
  readonly target: { readonly port: number; readonly ca: string };
  /** What it serves with: a certificate for 127.0.0.1. */
  readonly pair: { readonly cert: string; readonly key: string };
}

export class Wiretap {
  /** Every request that kexer sent, in the order in which their heads were whole. */
  readonly requests: TappedRequest[] = [];
  /** What was no HTTP/1.1 request: always empty, or kexer has written nonsense. */
  readonly problems: unknown[] = [];
  /** Looked at for each request; undefined: it passes. */
  intercept: ((request: TappedRequest) => Reaction | undefined) | undefined;
  readonly #server: Server;
  readonly #sockets = new Set<TLSSocket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(options: WiretapOptions): Promise<Wiretap> {
    const server = createServer({ ...options.pair, ALPNProtocols: ['http/1.1'] });
    const tap = new Wiretap(server);
    server.on('secureConnection', (socket) => tap.#accept(socket, options));
    server.on('tlsClientError', () => {}); // kexer is stopping
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return tap;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Requests since `mark` that are not kexer's own: made for a client, as the client. */
  forwarded(mark = 0): TappedRequest[] {
    return this.requests.slice(mark).filter((request) => !isOwn(request));
  }

  /** For {@link forwarded}: what came before does not count. */
  mark(): number {
    return this.requests.length;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #accept(client: TLSSocket, { target }: WiretapOptions): void {
    const upstream = connect({ host: '127.0.0.1', port: target.port, ca: target.ca, ALPNProtocols: ['http/1.1'] });
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    const lane = new RequestLane((request) => this.#decide(request));
    let down: Promise<unknown> = Promise.resolve();
    client.on('data', (chunk: Buffer) => {
      try {
        for (const piece of lane.accept(chunk)) {
          if (piece.kind === 'bytes') upstream.write(piece.bytes);
          else if ('answer' in piece.reaction) client.write(piece.reaction.answer);
          else down = down.then(() => (piece.reaction as { holdUntil: Promise<unknown> }).holdUntil);
        }
      } catch (error) {
        this.problems.push(error);
        client.destroy();
      }
    });
    client.on('end', () => upstream.end());
    upstream.on('data', (chunk: Buffer) => {
      lane.noteAnswer();
      // One after the other: what is held holds back what follows.
      down = down.then(() => client.writable && client.write(chunk));
    });
    upstream.on('end', () => void down.then(() => client.end()));
  }

  #decide(request: TappedRequest): Reaction | undefined {
    this.requests.push(request);
    return this.intercept?.(request);
  }
}

/** Kexer's own calls carry its name and nothing before it; those it makes for clients have the client's. */
function isOwn({ headers }: TappedRequest): boolean {
  return /^kexer\/\S+$/.test(getHeader(headers, 'User-Agent') ?? '');
}

type Piece =
  | { readonly kind: 'bytes'; readonly bytes: Buffer }
  | { readonly kind: 'reaction'; readonly reaction: Reaction };

/** The requests of one connection, one after the other. */
class RequestLane {
  readonly #decide: (request: TappedRequest) => Reaction | undefined;
  #collector = new HeadCollector({ maxHeadBytes: 1024 * 1024 });
  #body:
    | { request: TappedRequest; missing: number; chunked: ChunkedDecoder | undefined; isSwallowed: boolean }
    | undefined;
  /** After an upgrade the bytes are nobody's requests. */
  #isRaw = false;
  #onAnswer: () => void = () => {};

  constructor(decide: (request: TappedRequest) => Reaction | undefined) {
    this.#decide = decide;
  }

  /** The apiserver answers the last request: kexer does not pipeline. */
  noteAnswer(): void {
    this.#onAnswer();
  }

  accept(chunk: Buffer): Piece[] {
    const pieces: Piece[] = [];
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#isRaw) {
        pieces.push({ kind: 'bytes', bytes: rest });
        break;
      }
      rest = this.#body === undefined ? this.#acceptHead(rest, pieces) : this.#acceptBody(rest, pieces);
    }
    return pieces;
  }

  #acceptHead(chunk: Buffer, pieces: Piece[]): Buffer {
    const whole = this.#collector.acceptChunk(chunk);
    if (whole === undefined) return Buffer.alloc(0);
    this.#collector = new HeadCollector({ maxHeadBytes: 1024 * 1024 });
    const { method, target, headers } = parseRequestHead(whole.raw, { maxHeadBytes: 1024 * 1024, maxHeaders: 10_000 });
    const { promise: answered, resolve } = Promise.withResolvers<void>();
    this.#onAnswer = resolve;
    const request: TappedRequest = { method, target, headers, raw: whole.raw, body: [], answered };
    const reaction = this.#decide(request);
    const isSwallowed = reaction !== undefined && 'answer' in reaction;
    if (!isSwallowed) pieces.push({ kind: 'bytes', bytes: whole.raw });
    if (reaction !== undefined) pieces.push({ kind: 'reaction', reaction });
    const framing = requestFraming({ headers, httpVersion: '1.1' });
    if (framing.kind !== 'none') {
      const chunked = framing.kind === 'chunked' ? new ChunkedDecoder() : undefined;
      const missing = framing.kind === 'length' ? framing.length : Number.POSITIVE_INFINITY;
      if (missing > 0) this.#body = { request, missing, chunked, isSwallowed };
    } else if (hasToken(headers, 'Connection', 'upgrade') && !isSwallowed) {
      this.#isRaw = true;
    }
    return whole.rest;
  }

  #acceptBody(chunk: Buffer, pieces: Piece[]): Buffer {
    const body = this.#body;
    if (body === undefined) return chunk;
    let taken = chunk.subarray(0, body.missing);
    if (body.chunked === undefined) {
      body.missing -= taken.length;
      if (body.missing === 0) this.#body = undefined;
    } else {
      body.chunked.acceptChunk(chunk);
      if (body.chunked.isDone) {
        taken = chunk.subarray(0, chunk.length - body.chunked.rest.length);
        this.#body = undefined;
      }
    }
    body.request.body.push(taken);
    if (!body.isSwallowed) pieces.push({ kind: 'bytes', bytes: taken });
    return chunk.subarray(taken.length);
  }
}

/** A whole answer in kube-apiserver's manner. */
export function cannedAnswer(status: number, body: object | string, headers: RawHeaders = []): Buffer {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const type = typeof body === 'string' ? 'text/plain' : 'application/json';
  const lines = [
    `HTTP/1.1 ${status} Canned`,
    `Content-Type: ${type}`,
    `Content-Length: ${Buffer.byteLength(text)}`,
    ...headers.map(([name, value]) => `${name}: ${value}`),
  ];
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${text}`);
}
