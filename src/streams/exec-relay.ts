// exec and attach for a client that speaks SPDY: every stream that the client opens is opened at the kubelet, in the same order, and
// their bytes are handed on frame by frame. Only the error stream is held back: its status reaches the client when the outcome is known,
// and a Failure in its place when the kubelet's leg dies. So no end of any socket can look like exit code 0.

import { Buffer } from 'node:buffer';

import type { Clock, Timer } from '../base/clock.ts';
import { SpdyConnection, type SpdyEnd, type SpdyStream, type SpdyStreamEnd } from '../net/spdy-connection.ts';
import { commandEndText, failureStatus } from '../protocol/exit-status.ts';
import { HeldClient } from './held-client.ts';
import {
  clientEnd,
  finDelayMs,
  clientKeepalive,
  kubeletKeepalive,
  type Leg,
  lingerTimeoutMs,
  type RunningStream,
  streamHeader,
  whenClosed,
} from './leg.ts';
import { Outcome, type Verdict } from './outcome.ts';
import type { Session, SessionEnd } from './session.ts';
import { verdictEnd } from './verdict-end.ts';
import { Valve } from './valve.ts';

/**
 * Written to the error stream of v4 before anything else. JSON ignores it; but should kexer or an apiserver in front of it be killed, the
 * client finds a stream that is not empty and no JSON either, where an empty one would have meant success.
 */
const space = Buffer.from(' ');

/**
 * How long a client may take to open its streams after the session has ended. client-go reads a status only when all of them are open; it opens
 * one a round trip.
 */
const lateStreamsTimeoutMs = 10_000;

/** exec and attach have five streams; a client that opens more is not served by serving them. */
const maxStreams = 16;

export interface ExecRelayOptions {
  /** Of the client's protocol: below 4 the error stream is text, below 3 there is no resize stream. */
  readonly version: 1 | 2 | 3 | 4;
  readonly hasTty: boolean;
  /** How many streams the client opens before it reads any: what it asked for, and the error stream. Default: unknown. */
  readonly streamCount?: number;
  /** Who is at the other end of `kubelet`, for texts: {@link kubeletName} or kube-apiserver. */
  readonly backend: string;
  /** It will be ended at once, and its client is to read why. Default: no. */
  readonly isRefusal?: boolean;
}

export class ExecRelay implements RunningStream {
  readonly done: Promise<SessionEnd>;
  readonly #session: Session;
  readonly #options: ExecRelayOptions;
  readonly #client: SpdyConnection;
  readonly #kubelet: SpdyConnection;
  readonly #outcome: Outcome;
  readonly #toClient: Valve;
  readonly #toKubelet: Valve;
  /** Streams of the client that the kubelet writes to, and those that it reads. */
  readonly #outputs: SpdyStream[];
  readonly #inputs: SpdyStream[];
  #error: SpdyStream | undefined;
  #isResizeOpened: boolean;
  #openedStreams: number;
  /** How the session ended, for a client that is still opening its streams. */
  #lateVerdict: Verdict | undefined;
  #lateTimer: Timer | undefined;
  readonly #clock: Clock;
  #end: SessionEnd | undefined;

