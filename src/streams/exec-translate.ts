// exec and attach for a client that speaks WebSocket channels: its channels become streams of the kubelet. Output goes to the client as
// it comes; the status goes last, and Close 1000 after it, because clients drop a status that another close code follows.

import { Buffer } from 'node:buffer';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { unreachable } from '../base/unreachable.ts';
import { SpdyConnection, type SpdyStream, type SpdyStreamHandlers } from '../net/spdy-connection.ts';
import { WebSocketConnection, type WebSocketEnd } from '../net/websocket-connection.ts';
import { ChannelDecoder, channels, initialChannel } from '../protocol/channel.ts';
import { commandEndText, exitCodeStatus, failureStatus, successStatus } from '../protocol/exit-status.ts';
import type { WebSocketDataEvent } from '../protocol/websocket/frame.ts';
import { ChannelWriter } from './channel-writer.ts';
import {
  clientEnd,
  clientKeepalive,
  kubeletKeepalive,
  type Leg,
  lingerTimeoutMs,
  type RunningStream,
  whenClosed,
} from './leg.ts';
import { HeldClient } from './held-client.ts';
import { Outcome, type Verdict } from './outcome.ts';
import type { Session, SessionEnd } from './session.ts';
import { maxHeldBytes, StdinGate } from './stdin-gate.ts';
import { StdinTail } from './stdin-tail.ts';
import { Valve } from './valve.ts';
import { verdictEnd } from './verdict-end.ts';

export interface ExecTranslateOptions {
  readonly version: 1 | 4 | 5;
  readonly isBase64: boolean;
  readonly hasStdin: boolean;
  readonly hasStdout: boolean;
  readonly hasStderr: boolean;
  readonly hasTty: boolean;
  /** Who is at the other end of `kubelet`, for texts: {@link kubeletName} or kube-apiserver. */
  readonly backend: string;
}

/** Channels of exec and attach; messages of others are ignored. */
const channelCount = 5;

/**
 * A pong is put between so much output: a client that reads slowly has megabytes of it in its buffers and would otherwise come to no
 * pong for longer than the 61 s that client-go waits.
 */
const outputBytesPerPong = 256 * 1024;

/** A Close without a code (RFC 6455, section 7.1.5). */
const noCloseCode = 1005;

const empty = Buffer.alloc(0);

export class ExecTranslate implements RunningStream {
  readonly done: Promise<SessionEnd>;
  readonly #session: Session;
  readonly #options: ExecTranslateOptions;
  readonly #client: WebSocketConnection;
  readonly #kubelet: SpdyConnection;
  readonly #decoder: ChannelDecoder;
  readonly #outcome: Outcome;
  readonly #writer: ChannelWriter;
  readonly #toClient: Valve;
  readonly #stdinGate: StdinGate;
  readonly #stdin: SpdyStream | undefined;
  readonly #resize: SpdyStream | undefined;
  readonly #stdinTail: StdinTail;
  #outputSincePong: number;
  #end: SessionEnd | undefined;

