// A program of the real cluster as a child process: its output goes into a file, it is known to be up when a question is answered, and it can be
// killed and started again on the same arguments, which is what most of the checks are about.

import { type ChildProcess, spawn } from 'node:child_process';
import { openSync, closeSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ComponentOptions {
  /** The program's file. */
  readonly program: string;
  readonly args: readonly string[];
  /** Where `NAME.log` is written; every start appends. */
  readonly logDir: string;
  readonly name?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Whether it serves; asked again until it does. A throw is a no. */
  readonly isUp: () => Promise<boolean>;
}

const startTimeoutMs = 120_000;
const pollMs = 100;

export class Component {
  readonly name: string;
  readonly logFile: string;
  readonly #options: ComponentOptions;
  #extra: readonly string[] = [];
  #child: ChildProcess | undefined;

  constructor(options: ComponentOptions) {
    this.#options = options;
    this.name = options.name ?? basename(options.program);
    this.logFile = join(options.logDir, `${this.name}.log`);
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** All it has written so far. */
  get log(): string {
    return readFileSync(this.logFile, 'utf8');
  }

  /** Starts it, with `extra` arguments behind its own until the next start, and settles when it is up. @throws Error if it ends or is late */
  async start(extra: readonly string[] = this.#extra): Promise<void> {
    this.#extra = extra;
    const { program, args, environment, isUp } = this.#options;
    const file = openSync(this.logFile, 'a');
    const child = spawn(program, [...args, ...extra], {
      stdio: ['ignore', file, file],
      env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '/root', ...environment },
    });
    closeSync(file);
    this.#child = child;
    child.once('error', () => {}); // told below: it does not run
    const deadline = Date.now() + startTimeoutMs;
    while (!(await isUp().catch(() => false))) {
      if (!this.isRunning) throw new Error(`${this.name} ended: see ${this.logFile}`);
      if (Date.now() > deadline) throw new Error(`${this.name} is not up: see ${this.logFile}`);
      await sleep(pollMs);
    }
  }

  /** Sends the signal and waits for the end. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.isRunning) return;
    const ended = new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
    });
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), 20_000);
    await ended;
    clearTimeout(timer);
  }

  async restart(extra?: readonly string[]): Promise<void> {
    await this.end();
    await this.start(extra);
  }
}
