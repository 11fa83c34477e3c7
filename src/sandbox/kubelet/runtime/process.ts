// Starts one local process in a session of its own, on pipes or on a terminal, and tells how it ended as container runtimes do: the
// exit code, or 128 + the signal's number. Streams are plain Node streams with backpressure down to the process's pipe.

import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import type { PipePool } from './pipes.ts';
import type { PtyHost } from './pty.ts';

/** What to run, already translated to the host's terms (see container-root.ts). */
export interface ProcessSpec {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface LocalProcess {
  readonly pid: number;
  /** Settles when the process itself has ended; output may still be unread. */
  readonly exited: Promise<number>;
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  /** Undefined on a terminal: both are one stream there. */
  readonly stderr: Readable | undefined;
  resize(columns: number, rows: number): void;
  /** Signals the whole process group. */
  kill(signal: NodeJS.Signals): void;
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // The group is empty: everybody has ended.
  }
}

/** An error on a pipe (EPIPE after the child has closed its end) is how it ends; the stream closes by itself. */
function ignoreErrors(stream: Readable | Writable): void {
  stream.on('error', () => {});
}

/**
 * Starts `spec` with pipes for the streams that are wanted; the others are /dev/null.
 * @throws the system's error if the file cannot be run.
 */
export async function startPiped(
  deps: { pipes: PipePool },
  spec: ProcessSpec,
  wanted: { stdin: boolean; stdout: boolean; stderr: boolean },
): Promise<LocalProcess> {
  const stdin = wanted.stdin ? await deps.pipes.input() : undefined;
  const stdout = wanted.stdout ? await deps.pipes.output() : undefined;
  const stderr = wanted.stderr ? await deps.pipes.output() : undefined;
  const opened = [stdin, stdout, stderr].filter((pipe) => pipe !== undefined);
  for (const { ours } of opened) ignoreErrors(ours);
  const child = spawn(spec.file, [...spec.args], {
    cwd: spec.cwd,
    env: { ...spec.env },
    detached: true,
    stdio: [stdin?.childFd ?? 'ignore', stdout?.childFd ?? 'ignore', stderr?.childFd ?? 'ignore'],
  });
  for (const { childFd } of opened) closeSync(childFd);
  const exited = new Promise<number>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
  try {
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
  } catch (error) {
    for (const { ours } of opened) ours.destroy();
    throw error;
  }
  const pid = child.pid ?? 0; // set once 'spawn' was emitted
  return {
    pid,
    exited,
    stdin: stdin?.ours,
    stdout: stdout?.ours,
    stderr: stderr?.ours,
    resize: () => {},
    kill: (signal) => killGroup(pid, signal),
  };
}

/** Starts `spec` on a new terminal of 80 columns and 24 rows. */
export function startOnTerminal(deps: { pty: PtyHost }, spec: ProcessSpec): LocalProcess {
  const { pid, terminal, exited, resize } = deps.pty.spawn(spec);
  return {
    pid,
    exited,
    stdin: terminal,
    stdout: terminal,
    stderr: undefined,
    resize,
    kill: (signal) => killGroup(pid, signal),
  };
}
