// kexer as a server: the listener, the pipeline, and the life of both. Turns what arrives into a RequestContext, logs how it ended, and stops
// in the order that drain.ts keeps.

import { randomUUID } from 'node:crypto';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import type { KeyPairPem } from '../certs/generate.ts';
import type { Logger } from '../observe/logger.ts';
import * as lines from '../observe/log-lines.ts';
import { fromRawHeaders, getHeader } from '../protocol/raw-headers.ts';
import type { SessionRegistry } from '../streams/registry.ts';

import { Drain, type DrainOptions } from './drain.ts';
import { InFlight } from './in-flight.ts';
import { Listener, type Connection, type ListenerOptions } from './listener.ts';
import { Pipeline, type Filter, type Route } from './pipeline.ts';
import type { RequestAudits } from './request-audit.ts';
import type { RequestObserver } from './request-observer.ts';
import { RequestContext, type Arrival, type Exchange } from './request-context.ts';
import type { Shutdown } from './shutdown.ts';

export interface ServerDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly filters: readonly Filter[];
  readonly route: Route;
  readonly shutdown: Shutdown;
  readonly sessions: SessionRegistry;
  readonly audit: Pick<RequestAudits, 'begin'>;
  /** For metrics and traces; left out: nothing is measured. */
  readonly observer?: RequestObserver;
}

export interface ServerOptions extends ListenerOptions {
  readonly drain: DrainOptions;
}

/** Why the signal of a request is aborted once its answer or its connection is closed. One for all: the trace of each would cost 5 µs and say nothing. */
const clientLeft = Object.freeze(new KexerError('clientGone', 'the client has left'));

export class Server {
  readonly #deps: ServerDeps;
  readonly #listener: Listener;
  readonly #pipeline: Pipeline;
  readonly #inFlight: InFlight;
  readonly #drain: Drain;

  constructor(deps: ServerDeps, options: ServerOptions) {
    this.#deps = deps;
    this.#inFlight = new InFlight();
    this.#pipeline = new Pipeline(
      {
        clock: deps.clock,
        observer: {
          requestFailed: (context, status, error) => this.#onFailure(context, status, error),
          defect: (err) => lines.defect(deps.log, { where: 'pipeline', err }),
        },
      },
      { filters: deps.filters, route: deps.route },
    );
    this.#listener = new Listener(options, {
      onExchange: (exchange, connection) => this.#onExchange(exchange, connection),
      onConnectionError: (err, remoteAddress) => {
        deps.observer?.connectionFailed();
        lines.connectionFailed(deps.log, { remoteAddress, err });
      },
    });
    const { clock, shutdown, sessions } = deps;
    this.#drain = new Drain(
      {
        clock,
        shutdown,
        listener: this.#listener,
        inFlight: this.#inFlight,
        sessions,
        observer: {
          refusing: (counts) => lines.refusing(deps.log, counts),
          endingSessions: (fields) => lines.endingSessions(deps.log, fields),
        },
      },
      options.drain,
    );
  }

  /** @throws KexerError config if the address cannot be listened on. */
  listen(options: { host: string; port: number }): Promise<number> {
    return this.#listener.listen(options);
  }

  get connections(): Listener['connections'] {
    return this.#listener.connections;
  }

  /** What is under way now. */
  running(): Iterable<RequestContext> {
    return this.#inFlight.list();
  }

  replacePair(pair: KeyPairPem): void {
    this.#listener.replacePair(pair);
  }

  /** Resolves when nothing is left; takes as long as sessions run, but not longer than the periods it was given. */
  stop(): Promise<void> {
    return this.#drain.run();
  }

  /** Cuts the waiting of {@link stop} short; running sessions still get their last words. */
  hurry(): void {
    this.#drain.hurry();
  }

  #onExchange(exchange: Exchange, connection: Connection): void {
    const controller = new AbortController();
    const context = new RequestContext(this.#arrivalOf(exchange, connection, controller.signal), exchange);
    context.observed = this.#deps.observer?.begin(context);
    this.#inFlight.add(context);
    const end = exchange.kind === 'request' ? exchange.response : exchange.socket;
    end.once('close', () => {
      // The status is judged before the abort: an answer that was complete is no client that left.
      const status = exchange.kind === 'request' ? statusOfResponse(exchange.response) : undefined;
      if (status !== undefined) this.#logEnd(context, status);
      this.#logRefusedUpgrade(context);
      context.observed?.ended(status);
      controller.abort(clientLeft);
    });
    this.#pipeline.handle(context).catch((err: unknown) => lines.defect(this.#deps.log, { where: 'server', err }));
  }

  #arrivalOf(exchange: Exchange, connection: Connection, signal: AbortSignal): Arrival {
    const { request } = exchange;
    const headers = fromRawHeaders(request.rawHeaders);
    // Node draws these in advance; a call of randomBytes costs 10 µs.
    const unique = randomUUID();
    return {
      id: unique.slice(0, 8),
      method: request.method ?? 'GET',
      rawTarget: request.url ?? '',
      headers,
      httpVersion: request.httpVersionMajor === 2 ? '2.0' : '1.1',
      isUpgrade: exchange.kind === 'upgrade',
      remoteAddress: connection.remoteAddress,
      peer: connection.peer,
      markKnown: connection.markKnown,
      auditId: auditIdOf(getHeader(headers, 'Audit-ID')) ?? unique,
      signal,
      receivedAtMs: this.#deps.clock.monotonic(),
    };
  }

  #onFailure(context: RequestContext, status: number, error: unknown): void {
    context.failure = error;
    context.observed?.failed(error);
    this.#deps.audit.begin(context); // if the path could not even be read
    context.audit?.failed(error);
    // The end of an upgrade that succeeded is the session's to log; a refused one has no other line.
    if (context.exchange.kind === 'upgrade') this.#logEnd(context, status);
  }

  /** One that was answered by the code that had taken its socket over; the pipeline knows nothing of it. */
  #logRefusedUpgrade(context: RequestContext): void {
    const { refusal } = context.observed ?? {};
    if (context.exchange.kind !== 'upgrade' || refusal === undefined) return;
    context.failure ??= refusal.error;
    this.#logEnd(context, refusal.status);
  }

  #logEnd(context: RequestContext, status: number): void {
    const { arrival, failure } = context;
    lines.requestEnded(this.#deps.log, {
      id: arrival.id,
      method: arrival.method,
      path: pathForLog(arrival.rawTarget),
      status,
      durationMs: Math.round(this.#deps.clock.monotonic() - arrival.receivedAtMs),
      user: context.callerIfKnown?.user.name,
      remoteAddress: arrival.remoteAddress,
      auditId: arrival.auditId,
      ...(failure === undefined ? {} : { err: failure }),
    });
  }
}

/** 499 if the client left before the end of the answer, as nginx and Caddy write it. */
function statusOfResponse(response: (Exchange & { kind: 'request' })['response']): number {
  return response.writableFinished || response.writableEnded ? response.statusCode : 499;
}

/** The client's, as kube-apiserver takes it, if it can stand in a header and a log line. */
function auditIdOf(given: string | undefined): string | undefined {
  return given !== undefined && /^[\x21-\x7e]{1,64}$/.test(given) ? given : undefined;
}

/** Without the query, which may hold a command; bounded. */
function pathForLog(rawTarget: string): string {
  return (rawTarget.split('?', 1)[0] ?? '').slice(0, 512);
}