  constructor(
    deps: { clock: Clock; session: Session },
    legs: { client: Leg; kubelet: Leg },
    options: ExecTranslateOptions,
  ) {
    this.#session = deps.session;
    this.#options = options;
    this.#outputSincePong = 0;
    this.#end = undefined;
    this.#decoder = new ChannelDecoder({
      isBase64: options.isBase64,
      hasHalfClose: options.version === 5,
      channelCount,
    });
    this.#outcome = new Outcome({ backend: options.backend }, (verdict) => this.#finish(verdict));
    this.done = whenClosed([legs.client.socket, legs.kubelet.socket], () => this.#closedEnd);
    this.#kubelet = new SpdyConnection(
      { socket: legs.kubelet.socket, clock: deps.clock },
      { role: 'client', head: legs.kubelet.head, ...kubeletKeepalive, hasTransientReads: true },
      {
        onStream: (stream) => stream.reset(),
        onEnd: (end) => this.#outcome.connectionEnded(end),
        onClosed: () => this.#stdinTail.stop(),
      },
    );
    // In the order of client-go, all at once: nothing depends on a reply before data is written, and writes wait for it themselves.
    this.#kubelet.createStream([['streamtype', 'error']], {
      onData: (bytes) => this.#outcome.errorData(bytes),
      onEnd: (how) => this.#outcome.errorEnded(how),
    });
    this.#stdin = options.hasStdin ? this.#kubelet.createStream([['streamtype', 'stdin']], {}) : undefined;
    if (options.hasStdout) this.#openOutput('stdout', channels.stdout);
    // A terminal has one output; kubelets drop stderr then.
    if (options.hasStderr && !options.hasTty) this.#openOutput('stderr', channels.stderr);
    this.#resize = options.hasTty ? this.#kubelet.createStream([['streamtype', 'resize']], {}) : undefined;

    this.#client = new WebSocketConnection(
      { socket: legs.client.socket, clock: deps.clock },
      {
        role: 'server',
        head: legs.client.head,
        ...clientKeepalive,
        closeTimeoutMs: lingerTimeoutMs,
        hasTransientReads: true,
        isFrameApart: options.version !== 5, // clients that know v5 read whatever has come
      },
      { onData: (event) => this.#receive(event), onEnd: (end) => this.#clientEnded(end) },
    );
    this.#writer = new ChannelWriter(
      { sink: this.#client },
      { isBase64: options.isBase64, isJoined: options.version !== 5 },
    );
    this.#toClient = new Valve(this.#kubelet, this.#client);
    this.#stdinTail = new StdinTail({ clock: deps.clock, kubelet: this.#kubelet }, () => this.#leave());
    this.#stdinGate = new StdinGate({ clock: deps.clock, client: this.#client, kubelet: this.#kubelet }, () =>
      this.#failStdin(),
    );
    deps.session.shape({ in: new HeldClient({ clock: deps.clock, client: this.#client }), out: this.#kubelet });
    // Servers open with a message without payload; some clients wait for it.
    this.#writer.sendAlone(initialChannel(options), empty);
  }

  end(message: string): void {
    this.#end ??= { cause: 'ended', message };
    this.#outcome.decide({ kind: 'broken', message });
  }

  #openOutput(type: string, channel: number): void {
    this.#outcome.addOutput();
    const handlers: SpdyStreamHandlers = {
      onData: (bytes) => this.#output(channel, bytes),
      onEnd: (how) => this.#outcome.outputEnded(how),
    };
    this.#kubelet.createStream([['streamtype', type]], handlers);
  }

  #output(channel: number, bytes: Buffer): void {
    if (!this.#client.isOpen) return; // it has left, and the command is still given its stdin
    this.#session.countOut(bytes.length);
    this.#toClient.check(this.#writer.send(channel, bytes));
    this.#outputSincePong += bytes.length;
    if (this.#outputSincePong < outputBytesPerPong) return;
    this.#outputSincePong = 0;
    this.#client.pong();
  }

  #receive(event: WebSocketDataEvent): void {
    let message;
    try {
      message = this.#decoder.accept(event);
    } catch (error) {
      // kube-apiserver drops the connection too; the end of the client's leg then ends the kubelet's.
      const failure = error instanceof Error ? error : new KexerError('protocol', String(error));
      this.#end ??= clientEnd({ how: 'error', error: failure });
      this.#client.destroy(failure);
      return;
    }
    if (message === undefined || this.#outcome.isDecided) return;
    const stream = this.#inputOf(message.channel);
    if (stream === undefined) return;
    if (message.type === 'close') {
      stream.end();
      return;
    }
    const { length } = message.bytes;
    this.#session.countIn(length);
    this.#stdinGate.check(stream.write(message.bytes), length);
  }

  /** A client may only write stdin and resize; upstream ignores what it sends elsewhere. */
  #inputOf(channel: number): SpdyStream | undefined {
    if (channel === channels.stdin) return this.#stdin;
    return channel === channels.resize ? this.#resize : undefined;
  }

  #failStdin(): void {
    this.end(`the command has not read its stdin for so long that ${maxHeldBytes >> 20} MiB wait for it`);
  }

  #finish(verdict: Verdict): void {
    this.#end = endOf(verdict, this.#end);
    this.#stdinGate.stop();
    const status = this.#statusBytes(verdict);
    this.#writer.flush(); // output precedes the status, and the Close
    if (status.length > 0) this.#writer.sendAlone(channels.error, status);
    void this.#client.close(1000);
    this.#kubelet.destroy();
  }

  #statusBytes(verdict: Verdict): Buffer {
    switch (this.#options.version) {
      case 5:
        return translatedStatus(verdict);
      case 4:
        return verdict.kind === 'status' ? verdict.bytes : failureStatus('runtime', verdict.message);
      case 1:
        return Buffer.from(verdict.kind === 'status' ? commandEndText(verdict.end) : verdict.message);
      default:
        return unreachable(this.#options.version);
    }
  }

  #clientEnded(end: WebSocketEnd): void {
    // After a verdict this is the client's answer to our Close.
    this.#end ??= clientEnd(end);
    this.#stdinGate.stop();
    // Before v5 an orderly Close is a client's only end of stdin. Not of a failed or half-closed socket: that may be a client that was cut.
    const isOrderly = end.how === 'close' && (end.code === 1000 || end.code === noCloseCode);
    if (isOrderly && this.#options.version !== 5 && this.#stdin !== undefined && !this.#outcome.isDecided) {
      this.#toClient.open(); // output goes nowhere now, and must not hold the command
      this.#stdinTail.start(this.#stdin);
      return;
    }
    this.#outcome.abandon();
    this.#kubelet.destroy();
  }

  /** The command has its stdin, and its client has long left. */
  #leave(): void {
    this.#outcome.abandon();
    this.#kubelet.goaway();
  }

  get #closedEnd(): SessionEnd {
    return this.#end ?? { cause: 'internal', message: 'both connections were closed' };
  }
}

/** The first cause counts; the exit code of a command whose client had said all and left is still worth a record. */
function endOf(verdict: Verdict, known: SessionEnd | undefined): SessionEnd {
  const end = verdictEnd(verdict);
  if (known === undefined) return end;
  return known.cause === 'clientGone' && end.exitCode !== undefined ? { ...known, exitCode: end.exitCode } : known;
}

/** v5 is spoken by kube-apiserver's translator, which writes a status anew from what it understood. */
function translatedStatus(verdict: Verdict): Buffer {
  if (verdict.kind === 'broken') return failureStatus('translator', verdict.message);
  const { end } = verdict;
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
