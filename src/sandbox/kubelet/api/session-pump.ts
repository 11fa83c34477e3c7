// Moves bytes between a runtime's session and one protocol, both ways at the slower side's pace, and tells the end after the last
// byte. The protocols implement SessionWire; nothing here knows their frames.

import type { Buffer } from 'node:buffer';
import type { Readable } from 'node:stream';
import { describeError } from '../../../base/errors.ts';
import type { RuntimeSession, SessionResult } from '../runtime/session.ts';
import { ResizeReader } from './resize.ts';

export type OutputName = 'stdout' | 'stderr';

/** One exec or attach as requested, before the session is opened. */
export interface SessionPlan {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly isTerminal: boolean;
  /** Opens it; a rejection is told like a failed session. */
  open(): Promise<RuntimeSession>;
  /** How the runtime words an exit code other than 0. */
  describeExit(code: number): string;
  /** Before the text of a failure: `error executing command in container: `. */
  readonly failurePrefix: string;
}

export interface SessionWire {
  /** False: wait for onDrain. */
  send(output: OutputName, bytes: Buffer): boolean;
  onDrain(run: () => void): void;
  /** This output has ended regularly. */
  endOutput(output: OutputName): void;
  /** Everything was sent: tell the result and close. Called once, not after the client has gone. */
  finish(result: SessionResult): void;
  pause(): void;
  resume(): void;
}

/** Go's io.Copy: no frame or message of output is longer. */
const copyBytes = 32 * 1024;

/** Writes of stdin that may wait before the whole connection is held: the frames that spdystream queues for a worker. */
const maxPendingWrites = 50;

export class SessionPump {
  readonly #wire: SessionWire;
  readonly #early: Buffer[] = [];
  readonly #resizes: ResizeReader;
  #session: RuntimeSession | undefined;
  /** The newest size; clients send the first one before the session is open. */
  #size: { columns: number; rows: number } | undefined;
  #isStdinEnded = false;
  #pendingWrites = 0;
  #isHolding = false;
  #isOver = false;

  constructor(wire: SessionWire) {
    this.#wire = wire;
    this.#resizes = new ResizeReader((columns, rows) => {
      this.#size = { columns, rows };
      this.#session?.resize(columns, rows);
    });
  }

  /** Opens the session and runs it to its end. */
  async run(plan: SessionPlan): Promise<void> {
    let session: RuntimeSession;
    try {
      session = await plan.open();
    } catch (error) {
      if (!this.#isOver) this.#finish({ how: 'failed', message: describeError(error) });
      return;
    }
    this.#session = session;
    if (this.#isOver) {
      session.abandon();
      return;
    }
    if (this.#size !== undefined) session.resize(this.#size.columns, this.#size.rows);
    for (const bytes of this.#early.splice(0)) this.#write(bytes);
    if (this.#isStdinEnded) session.endStdin();
    // The result is settled before cut() closes the streams, so that this runs before their ends are told.
    const result = session.result.then((value) => {
      if (value.how === 'cut' && !this.#isOver) this.#finish(value);
      return value;
    });
    this.#pipe(session.stdout, 'stdout');
    this.#pipe(session.stderr, 'stderr');
    const value = await result;
    if (!this.#isOver) this.#finish(value);
  }

  acceptStdin(bytes: Buffer): void {
    if (this.#session === undefined) this.#early.push(bytes);
    else this.#write(bytes);
  }

  endStdin(): void {
    this.#isStdinEnded = true;
    this.#session?.endStdin();
  }

  acceptResize(bytes: Buffer): void {
    this.#resizes.accept(bytes);
  }

  /** The client has gone. */
  abandon(): void {
    this.#isOver = true;
    this.#session?.abandon();
  }

  #finish(result: SessionResult): void {
    this.#isOver = true;
    this.#wire.finish(result);
  }

  #write(bytes: Buffer): void {
    const stdin = this.#session?.stdin;
    if (stdin === undefined || stdin.destroyed || stdin.writableEnded) return; // nobody reads: dropped, as in a real one
    this.#pendingWrites += 1;
    stdin.write(bytes, () => {
      this.#pendingWrites -= 1;
      if (this.#pendingWrites > 0 || !this.#isHolding) return;
      this.#isHolding = false;
      this.#wire.resume();
    });
    if (this.#pendingWrites <= maxPendingWrites || this.#isHolding) return;
    this.#isHolding = true;
    this.#wire.pause();
  }

  #send(output: OutputName, bytes: Buffer): boolean {
    let isWritable = true;
    for (let from = 0; from < bytes.length; from += copyBytes) {
      isWritable = this.#wire.send(output, bytes.subarray(from, from + copyBytes));
    }
    return isWritable;
  }

  #pipe(source: Readable | undefined, output: OutputName): void {
    if (source === undefined) return;
    source.on('data', (bytes: Buffer) => {
      if (this.#isOver || this.#send(output, bytes)) return;
      source.pause();
      this.#wire.onDrain(() => source.resume());
    });
    source.once('close', () => {
      if (!this.#isOver) this.#wire.endOutput(output);
    });
  }
}
