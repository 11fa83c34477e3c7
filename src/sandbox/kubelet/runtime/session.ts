// An exec or attach as the protocols see it: streams with backpressure, a terminal's size, and one result that comes after all
// output. What a session is made of (a process of its own, or taps on a container's main process) stays behind it.

import { PassThrough, type Readable, Writable } from 'node:stream';
import type { Clock } from '../../../base/clock.ts';
import type { LocalProcess } from './process.ts';

export type SessionResult =
  | { readonly how: 'exited'; readonly code: number }
  /** It could not be started, or broke; the runtime's words. */
  | { readonly how: 'failed'; readonly message: string }
  /** The runtime died: there is no result, and nothing may be told about one. */
  | { readonly how: 'cut' };

export interface RuntimeSession {
  /** Undefined if not asked for, or if the container has none. */
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  readonly isTerminal: boolean;
  /** End of input. On a terminal nothing happens, as with a real runtime: there is no way to say it. */
  endStdin(): void;
  resize(columns: number, rows: number): void;
  /** Settles after all output was read or thrown away. */
  readonly result: Promise<SessionResult>;
  /** The client has gone: its streams are closed (a terminal hangs up); a process without one runs on until it writes. */
  abandon(): void;
  /** The runtime dies. */
  cut(): void;
}

/**
 * How long after the end of an exec's process its output may stay silent, while somebody reads, before it is taken as finished. A
 * background child that keeps stdout open would otherwise hold the session for ever; containerd waits likewise where
 * drain_exec_sync_io_timeout is set.
 */
const drainQuietMs = 1000;

/** To be called before anything is read: `destroyed` and `closed` are true a turn before the listeners of 'close' are told. */
function closed(stream: Readable | undefined): Promise<void> {
  if (stream === undefined) return Promise.resolve();
  return new Promise((resolve) => {
    stream.once('close', resolve);
  });
}

/** Destroys `stream` once nothing has come for {@link drainQuietMs} although it is being read. */
function endWhenQuiet(clock: Clock, stream: Readable | undefined): void {
  if (stream === undefined || stream.destroyed) return;
  let hasNews = false;
  const onData = (): void => {
    hasNews = true;
  };
  const look = (): void => {
    // A paused stream may hold more: its reader is slow, not its writer.
    if (hasNews || stream.isPaused()) {
      hasNews = false;
      timer = clock.after(drainQuietMs, look);
    } else {
      stream.destroy();
    }
  };
  let timer = clock.after(drainQuietMs, look);
  stream.on('data', onData);
  stream.once('close', () => timer.cancel());
}

/** A session that owns its process. */
export class ExecSession implements RuntimeSession {
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  readonly isTerminal: boolean;
  readonly result: Promise<SessionResult>;
  readonly #process: LocalProcess;
  #settle: (result: SessionResult) => void = () => {};

  constructor(deps: { clock: Clock }, process: LocalProcess, options: { isTerminal: boolean; hasStdin: boolean }) {
    this.#process = process;
    this.isTerminal = options.isTerminal;
    this.stdin = options.hasStdin ? process.stdin : undefined;
    this.stdout = process.stdout;
    this.stderr = process.stderr;
    this.result = new Promise((resolve) => {
      this.#settle = resolve;
    });
    void this.#finish(deps.clock, Promise.all([closed(this.stdout), closed(this.stderr)]));
  }

  async #finish(clock: Clock, outputClosed: Promise<unknown>): Promise<void> {
    const code = await this.#process.exited;
    endWhenQuiet(clock, this.stdout);
    endWhenQuiet(clock, this.stderr);
    await outputClosed;
    this.stdin?.destroy();
    this.#settle({ how: 'exited', code });
  }

  endStdin(): void {
    if (!this.isTerminal) this.stdin?.end();
  }

  resize(columns: number, rows: number): void {
    this.#process.resize(columns, rows);
  }

  abandon(): void {
    this.stdin?.destroy();
    this.stdout?.destroy();
    this.stderr?.destroy();
  }

  cut(): void {
    this.#settle({ how: 'cut' });
    this.#process.kill('SIGKILL');
    this.abandon();
  }
}

/** A command that could not be started: the session opens and fails, as a runtime's does. */
export class FailedSession implements RuntimeSession {
  readonly stdin = undefined;
  readonly stdout = undefined;
  readonly stderr = undefined;
  readonly isTerminal = false;
  readonly result: Promise<SessionResult>;

  constructor(message: string) {
    this.result = Promise.resolve({ how: 'failed', message });
  }

  endStdin(): void {}
  resize(): void {}
  abandon(): void {}
  cut(): void {}
}

/** What an attach needs of a container's main process. */
export interface AttachTarget {
  readonly stdin: Writable | undefined;
  /** Whether the container's stdin ends with the first attached client's. */
  readonly isStdinOnce: boolean;
  readonly isTerminal: boolean;
  /** Copies output from now on into `sink`, which slows the container down when it is full; ends it with the container. */
  tap(stream: 'stdout' | 'stderr', sink: PassThrough): () => void;
  /** Settles when the container and its output have ended. */
  readonly finished: Promise<void>;
  resize(columns: number, rows: number): void;
}

/** A session on a container that runs already; it ends with the container, always as success. */
export class AttachSession implements RuntimeSession {
  readonly stdin: Writable | undefined;
  readonly stdout: PassThrough | undefined;
  readonly stderr: PassThrough | undefined;
  readonly isTerminal: boolean;
  readonly result: Promise<SessionResult>;
  readonly #target: AttachTarget;
  readonly #untap: (() => void)[] = [];
  #settle: (result: SessionResult) => void = () => {};

  constructor(target: AttachTarget, wanted: { stdin: boolean; stdout: boolean; stderr: boolean }) {
    this.#target = target;
    this.isTerminal = target.isTerminal;
    this.stdin = wanted.stdin && target.stdin !== undefined ? forwardTo(target.stdin, target.isStdinOnce) : undefined;
    this.stdout = wanted.stdout ? this.#tap('stdout') : undefined;
    this.stderr = wanted.stderr && !target.isTerminal ? this.#tap('stderr') : undefined;
    this.result = new Promise((resolve) => {
      this.#settle = resolve;
    });
    void Promise.all([target.finished, closed(this.stdout), closed(this.stderr)]).then(() => {
      this.#settle({ how: 'exited', code: 0 });
    });
  }

  #tap(stream: 'stdout' | 'stderr'): PassThrough {
    const sink = new PassThrough();
    sink.on('error', () => {});
    this.#untap.push(this.#target.tap(stream, sink));
    return sink;
  }

  endStdin(): void {
    if (!this.isTerminal) this.stdin?.end();
  }

  resize(columns: number, rows: number): void {
    this.#target.resize(columns, rows);
  }

  abandon(): void {
    this.endStdin();
    for (const untap of this.#untap) untap();
    this.stdout?.destroy();
    this.stderr?.destroy();
  }

  cut(): void {
    this.#settle({ how: 'cut' });
    this.abandon();
  }
}

/** Writes to `target` at its pace; ends it only if the container asked for that. */
function forwardTo(target: Writable, isOnce: boolean): Writable {
  const forward = new Writable({
    write(chunk, _encoding, done) {
      // A write to a container that has ended is lost, as in a real one; the session ends by itself.
      target.write(chunk, () => done());
    },
    final(done) {
      if (isOnce) target.end();
      done();
    },
  });
  forward.on('error', () => {});
  return forward;
}
