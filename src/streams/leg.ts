// What the pieces that join two legs have in common: the raw ends they get, what they give back, and the pace of keepalives.

import type { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';

import { KexerError } from '../base/errors.ts';
import { unreachable } from '../base/unreachable.ts';
import type { SpdyConnection, SpdyEnd } from '../net/spdy-connection.ts';
import type { HeaderList } from '../protocol/spdy/frame.ts';
import type { SessionEnd } from './session.ts';

/** A connected socket behind a 101, with the bytes that came along. */
export interface Leg {
  readonly socket: Duplex;
  readonly head: Buffer;
}

/** A session under way. */
export interface RunningStream {
  /** Resolves when both sockets are closed; never rejects. */
  readonly done: Promise<SessionEnd>;
  /** Ends it from outside: the client is told `message` as a failure. */
  end(message: string): void;
}

/** Idle connections are pinged so often: load balancers forget them after a minute at the earliest, and a ping costs a wakeup. */
const pingIntervalMs = 30_000;

/**
 * How long a kubelet may take nothing of what its client had sent before it left. Longer is of no use: without a client there is no result, and
 * a command that reads slowly gets it all as long as it reads.
 */
const farewellTimeoutMs = 2_000;

/** A kubelet that could answer and does not for as long as TCP keepalive gives a machine (net/keep-alive.ts) hangs or is gone. */
export const kubeletKeepalive = {
  pingIntervalMs,
  silenceLimitMs: 150_000,
  isPeerKnownToAnswer: true, // spdystream answers pings whatever is above it
  lingerTimeoutMs: farewellTimeoutMs,
} as const;

/** A client may be suspended for a while (Ctrl-Z) and live on with kube-apiserver; as long as Linux resends to a machine that is gone. */
export const clientKeepalive = { pingIntervalMs, silenceLimitMs: 900_000 } as const;

/** How long a client may take to read what is queued for it after the end; starts anew whenever some of it was read. */
export const lingerTimeoutMs = 600_000;

/**
 * How long an SPDY client has to close after our GOAWAY before it gets a FIN as well. client-go closes at once; an apiserver in front of kexer
 * that sees the FIN first cuts the client off, and with it an error text that the client has not read yet.
 */
export const finDelayMs = 5_000;

/**
 * Resolves when the last of the sockets is closed, with what `end` gives then. Two listeners and one promise, where a function that waits would
 * keep its whole frame for as long as the session runs.
 */
export function whenClosed(sockets: readonly Duplex[], end: () => SessionEnd): Promise<SessionEnd> {
  return new Promise((resolve) => {
    let open = sockets.length;
    const closed = (): void => {
      open -= 1;
      // Behind the listeners that say how it ended.
      if (open === 0) queueMicrotask(() => resolve(end()));
    };
    for (const socket of sockets) {
      // Not in this call even then: who makes a stream of dead sockets has not said yet how it ended.
      if (socket.closed) setImmediate(closed);
      else socket.once('close', closed);
    }
  });
}

/** The value of a header of a stream; names are lower case on the wire, a peer's spelling is not trusted for that. */
export function streamHeader(headers: HeaderList, name: string): string | undefined {
  return headers.find(([key]) => key.toLowerCase() === name)?.[1];
}

/** A backend leg's other end as people know it. */
export function kubeletName(node: string): string {
  return `the kubelet of node ${node}`;
}

/** The other end of a leg that takes the detour. */
export const apiserverName = 'kube-apiserver';

/** How the backend's connection ended, for people. */
export function backendEndText(backend: string, end: SpdyEnd): string {
  switch (end.how) {
    case 'goaway':
    case 'fin':
      return `${backend} closed the connection`;
    case 'closed':
      return `the connection to ${backend} was closed`;
    case 'error':
      return `the connection to ${backend} broke (${errorText(end.error)})`;
    default:
      return unreachable(end);
  }
}

/**
 * Ends the backend's leg of forwarded ports whose client has left. What it sent before it left in order (GOAWAY, Close, FIN) still goes to the
 * ports, as it does by kube-apiserver; behind an error nothing is known to be whole.
 */
export function leaveBackend(backend: SpdyConnection, end: { readonly how: string }): void {
  if (end.how === 'goaway' || end.how === 'close' || end.how === 'fin') backend.goaway();
  else backend.destroy();
}

/** How a client's connection ended before its session did. */
export function clientEnd(end: { how: string; error?: Error }): SessionEnd {
  const offence = offenceIn(end.error);
  if (offence !== undefined) {
    return { cause: 'protocol', message: `the client broke the protocol (${offence.message})` };
  }
  const detail = end.error === undefined ? '' : ` (${errorText(end.error)})`;
  return { cause: 'clientGone', message: `the client closed the connection${detail}` };
}

/** The broken rule behind an error, if there is one: a tunnel's error reaches the connection above as the cause of its loss. */
function offenceIn(error: unknown): KexerError | undefined {
  if (!(error instanceof KexerError)) return undefined;
  return error.code === 'protocol' || error.code === 'tooLarge' ? error : offenceIn(error.cause);
}

/** The system's code where there is one: shorter than the message, and without addresses. */
function errorText(error: Error): string {
  if (error instanceof KexerError) return error.cause instanceof Error ? errorText(error.cause) : error.message;
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message;
}
