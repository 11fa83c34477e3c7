// Node's HTTPS agent for an endpoint behind a proxy: each new connection is a tunnel with TLS inside, verified as without a proxy, and goes into the same
// pool. A request gets its connection when TLS stands, so whatever fails before is known to have failed before anything was sent.

import { Agent, type AgentOptions, type RequestOptions } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';

import { KexerError } from '../base/errors.ts';
import type { AddressGuard } from './address-guard.ts';
import { cutTunnelProblem, type TunnelProxy } from './tunnel.ts';

/** On a request's options: ends the making of its connection, for which nobody waits any more. An agent that is destroyed ends those alone that are made. */
export const departure = Symbol('departure');

export interface TunnelledRequest extends RequestOptions {
  readonly [departure]?: AbortSignal;
}

export interface TunnelAgentOptions {
  readonly proxy: TunnelProxy;
  readonly guard: AddressGuard | undefined;
  readonly host: string;
  readonly port: number;
  /** `host:port`, for messages. */
  readonly authority: string;
  /** For tunnel and TLS together. */
  readonly connectTimeoutMs: number;
}

type OnConnection = (error: Error | null, stream: Duplex) => void;

export class TunnelAgent extends Agent {
  readonly #options: TunnelAgentOptions;

  constructor(agent: AgentOptions, options: TunnelAgentOptions) {
    super(agent);
    this.#options = options;
  }

  /** Fails with what {@link TunnelProxy.open} throws, KexerError unreachable, or Node's own error of a handshake. */
  override createConnection(request: TunnelledRequest, onConnection?: OnConnection): undefined {
    const { proxy, authority } = this.#options;
    // Node wants no connection beside an error, whatever its type says.
    const fail = onConnection as ((error: unknown) => void) | undefined;
    this.#connect(request).then(
      (socket) => {
        if (!socket.destroyed) onConnection?.(null, socket);
        else fail?.(new KexerError('unreachable', `Cannot connect to ${authority}: ${cutTunnelProblem(proxy)}`));
      },
      (error: unknown) => fail?.(error),
    );
  }

  async #connect(request: TunnelledRequest): Promise<TLSSocket> {
    const { [departure]: signal } = request;
    const { proxy, guard, host, port, authority, connectTimeoutMs: timeoutMs } = this.#options;
    const startedMs = performance.now();
    const tunnel = await proxy.open({ host, port, guard, timeoutMs, signal });
    // Node's type knows nothing of it, its TLS does.
    const overTunnel: RequestOptions & { socket: Socket } = { ...request, socket: tunnel };
    const socket = super.createConnection(overTunnel);
    if (!(socket instanceof TLSSocket))
      throw new KexerError('internal', 'Cannot use the tunnel: Node made no TLS of it');
    const leftMs = Math.max(1, timeoutMs - (performance.now() - startedMs));
    return whenSecure(socket, { proxy, signal, leftMs, timeoutMs, authority });
  }
}

interface Handshake {
  readonly proxy: TunnelProxy;
  readonly signal: AbortSignal | undefined;
  readonly leftMs: number;
  /** As it was set, for the message. */
  readonly timeoutMs: number;
  readonly authority: string;
}

function whenSecure(socket: TLSSocket, { proxy, signal, leftMs, timeoutMs, authority }: Handshake): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    // For good: there are turns in which nobody else listens.
    socket.on('error', () => {});
    const fail = (error: Error): void => {
      settle();
      socket.destroy();
      reject(error);
    };
    const cut = (): void =>
      fail(new KexerError('unreachable', `Cannot connect to ${authority}: ${cutTunnelProblem(proxy)}`));
    const onError = (error: Error): void => {
      if ('code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE')) cut();
      else fail(error);
    };
    const onAbort = (): void => fail(new KexerError('clientGone', `Cannot connect to ${authority}: cancelled`));
    const onSecure = (): void => {
      settle();
      resolve(socket);
    };
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      socket.off('error', onError).off('close', cut).off('secureConnect', onSecure);
    };
    const timer = setTimeout(() => {
      fail(
        new KexerError(
          'unreachable',
          `Cannot connect to ${authority}: no TLS through the proxy ${proxy.name} within ${timeoutMs} ms`,
        ),
      );
    }, leftMs);
    timer.unref();
    socket.on('error', onError).on('close', cut).on('secureConnect', onSecure);
    signal?.addEventListener('abort', onAbort);
    if (signal?.aborted === true) onAbort();
  });
}
