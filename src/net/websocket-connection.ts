// One WebSocket endpoint over a Duplex, in either role.

import type { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import type { Clock } from '../base/clock.ts';
import type { WebSocketDataEvent, WebSocketRole } from '../protocol/websocket/frame.ts';

export type WebSocketEnd =
  /** The peer's Close came. 1005: without a code. */
  | { readonly how: 'close'; readonly code: number; readonly reason: string }
  /** The peer ended the connection without a Close. */
  | { readonly how: 'fin' }
  | { readonly how: 'error'; readonly error: Error }
  /** By us: `close` ran to its end without the peer's Close, or `destroy`. */
  | { readonly how: 'closed' };

export interface WebSocketHandlers {
  onData(event: WebSocketDataEvent): void;
  /** After the automatic pong. */
  onPing?(payload: Buffer): void;
  onPong?(payload: Buffer): void;
  /** Exactly once. */
  onEnd(end: WebSocketEnd): void;
}

export interface WebSocketConnectionOptions {
  readonly role: WebSocketRole;
  /** Bytes that came with the upgrade. */
  readonly head?: Buffer;
  /** Pings the peer so often; default: never. */
  readonly pingIntervalMs?: number;
  readonly maxMessageBytes?: number;
  /** How long `close` waits for the peer's Close or FIN; default 30 s. */
  readonly closeTimeoutMs?: number;
}

export class WebSocketConnection {
  constructor(
    _deps: { socket: Duplex; clock: Clock },
    _options: WebSocketConnectionOptions,
    _handlers: WebSocketHandlers,
  ) {
    throw new Error('not written yet');
  }

  get bytesIn(): number {
    throw new Error('not written yet');
  }

  get bytesOut(): number {
    throw new Error('not written yet');
  }

  /** One unfragmented message from parts by reference; false: wait for {@link onDrain}. After an end it does nothing. */
  sendBinary(..._parts: Buffer[]): boolean {
    throw new Error('not written yet');
  }

  sendText(_text: string): boolean {
    throw new Error('not written yet');
  }

  ping(_payload?: Buffer): void {
    throw new Error('not written yet');
  }

  /** Unsolicited unless it answers a ping; client-go lives by them while its stdin is blocked. */
  pong(_payload?: Buffer): void {
    throw new Error('not written yet');
  }

  /** Sends Close after all queued bytes, waits (bounded) for the peer's, reading and dropping what comes, then FIN. */
  close(_code: number, _reason?: string): Promise<void> {
    throw new Error('not written yet');
  }

  destroy(_error?: Error): void {
    throw new Error('not written yet');
  }

  /** Reading, counted: paused while any holder paused. */
  pause(): void {
    throw new Error('not written yet');
  }

  resume(): void {
    throw new Error('not written yet');
  }

  /** False while the socket wants 'drain'. */
  get isWritable(): boolean {
    throw new Error('not written yet');
  }

  /** Runs once at the next drain, or at once if writable. */
  onDrain(_run: () => void): void {
    throw new Error('not written yet');
  }
}
