// Silent and short answers over HTTP/2: watches share a connection to the apiserver, where HTTP/1.1 needs one for each with 70 KiB of TLS, and so do GETs of
// single objects, many of which then leave and come by one system call. Connections are opened as they fill, with the same trust and identity as
// HTTP/1.1's, and whatever cannot or must not go this way goes by HTTP/1.1: all but GET, endpoints without TLS or behind a proxy, and for a
// while those that do not speak it.

import { isIP } from 'node:net';
import { connect, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';

import type { Clock, Timer } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { checkLiteral, guardedLookup } from './address-guard.ts';
import type { Endpoint } from './credential.ts';
import { tlsOptions } from './endpoint-tls.ts';
import { type ExchangeOwner, Http2Exchange } from './http2-exchange.ts';
import { Http2Session, maxStreams } from './http2-session.ts';
import type { AnswerController, AnswerSink, Transport, TransportRequest } from './transport.ts';

export interface Http2TransportOptions {
  readonly endpoint: Endpoint;
  readonly certificate: { readonly cert: string; readonly key: string } | undefined;
  readonly connectTimeoutMs: number;
}

/** For so long an endpoint that chose HTTP/1.1 is not asked again. */
const otherChoiceMs = 10 * 60_000;
/** And one that chose HTTP/2 and did not speak it: it may have been stopped at that moment. */
const brokenMs = 60_000;
const keepAliveProbeMs = 30_000;
/** Sent once more on another connection, then by HTTP/1.1. */
const maxTries = 2;

/** A connection on its way or open. */
interface Slot {
  /** What is sent when it is open. */
  readonly waiting: Set<Http2Exchange>;
  socket: TLSSocket | undefined;
  session: Http2Session | undefined;
  /** The peer's settings have come. */
  isReady: boolean;
  timer: Timer | undefined;
}

export class Http2Transport implements ExchangeOwner {
  readonly authority: string;
  readonly basePath: string;
  readonly #clock: Clock;
  readonly #http1: Pick<Transport, 'dispatch'>;
  readonly #options: Http2TransportOptions;
  readonly #host: string;
  readonly #port: number;
  /** Those that new requests may go to. */
  readonly #slots: Set<Slot>;
  /** Retired ones that still have something under way. */
  readonly #retired: Set<Slot>;
  readonly #exchanges: Set<Http2Exchange>;
  #avoidedUntilMs: number;
  /** One for all connections: each of its own would hold the parsed authorities again. */
  #secureContext: SecureContext | undefined;

  /** @param deps.http1 with the same endpoint and identity. */
  constructor(deps: { clock: Clock; http1: Pick<Transport, 'dispatch'> }, options: Http2TransportOptions) {
    const { endpoint } = options;
    const url = new URL(endpoint.url);
    this.authority = url.host;
    this.basePath = url.pathname.replace(/\/+$/, '');
    this.#clock = deps.clock;
    this.#http1 = deps.http1;
    this.#options = options;
    this.#host = url.hostname.replace(/^\[|\]$/g, '');
    this.#port = url.port === '' ? 443 : Number(url.port);
    this.#slots = new Set();
    this.#retired = new Set();
    this.#exchanges = new Set();
    const isPossible = url.protocol === 'https:' && endpoint.proxy === undefined;
    this.#avoidedUntilMs = isPossible ? -Infinity : Infinity;
    this.#secureContext = undefined;
  }

  /** Open connections and those on their way; for tests and metrics. */
  get connections(): number {
    return this.#slots.size + this.#retired.size;
  }

  /** As {@link Transport.dispatch}. */
  dispatch(request: TransportRequest, sink: AnswerSink): AnswerController {
    // GET alone: an answer to HEAD announces a body that never comes, and others may not be sent twice.
    const isSuitable = request.method === 'GET' && request.body === undefined;
    if (!isSuitable || this.#isAvoided()) return this.#http1.dispatch(request, sink);
    const exchange = new Http2Exchange(this, request, sink);
    this.#exchanges.add(exchange);
    this.#place(exchange);
    return exchange;
  }

  /** Ends every connection at once; what is under way fails. */
  destroy(): void {
    const reason = new KexerError('draining', 'Cannot finish the request: the client was closed');
    for (const exchange of this.#exchanges) exchange.abort(reason);
    for (const slot of [...this.#slots, ...this.#retired]) this.#drop(slot, reason);
  }

  /** Ends every connection when its last answer is complete. */
  close(): void {
    for (const slot of this.#slots) slot.session?.close();
  }

  forget(exchange: Http2Exchange): void {
    this.#exchanges.delete(exchange);
    for (const slot of this.#slots) slot.waiting.delete(exchange);
  }

  refused(exchange: Http2Exchange, isHttp1Wanted: boolean): void {
    if (isHttp1Wanted) this.#avoid(otherChoiceMs);
    if (exchange.tries >= maxTries || this.#isAvoided()) this.#divert(exchange);
    else this.#place(exchange);
  }

  /** On the connection with most room; on a new one if there is none. */
  #place(exchange: Http2Exchange): void {
    let best: Slot | undefined;
    let most = 0;
    for (const slot of this.#slots) {
      const room = roomOf(slot);
      if (room > most) {
        best = slot;
        most = room;
      }
    }
    if (best?.isReady === true && best.session !== undefined) begin(best.session, exchange);
    else (best ?? this.#open()).waiting.add(exchange);
  }

  #open(): Slot {
    const slot: Slot = { waiting: new Set(), socket: undefined, session: undefined, isReady: false, timer: undefined };
    this.#slots.add(slot);
    const { connectTimeoutMs } = this.#options;
    slot.timer = this.#clock.after(connectTimeoutMs, () => {
      // TLS chose HTTP/2 and the peer says nothing: something in between may not understand it.
      if (slot.session !== undefined) slot.session.destroy(new Error('no settings'));
      else this.#unreached(slot, new Error(`no connection within ${connectTimeoutMs} ms`));
    });
    // Later, so that no sink is called before `dispatch` has returned.
    queueMicrotask(() => this.#connect(slot));
    return slot;
  }

  #connect(slot: Slot): void {
    if (!this.#slots.has(slot)) return;
    const { endpoint, certificate } = this.#options;
    const { guard } = endpoint;
    let socket: TLSSocket;
    try {
      if (guard !== undefined) checkLiteral(guard, this.#host);
      const trust = tlsOptions(endpoint, certificate);
      this.#secureContext ??= createSecureContext(trust);
      socket = connect({
        host: this.#host,
        port: this.#port,
        ALPNProtocols: ['h2', 'http/1.1'],
        // As Node's HTTP client: the name asked for, which no address can be.
        servername: isIP(this.#host) === 0 ? this.#host : '',
        ...trust,
        secureContext: this.#secureContext,
        ...(guard === undefined ? {} : { lookup: guardedLookup(guard) }),
      });
    } catch (error) {
      this.#unreached(slot, error);
      return;
    }
    slot.socket = socket;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, keepAliveProbeMs);
    const onError = (error: Error): void => this.#unreached(slot, error);
    const onClose = (): void => this.#unreached(slot, new Error('the connection was closed in its handshake'));
    socket.on('error', onError).once('close', onClose);
    socket.once('secureConnect', () => {
      if (socket.alpnProtocol !== 'h2') {
        this.#unusable(slot, otherChoiceMs);
        return;
      }
      socket.off('error', onError).off('close', onClose);
      this.#startSession(slot, socket);
    });
  }

  #startSession(slot: Slot, socket: TLSSocket): void {
    slot.session = new Http2Session(
      { socket, clock: this.#clock },
      {
        ready: () => this.#ready(slot),
        retired: () => {
          this.#slots.delete(slot);
          this.#retired.add(slot);
        },
        closed: () => {
          // Before its settings nothing was sent. HTTP/1.1 has the last word on what is wrong.
          if (!slot.isReady) this.#unusable(slot, brokenMs);
          this.#slots.delete(slot);
          this.#retired.delete(slot);
        },
      },
    );
  }

  #ready(slot: Slot): void {
    slot.timer?.cancel();
    slot.isReady = true;
    const { session } = slot;
    if (session?.room === 0) {
      // It speaks HTTP/2 and allows no request.
      this.#unusable(slot, brokenMs);
      return;
    }
    const waiting = [...slot.waiting];
    slot.waiting.clear();
    for (const exchange of waiting) {
      if (session !== undefined && session.room > 0) begin(session, exchange);
      else this.#place(exchange);
    }
  }

  /** No connection, or one that is not trusted: by HTTP/1.1 it would be the same. */
  #unreached(slot: Slot, error: unknown): void {
    const waiting = [...slot.waiting];
    this.#drop(slot, error);
    for (const exchange of waiting) exchange.lost(error);
  }

  /** The endpoint does not speak HTTP/2. */
  #unusable(slot: Slot, avoidedMs: number): void {
    this.#avoid(avoidedMs);
    const waiting = [...slot.waiting];
    this.#drop(slot, new Error('HTTP/2 is not used'));
    for (const exchange of waiting) this.#divert(exchange);
  }

  #drop(slot: Slot, cause: unknown): void {
    slot.timer?.cancel();
    slot.waiting.clear();
    this.#slots.delete(slot);
    this.#retired.delete(slot);
    slot.socket?.destroy();
    slot.session?.destroy(cause instanceof Error ? cause : new Error(String(cause)));
  }

  #divert(exchange: Http2Exchange): void {
    exchange.divert((request, sink) => this.#http1.dispatch(request, sink));
  }

  #isAvoided(): boolean {
    return this.#clock.monotonic() < this.#avoidedUntilMs;
  }

  #avoid(durationMs: number): void {
    this.#avoidedUntilMs = Math.max(this.#avoidedUntilMs, this.#clock.monotonic() + durationMs);
  }
}

function roomOf({ isReady, session, waiting }: Slot): number {
  return isReady ? (session?.room ?? 0) : maxStreams - waiting.size;
}

/** What cannot even be written fails by itself and takes nothing of the connection. */
function begin(session: Http2Session, exchange: Http2Exchange): void {
  try {
    session.begin(exchange);
  } catch (error) {
    exchange.lost(error);
  }
}
