// exec and attach over SPDY/3.1 as the CRI server serves them (reference, section 4.1): wait for the streams, run, send the status on
// the error stream, reset what is unfinished, GOAWAY. Only streams that we have ended by FIN count as finished.

import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../../../base/clock.ts';
import { SpdyConnection, type SpdyStream } from '../../../net/spdy-connection.ts';
import { exitCodeStatus, failureStatus, type StatusSpelling, successStatus } from '../../../protocol/exit-status.ts';
import type { SessionResult } from '../runtime/session.ts';
import { type OutputName, type SessionPlan, SessionPump, type SessionWire } from './session-pump.ts';

export interface SpdyExecOptions {
  readonly version: 1 | 2 | 3 | 4;
  readonly head: Buffer;
  readonly spelling: StatusSpelling;
}

/** After this long without all streams the CRI server gives up, silently: the connection stays as it is. */
const streamCreationTimeoutMs = 30_000;

type StreamType = 'error' | 'stdin' | 'stdout' | 'stderr' | 'resize';

const streamTypes: ReadonlySet<string> = new Set(['error', 'stdin', 'stdout', 'stderr', 'resize']);

/** The status as the error stream of v1 to v3 tells it: text, nothing for success. */
export function resultText(plan: SessionPlan, result: SessionResult): string {
  if (result.how === 'failed') return `Internal error occurred: ${plan.failurePrefix}${result.message}`;
  if (result.how === 'cut' || result.code === 0) return '';
  return `command terminated with non-zero exit code: ${plan.describeExit(result.code)}`;
}

/** The status of v4 as the runtime spells it; nothing if there is no result. */
export function resultStatus(spelling: StatusSpelling, plan: SessionPlan, result: SessionResult): Buffer | undefined {
  if (result.how === 'cut') return undefined;
  if (result.how === 'failed') return failureStatus(spelling, `${plan.failurePrefix}${result.message}`);
  if (result.code === 0) return successStatus(spelling);
  return exitCodeStatus(spelling, result.code, plan.describeExit(result.code));
}

class SpdyExec implements SessionWire {
  readonly #socket: Duplex;
  readonly #plan: SessionPlan;
  readonly #options: SpdyExecOptions;
  readonly #connection: SpdyConnection;
  readonly #pump: SessionPump;
  readonly #streams = new Map<StreamType, SpdyStream>();
  /** Streams that conn.Close() would reset: opened and not ended by us. */
  readonly #unfinished = new Set<SpdyStream>();
  readonly #timer: Timer;
  #missing: number;

  constructor(deps: { socket: Duplex; clock: Clock }, plan: SessionPlan, options: SpdyExecOptions) {
    this.#socket = deps.socket;
    this.#plan = plan;
    this.#options = options;
    const hasResize = plan.isTerminal && options.version >= 3;
    this.#missing = 1 + [plan.stdin, plan.stdout, plan.stderr, hasResize].filter(Boolean).length;
    this.#pump = new SessionPump(this);
    // Zero from now on: nothing that comes later is counted.
    this.#timer = deps.clock.after(streamCreationTimeoutMs, () => (this.#missing = 0));
    this.#connection = new SpdyConnection(
      deps,
      { role: 'server', head: options.head, isSilentUntilPeerSpeaks: true },
      {
        onStream: (stream) => this.#acceptStream(stream),
        onEnd: () => {
          this.#timer.cancel();
          this.#pump.abandon();
        },
      },
    );
  }

  #acceptStream(stream: SpdyStream): void {
    const type = stream.headers.find(([name]) => name.toLowerCase() === 'streamtype')?.[1] ?? '';
    stream.reply();
    this.#unfinished.add(stream);
    if (!isStreamType(type)) return; // logged and not counted
    this.#streams.set(type, stream);
    switch (type) {
      case 'stdin':
        stream.setHandlers({ onData: (bytes) => this.#pump.acceptStdin(bytes), onEnd: () => this.#pump.endStdin() });
        break;
      case 'resize':
        stream.setHandlers({ onData: (bytes) => this.#pump.acceptResize(bytes) });
        break;
      case 'error':
      case 'stdout':
      case 'stderr':
        break;
    }
    if (this.#missing === 0) return;
    this.#missing -= 1;
    if (this.#missing === 0) this.#start();
  }

  #start(): void {
    this.#timer.cancel();
    if (this.#options.version === 1) this.#actAsVersion1();
    void this.#pump.run(this.#plan);
  }

  /** Bugs of the first version that were kept: stdin is half-closed and the error stream reset at once. */
  #actAsVersion1(): void {
    const stdin = this.#streams.get('stdin');
    if (stdin !== undefined) this.#finishStream(stdin);
    const error = this.#streams.get('error');
    error?.reset();
    if (error !== undefined) this.#unfinished.delete(error);
  }

  #finishStream(stream: SpdyStream): void {
    stream.end();
    this.#unfinished.delete(stream);
  }

  send(output: OutputName, bytes: Buffer): boolean {
    return this.#streams.get(output)?.write(bytes) ?? true;
  }

  onDrain(run: () => void): void {
    this.#connection.onDrain(run);
  }

  endOutput(output: OutputName): void {
    const stream = this.#streams.get(output);
    if (stream !== undefined) this.#finishStream(stream);
  }

  finish(result: SessionResult): void {
    if (result.how === 'cut') {
      // Behind the kubelet the runtime's connection has gone: the proxy just ends this one, after what was sent before.
      setImmediate(() => this.#socket.end());
      return;
    }
    const { version, spelling } = this.#options;
    const status =
      version === 4 ? resultStatus(spelling, this.#plan, result) : Buffer.from(resultText(this.#plan, result));
    if (status !== undefined && status.length > 0) this.#streams.get('error')?.write(status);
    for (const stream of this.#unfinished) stream.reset();
    this.#connection.goaway();
  }

  pause(): void {
    this.#connection.pause();
  }

  resume(): void {
    this.#connection.resume();
  }
}

function isStreamType(text: string): text is StreamType {
  return streamTypes.has(text);
}

/** Takes the upgraded socket over. */
export function serveExecOverSpdy(
  deps: { socket: Duplex; clock: Clock },
  plan: SessionPlan,
  options: SpdyExecOptions,
): void {
  // The object lives in its connection's handlers.
  void new SpdyExec(deps, plan, options);
}
