// What the matrix asks of every client, and what it is given: a pod on one kubelet and the outcome of one command. A client that is a
// program of its own (kubectl, or a script that drives a library) is a child process with stdin, stdout and an exit code.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';

import type { Stage } from '../../integration/support/stage.ts';

export const kinds = [
  'exec, exit code 3',
  'stdin 10 MiB',
  'stdout 50 MiB',
  'TTY and resize',
  'attach',
  'port-forward 1 MiB',
] as const;

export type Kind = (typeof kinds)[number];

/** A row of the table is asked on both; the pods for exec are of the sandbox, those for attach of the matrix. */
export const kubelets = [
  { name: 'kubelet 1.36', node: 'node1', pod: 'demo', attachPod: 'attach-1' },
  { name: 'kubelet 1.35', node: 'node2', pod: 'db', attachPod: 'attach-2' },
] as const;

export interface Outcome {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface ExecInput {
  readonly pod: string;
  readonly command: readonly string[];
  readonly stdin?: Buffer;
}

/** How a client says that stdin is over; `none`: it cannot while it wants the exit code. */
export type StdinEnd = 'half-close' | 'none';

export interface Client {
  /** The first column of the table. */
  readonly name: string;
  readonly stdinEnd: StdinEnd;
  /** Says how to get it if the machine has it not. */
  missing(): string | undefined;
  exec(stage: Stage, input: ExecInput): Promise<Outcome>;
  /** A terminal of 30 rows and 100 columns; of 22 and 77 once the command has printed `first`. */
  terminal(stage: Stage, input: ExecInput): Promise<Outcome>;
  /** Attaches with stdin, writes `line` and goes when it has come back. */
  attach(stage: Stage, input: { readonly pod: string; readonly line: string }): Promise<void>;
  /** Sends `bytes` to a port that echoes, and gives as many as it sent. */
  forward(
    stage: Stage,
    input: { readonly pod: string; readonly port: number; readonly bytes: Buffer },
  ): Promise<Buffer>;
}

export const firstSize = { columns: 100, rows: 30 } as const;
export const secondSize = { columns: 77, rows: 22 } as const;

/** What scripts and kubectl run with. */
export function clientEnvironment(stage: Stage): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? '',
    HOME: stage.sandbox.dir,
    KUBECONFIG: stage.sandbox.files.kubeconfig,
    TERM: 'xterm',
  };
}

export function startChild(
  command: readonly string[],
  env: Readonly<Record<string, string>>,
): ChildProcessWithoutNullStreams {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { env });
  child.stdin.on('error', () => {}); // a command that does not read its stdin is no failure of the test
  return child;
}

/** Waits until the child has printed `text`, then kills it. @throws Error if it ends before */
export async function killAfter(child: ChildProcessWithoutNullStreams, text: string): Promise<void> {
  let printed = '';
  let complaints = '';
  const closed = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
  });
  child.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString()));
  const hasCome = await Promise.race([
    closed.then(() => false),
    new Promise<boolean>((resolve) => {
      child.stdout.on('data', (chunk: Buffer) => {
        printed += chunk.toString();
        if (printed.includes(text)) resolve(true);
      });
    }),
  ]);
  child.kill('SIGKILL');
  await closed;
  if (!hasCome) throw new Error(`The client ended before it had printed ${text}: ${printed} ${complaints}`);
}
