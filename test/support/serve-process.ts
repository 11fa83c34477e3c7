// `kexer serve` as a process of its own, started from the sources: what every kind of test wants of it. Its log is read line by line; what
// is no line of the log is kept apart, since it is a crash or a complaint about the command line.

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** A line of kexer's log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg: string; readonly level: string };

export interface ServeOptions {
  /** What follows `kexer serve`. */
  readonly flags: readonly string[];
  /** For Node itself. */
  readonly nodeFlags?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Opens an IPC channel, which holds neither process. */
  readonly hasChannel?: boolean;
  /** Lines to keep, the latest; default: all. */
  readonly maxLines?: number;
}

export class ServeProcess {
  readonly child: ChildProcess;
  readonly lines: LogLine[] = [];
  /** What came on either stream and was no line of the log. */
  noise = '';
  readonly #maxLines: number;
  readonly #exited: Promise<string>;
  #port = 0;
  #ended: string | undefined;
  #isOver = false; // and all it wrote was read
  #waiting: (() => void)[] = [];

  constructor(options: ServeOptions) {
    this.#maxLines = options.maxLines ?? Number.POSITIVE_INFINITY;
    const args = [...(options.nodeFlags ?? []), 'src/main.ts', 'serve', ...options.flags];
    this.child = spawn(process.execPath, args, {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe', ...(options.hasChannel === true ? (['ipc'] as const) : [])],
      env: { PATH: process.env['PATH'] ?? '', ...options.environment },
    });
    this.child.channel?.unref();
    for (const stream of [this.child.stdout, this.child.stderr]) this.#read(stream);
    this.#exited = new Promise((resolve) => {
      const over = (): void => {
        this.#isOver = true;
        this.#wake();
        resolve(this.#ended ?? 'it did not start');
      };
      this.child.once('error', over);
      this.child.once('exit', (code, signal) => {
        this.#ended = signal === null ? `exit code ${String(code)}` : signal;
        if (signal === 'SIGKILL') over(); // it says nothing more, and a child of its own might hold a pipe
      });
      this.child.once('close', over);
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Where it serves; 0 until it does. */
  get port(): number {
    return this.#port;
  }

  /** `exit code N` or the name of a signal; undefined while it runs. */
  get ended(): string | undefined {
    return this.#ended;
  }

  /** Settles when it has ended and all it wrote was read. */
  whenEnded(): Promise<string> {
    return this.#exited;
  }

  /** The first line with this message, or for which this holds, as soon as there is one. @throws Error if the process ends before */
  async untilLogged(what: string | ((line: LogLine) => boolean)): Promise<LogLine> {
    const isIt = typeof what === 'string' ? ({ msg }: LogLine): boolean => msg === what : what;
    for (;;) {
      const line = this.lines.find(isIt);
      if (line !== undefined) return line;
      if (this.#isOver) throw new Error(`kexer ended (${this.#ended}): ${this.noise}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** SIGTERM, and nothing more. */
  terminate(): void {
    this.child.kill('SIGTERM');
  }

  /** SIGTERM twice, which waits for nobody, and SIGKILL if that does not end it. */
  async hurry(): Promise<string> {
    if (this.#ended === undefined) {
      this.child.kill('SIGTERM');
      this.child.kill('SIGTERM');
    }
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    const how = await this.#exited;
    clearTimeout(timer);
    this.#release();
    return how;
  }

  /** SIGKILL; settles when it is gone. */
  async kill(): Promise<void> {
    if (this.#ended === undefined) this.child.kill('SIGKILL');
    await this.#exited;
    this.#release();
  }

  /** For whoever counts something by lines. */
  protected note(_line: LogLine): void {}

  /** For whoever keeps every byte. */
  protected heard(_text: string): void {}

  #read(stream: ChildProcess['stdout']): void {
    let rest = '';
    stream?.setEncoding('utf8').on('data', (text: string) => {
      this.heard(text);
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#accept(line);
      this.#wake();
    });
    stream?.once('end', () => {
      if (rest !== '') this.#accept(rest);
      this.#wake();
    });
  }

  #accept(text: string): void {
    const line = parseLine(text);
    if (line === undefined) {
      this.noise += `${text}\n`;
      return;
    }
    this.lines.push(line);
    if (this.lines.length > this.#maxLines) this.lines.shift();
    if (line.msg === 'serving') this.#port = Number(line['port']);
    this.note(line);
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #release(): void {
    if (this.child.connected) this.child.disconnect();
    this.child.stdout?.destroy();
    this.child.stderr?.destroy();
  }
}

function parseLine(text: string): LogLine | undefined {
  try {
    const value = JSON.parse(text) as unknown;
    if (typeof value === 'object' && value !== null && 'msg' in value && 'level' in value) return value as LogLine;
  } catch {
    // no line of the log
  }
  return undefined;
}
