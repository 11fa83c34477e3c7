// exec and attach over WebSocket channels: the CRI server's own (v4, v1 and base64), and the kubelet's translator for v5, which words
// the status itself and, like the real one, takes a runtime that died without a status for success.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import { KexerError } from '../../../base/errors.ts';
import {
  base64Message,
  channelByte,
  ChannelDecoder,
  type ChannelEvent,
  channels,
  execChannelCount,
  initialChannel,
} from '../../../protocol/channel.ts';
import { exitCodeStatus, failureStatus, type StatusSpelling, successStatus } from '../../../protocol/exit-status.ts';
import type { WebSocketChoice } from '../../../protocol/subprotocols.ts';
import type { SessionResult } from '../runtime/session.ts';
import { resultStatus, resultText } from './exec-over-spdy.ts';
import { GolangWebSocket } from './golang-websocket.ts';
import { type OutputName, type SessionPlan, SessionPump, type SessionWire } from './session-pump.ts';

export interface WebSocketExecOptions {
  readonly choice: WebSocketChoice;
  readonly head: Buffer;
  readonly spelling: StatusSpelling;
}

/** What the translator says: it has parsed the runtime's status by client-go and words it anew. */
function translatedStatus(plan: SessionPlan, result: SessionResult): Buffer {
  if (result.how === 'failed') return failureStatus('translator', resultText(plan, result));
  // An error stream that ended empty is success to client-go: the translator's false success.
  if (result.how === 'cut' || result.code === 0) return successStatus('translator');
  return exitCodeStatus('translator', result.code);
}

class WebSocketExec implements SessionWire {
  readonly #plan: SessionPlan;
  readonly #options: WebSocketExecOptions;
  readonly #decoder: ChannelDecoder;
  readonly #socket: GolangWebSocket;
  readonly #pump: SessionPump;

  constructor(socket: Duplex, plan: SessionPlan, options: WebSocketExecOptions) {
    this.#plan = plan;
    this.#options = options;
    const { version, isBase64 } = options.choice;
    const isTranslator = version === 5;
    this.#decoder = new ChannelDecoder({ isBase64, hasHalfClose: isTranslator, channelCount: execChannelCount });
    this.#pump = new SessionPump(this);
    this.#socket = new GolangWebSocket(
      socket,
      { library: isTranslator ? 'gorilla' : 'x/net', head: options.head },
      // A WebSocket has no end of input before v5: the end of the connection is it.
      { onMessage: (bytes) => this.#acceptMessage(bytes), onEnd: () => this.#pump.abandon() },
    );
    this.#sendChannel(initialChannel({ hasStdout: plan.stdout, hasStderr: plan.stderr }), Buffer.alloc(0));
    void this.#pump.run(plan);
  }

  #acceptMessage(bytes: Buffer): void {
    let event: ChannelEvent | undefined;
    try {
      event = this.#decoder.accept({ bytes, isFirst: true, isLast: true });
    } catch (error) {
      if (!(error instanceof KexerError)) throw error;
      this.#pump.abandon();
      this.#socket.abort();
      return;
    }
    if (event === undefined) return;
    if (event.channel === channels.stdin) {
      if (!this.#plan.stdin) return;
      if (event.type === 'close') this.#pump.endStdin();
      else this.#pump.acceptStdin(event.bytes);
    } else if (event.channel === channels.resize && event.type === 'data') {
      this.#pump.acceptResize(event.bytes);
    }
  }

  #sendChannel(channel: number, bytes: Buffer): boolean {
    if (this.#options.choice.isBase64) return this.#socket.send(true, Buffer.from(base64Message(channel, bytes)));
    return this.#socket.send(false, channelByte(channel), bytes);
  }

  send(output: OutputName, bytes: Buffer): boolean {
    return this.#sendChannel(channels[output], bytes);
  }

  onDrain(run: () => void): void {
    this.#socket.onDrain(run);
  }

  endOutput(): void {
    // Servers never half-close a channel.
  }

  finish(result: SessionResult): void {
    const { choice, spelling } = this.#options;
    if (choice.version !== 5 && result.how === 'cut') {
      this.#socket.abort();
      return;
    }
    const status = this.#status(choice.version, spelling, result);
    if (status !== undefined && status.length > 0) this.#sendChannel(channels.error, status);
    this.#socket.close();
  }

  #status(version: 1 | 4 | 5, spelling: StatusSpelling, result: SessionResult): Buffer | undefined {
    if (version === 5) return translatedStatus(this.#plan, result);
    if (version === 4) return resultStatus(spelling, this.#plan, result);
    return Buffer.from(resultText(this.#plan, result));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }
}

/** Takes the upgraded socket over. */
export function serveExecOverWebSocket(socket: Duplex, plan: SessionPlan, options: WebSocketExecOptions): void {
  // The object lives in its socket's handlers.
  void new WebSocketExec(socket, plan, options);
}