  constructor(
    deps: { clock: Clock; session: Session },
    legs: { client: Leg; kubelet: Leg },
    options: ExecRelayOptions,
  ) {
    this.#session = deps.session;
    this.#options = options;
    this.#outputs = [];
    this.#inputs = [];
    this.#error = undefined;
    this.#isResizeOpened = false;
    this.#openedStreams = 0;
    this.#lateVerdict = undefined;
    this.#lateTimer = undefined;
    this.#clock = deps.clock;
    this.#end = undefined;
    this.#outcome = new Outcome({ backend: options.backend }, (verdict) => this.#finish(verdict));
    this.done = whenClosed([legs.client.socket, legs.kubelet.socket], () => this.#closedEnd);
    // The kubelet's side first: frames that came with the client's head are handed on at once.
    this.#kubelet = new SpdyConnection(
      { socket: legs.kubelet.socket, clock: deps.clock },
      { role: 'client', head: legs.kubelet.head, ...kubeletKeepalive, hasTransientReads: true },
      {
        onStream: (stream) => stream.reset(),
        onEnd: (end) => this.#outcome.connectionEnded(end),
      },
    );
    this.#client = new SpdyConnection(
      { socket: legs.client.socket, clock: deps.clock },
      {
        role: 'server',
        head: legs.client.head,
        maxStreams,
        ...clientKeepalive,
        hasTransientReads: true,
        lingerTimeoutMs,
        finDelayMs,
        isSilentUntilPeerSpeaks: true,
      },
      { onStream: (stream) => this.#join(stream), onEnd: (end) => this.#clientEnded(end) },
    );
    this.#toClient = new Valve(this.#kubelet, this.#client);
    this.#toKubelet = new Valve(new HeldClient({ clock: deps.clock, client: this.#client }), this.#kubelet);
    deps.session.shape({ in: new HeldClient({ clock: deps.clock, client: this.#client }), out: this.#kubelet });
  }

  end(message: string): void {
    this.#end ??= { cause: 'ended', message };
    this.#outcome.decide({ kind: 'broken', message });
  }

  /** Opens at the kubelet what the client opened, and joins both. */
  #join(client: SpdyStream): void {
    this.#openedStreams += 1;
    const type = streamHeader(client.headers, 'streamtype') ?? '';
    if (this.#outcome.isDecided) {
      this.#joinLate(client, type);
      return;
    }
    if (type === 'error') this.#joinError(client);
    else if (type === 'stdout' || type === 'stderr') this.#joinOutput(client, type);
    else this.#joinInput(client, type);
    this.#openMissingResize();
  }

  #joinError(client: SpdyStream): void {
    if (this.#error !== undefined) {
      client.reset(); // a second one could carry a status past the watch over the first
      return;
    }
    this.#error = client;
    const kubelet = this.#kubelet.createStream([['streamtype', 'error']], {
      onData: (bytes) => this.#outcome.errorData(bytes),
      onEnd: (how) => this.#outcome.errorEnded(how),
    });
    client.setHandlers({ onEnd: (how) => passEnd(how, kubelet) });
    client.reply();
    if (this.#options.version === 4) client.write(space);
  }

  #joinOutput(client: SpdyStream, type: string): void {
    this.#outputs.push(client);
    this.#outcome.addOutput();
    const kubelet = this.#kubelet.createStream([['streamtype', type]], {
      onData: (bytes) => {
        this.#session.countOut(bytes.length);
        this.#toClient.check(client.write(bytes));
      },
      onEnd: (how) => {
        // A runtime may end an output by reset too; for the client it is the same end, and a FIN loses nothing that is queued.
        if (how === 'fin' || how === 'reset') client.end();
        this.#outcome.outputEnded(how);
      },
    });
    client.setHandlers({
      onEnd: (how) => {
        passEnd(how, kubelet);
        // No more is wanted of this stream, and after our own reset its end is not told.
        if (how === 'reset') this.#outcome.outputEnded(how);
      },
    });
    client.reply();
  }

  /** stdin, resize, and types nobody knows: kubelets accept those and ignore them. */
  #joinInput(client: SpdyStream, type: string): void {
    this.#inputs.push(client);
    if (type === 'resize') this.#isResizeOpened = true;
    const kubelet = this.#kubelet.createStream([['streamtype', type]], {
      onEnd: (how) => passEnd(how, client),
    });
    client.setHandlers({
      onData: (bytes) => {
        this.#session.countIn(bytes.length);
        this.#toKubelet.check(kubelet.write(bytes));
      },
      onEnd: (how) => passEnd(how, kubelet),
    });
    client.reply();
  }

  /** After the end: only so that a client which is still opening its streams comes to read the status. */
  #joinLate(client: SpdyStream, type: string): void {
    const verdict = this.#lateVerdict;
    if (verdict === undefined || (type === 'error' && this.#error !== undefined)) {
      client.reset();
      return;
    }
    client.setHandlers({});
    client.reply();
    if (type === 'error') {
      this.#error = client;
      if (this.#options.version === 4) client.write(space);
      client.write(this.#statusBytes(verdict));
    }
    if (type === 'error' || type === 'stdout' || type === 'stderr') client.end();
    if (!this.#isOpening) this.#leaveClient();
  }

  get #isOpening(): boolean {
    return this.#openedStreams < (this.#options.streamCount ?? 0);
  }

  #leaveClient(): void {
    this.#lateTimer?.cancel();
    this.#lateVerdict = undefined;
    this.#client.goaway();
  }

  /** With a terminal a kubelet waits for a resize stream in v4, which clients of v1 and v2 never open. */
  #openMissingResize(): void {
    if (!this.#options.hasTty || this.#options.version > 2 || this.#isResizeOpened) return;
    this.#isResizeOpened = true;
    this.#kubelet.createStream([['streamtype', 'resize']], {});
  }

  #finish(verdict: Verdict): void {
    this.#end ??= verdictEnd(verdict);
    for (const stream of this.#outputs) stream.end();
    this.#error?.write(this.#statusBytes(verdict));
    this.#error?.end();
    for (const stream of this.#inputs) stream.reset();
    this.#toKubelet.open();
    this.#kubelet.destroy();
    // Not after an end from outside, which has its own time, nor after the kubelet's own word: it does not need the streams that are missing.
    const isAwaited = this.#end.cause === 'kubeletGone' || this.#options.isRefusal === true;
    if (!this.#isOpening || !isAwaited) {
      this.#leaveClient();
      return;
    }
    this.#lateVerdict = verdict;
    this.#lateTimer = this.#clock.after(lateStreamsTimeoutMs, () => this.#leaveClient());
  }

  #statusBytes(verdict: Verdict): Buffer {
    if (this.#options.version === 4) {
      return verdict.kind === 'status' ? verdict.bytes : failureStatus('runtime', verdict.message);
    }
    return Buffer.from(verdict.kind === 'status' ? commandEndText(verdict.end) : verdict.message);
  }

  #clientEnded(end: SpdyEnd): void {
    // After a verdict this is the client's answer to our GOAWAY.
    this.#end ??= clientEnd(end);
    this.#lateTimer?.cancel();
    this.#toKubelet.open();
    this.#outcome.abandon();
    this.#kubelet.destroy();
  }

  get #closedEnd(): SessionEnd {
    return this.#end ?? { cause: 'internal', message: 'both connections were closed' };
  }
}

/** Hands on the end of one direction. The ends of connections are handled as such. */
function passEnd(how: SpdyStreamEnd, to: SpdyStream): void {
  if (how === 'fin') to.end();
  else if (how === 'reset') to.reset();
}
