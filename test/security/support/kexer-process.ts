// The real kexer, `kexer serve` in a process of its own, with its log at debug level kept to the last byte: a test of what must never be
// logged reads all of it. It ends with its owner, and an end that nobody ordered fails the test that notices.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));

/** A line of kexer's log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg: string; readonly level: string };

export class KexerProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<string>;
  #output = '';
  #isStopping = false;
  #port = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#exited = once(child, 'exit').then(([code, signal]) => `ended with ${String(signal ?? code)}`);
    child.stdout?.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
  }

  /** Settles when it listens. */
  static async start(config: string, flags: readonly string[] = []): Promise<KexerProcess> {
    const child = spawn(
      process.execPath,
      ['src/main.ts', 'serve', '--config', config, '--secure-port', '0', '--log-level', 'debug', ...flags],
      {
        cwd: root,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { PATH: process.env['PATH'] ?? '', NODE_NO_WARNINGS: '1' },
      },
    );
    const kexer = new KexerProcess(child);
    try {
      await kexer.#whenServing();
    } catch (error) {
      await kexer.stop();
      throw error;
    }
    return kexer;
  }

  get port(): number {
    return this.#port;
  }

  /** Everything it ever wrote, on both streams. */
  get output(): string {
    return this.#output;
  }

  /** Whole lines of the log so far. */
  get lines(): LogLine[] {
    return this.#output.split('\n').flatMap((text) => {
      const line = text.startsWith('{') && text.endsWith('}') ? (JSON.parse(text) as LogLine) : undefined;
      return line === undefined ? [] : [line];
    });
  }

  /** @throws Error if it has ended by itself. */
  assertAlive(): void {
    const { exitCode, signalCode } = this.#child;
    if (this.#isStopping || (exitCode === null && signalCode === null)) return;
    throw new Error(`kexer has ended (${String(signalCode ?? exitCode)}):\n${this.#output.slice(-4000)}`);
  }

  /** Settles when a line is there for which `isIt` holds; the test's time limit ends the wait. */
  async whenLogged(isIt: (line: LogLine) => boolean): Promise<LogLine> {
    for (;;) {
      const line = this.lines.find(isIt);
      if (line !== undefined) return line;
      this.assertAlive();
      await once(this.#child.stderr ?? this.#child, 'data');
    }
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    const { exitCode, signalCode } = this.#child;
    if (exitCode === null && signalCode === null) {
      // The second one waits for nobody.
      this.#child.kill('SIGTERM');
      this.#child.kill('SIGTERM');
    }
    await this.#exited;
  }

  async #whenServing(): Promise<void> {
    this.#child.stderr?.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    const ended = this.#exited.then((how) => {
      throw new Error(`kexer ${how} before it served:\n${this.#output}`);
    });
    ended.catch(() => {}); // later its end is somebody else's business
    const line = await Promise.race([this.whenLogged(({ msg }) => msg === 'serving'), ended]);
    this.#port = Number(line['port']);
  }
}
