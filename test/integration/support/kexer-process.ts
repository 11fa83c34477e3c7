// `kexer serve` as a process of its own, started as an operator starts it: from the config file the sandbox wrote, on a free port.

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import type { Sandbox } from '../../../src/sandbox/sandbox.ts';

const mainFile = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));

/** A line of kexer's log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg?: string };

export class KexerProcess {
  readonly child: ChildProcess;
  /** Everything on standard error that was one JSON object a line. */
  readonly log: LogLine[] = [];
  /** Everything else on standard error. */
  readonly complaints: string[] = [];
  #rest = '';
  #wake: () => void = () => {};
  readonly #exit: Promise<number | null>;
  #hasExited = false;

  /** @param flags what follows `kexer serve`. */
  constructor(flags: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    this.child = spawn(process.execPath, [mainFile, 'serve', ...flags], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: process.env['PATH'] ?? '', ...environment },
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#accept(text));
    this.#exit = new Promise((resolve) => {
      this.child.once('close', (code) => {
        this.#hasExited = true;
        this.#wake();
        resolve(code);
      });
    });
  }

  /** Starts it in front of a sandbox and registers it there. */
  static async start(sandbox: Sandbox, flags: readonly string[] = []): Promise<KexerProcess> {
    const own = ['--config', sandbox.files.kexerConfig, '--secure-port', '0', '--shutdown-delay-duration', '0s'];
    const kexer = new KexerProcess([...own, ...flags]);
    const line = await kexer.untilLogged('serving');
    const { port } = line;
    if (typeof port !== 'number') throw new Error('the line has no port');
    await kexer.untilLogged('ready');
    await sandbox.registerKexer({ port });
    return kexer;
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get port(): number {
    const port = this.log.find((line) => line.msg === 'serving')?.['port'];
    return typeof port === 'number' ? port : 0;
  }

  /** The first line with this message, as soon as there is one. @throws if the process ends before. */
  async untilLogged(message: string): Promise<LogLine> {
    for (;;) {
      const line = this.log.find(({ msg }) => msg === message);
      if (line !== undefined) return line;
      if (this.#hasExited) throw new Error(`kexer ended: ${this.complaints.join('\n')}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The exit code, once it has ended by itself. */
  exit(): Promise<number | null> {
    return this.#exit;
  }

  async stop(): Promise<number | null> {
    this.child.kill('SIGTERM');
    return this.#exit;
  }

  #accept(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line.startsWith('{')) this.log.push(JSON.parse(line) as LogLine);
      else this.complaints.push(line);
    }
    this.#wake();
  }
}
