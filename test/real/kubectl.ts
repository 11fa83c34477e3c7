// Real kubectl of several versions as child processes, each with the same kubeconfig and a home of its own for what it caches.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';

export interface KubectlRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface KubectlOptions {
  /** A context of the kubeconfig; default: its current one. */
  readonly context?: string;
  readonly stdin?: string | Buffer;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Killed after so long, which is a run without a code. Default a minute. */
  readonly timeoutMs?: number;
  /** Called with all of standard output so far at each piece; SIGTERM when it returns true. */
  readonly isEnough?: (stdout: string) => boolean;
  /** Runs it in a terminal of 33 rows and 77 columns, by script(1). */
  readonly hasTerminal?: boolean;
}

/** A kubectl that was started and is not waited for. */
export interface RunningKubectl {
  readonly ended: Promise<KubectlRun>;
  /** What it has printed so far. */
  readonly output: () => string;
  readonly write: (text: string | Buffer) => void;
  readonly endInput: () => void;
  readonly kill: (signal?: NodeJS.Signals) => void;
}

export class Kubectl {
  /** Says which one it is in tables: `1.36`. */
  readonly version: string;
  readonly #program: string;
  readonly #kubeconfig: string;
  readonly #home: string;

  constructor(options: { program: string; version: string; kubeconfig: string; home: string }) {
    this.version = options.version;
    this.#program = options.program;
    this.#kubeconfig = options.kubeconfig;
    this.#home = options.home;
  }

  start(args: readonly string[], options: KubectlOptions = {}): RunningKubectl {
    const { isEnough, timeoutMs = 60_000 } = options;
    const child = this.#spawn(args, options);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (isEnough?.(stdout) === true) child.kill('SIGTERM');
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.stdin.on('error', () => {}); // a command that does not read its stdin is no failure
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    const ended = new Promise<KubectlRun>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => {
        clearTimeout(timer);
        resolve({ code, stdout, stderr });
      });
    });
    return {
      ended,
      output: () => stdout,
      write: (text) => child.stdin.write(text),
      endInput: () => child.stdin.end(),
      kill: (signal = 'SIGTERM') => child.kill(signal),
    };
  }

  /** Runs it to its end. @returns the SHA-256 of its standard output, in hex @throws Error with what it said, if its code is not 0 */
  async outputHash(args: readonly string[], options: KubectlOptions = {}): Promise<string> {
    const child = this.#spawn(args, options);
    child.stdin.end();
    const hash = createHash('sha256');
    let stderr = '';
    child.stdout.on('data', (piece: Buffer) => hash.update(piece));
    child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString()));
    const code = await new Promise<number | null>((resolve) => {
      child.once('close', resolve);
    });
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: exit ${String(code)}: ${stderr}`);
    return hash.digest('hex');
  }

  /** Runs it to its end. */
  run(args: readonly string[], options: KubectlOptions = {}): Promise<KubectlRun> {
    const running = this.start(args, options);
    if (options.stdin !== undefined) running.write(options.stdin);
    running.endInput();
    return running.ended;
  }

  /** Its standard output. @throws Error with what it said, if its code is not 0 */
  async output(args: readonly string[], options: KubectlOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.run(args, options);
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: exit ${String(code)}: ${stderr}`);
    return stdout;
  }

  #spawn(args: readonly string[], options: KubectlOptions): ChildProcessWithoutNullStreams {
    const { context, env, cwd, hasTerminal = false } = options;
    const words = [this.#program, ...(context === undefined ? [] : ['--context', context]), ...args];
    const [program = '', ...rest] = hasTerminal
      ? ['script', '-qefc', `stty rows 33 cols 77; exec ${words.map((word) => `'${word}'`).join(' ')}`, '/dev/null']
      : words;
    return spawn(program, rest, {
      env: { PATH: process.env['PATH'] ?? '', HOME: this.#home, KUBECONFIG: this.#kubeconfig, TERM: 'dumb', ...env },
      ...(cwd === undefined ? {} : { cwd }),
    });
  }
}
