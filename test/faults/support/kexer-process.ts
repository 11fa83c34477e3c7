// A `kexer serve` in a process of its own: the only kexer that can be killed, and the only one whose memory, sockets and timers are its
// own alone. Its log is read for sessions; the probe inside it tells the rest.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import type { ProbeAnswer } from './probe.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const probe = fileURLToPath(new URL('probe.ts', import.meta.url));

/** A line of kexer's log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg: string; readonly level: string };

export interface KexerOptions {
  readonly config: string;
  readonly flags?: readonly string[];
}

const startTimeoutMs = 30_000;

export class KexerProcess {
  readonly #child: ChildProcess;
  readonly #sessions = new Map<string, LogLine>();
  readonly #answers = new Map<number, (answer: ProbeAnswer) => void>();
  readonly #exited: Promise<string>;
  readonly lines: LogLine[] = [];
  /** What came on standard error and was no line of the log: a crash. */
  noise = '';
  port = 0;
  #nextId = 1;
  #exit: string | undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#exited = once(child, 'exit').then(([code, signal]) => {
      this.#exit = signal === null ? `exit code ${String(code)}` : String(signal);
      return this.#exit;
    });
    child.on('message', (answer: ProbeAnswer) => {
      this.#answers.get(answer.id)?.(answer);
      this.#answers.delete(answer.id);
    });
  }

  /** Settles when it listens. */
  static async start(options: KexerOptions): Promise<KexerProcess> {
    const flags = ['serve', '--config', options.config, '--secure-port', '0', '--log-level', 'info'];
    const child = spawn(
      process.execPath,
      ['--expose-gc', '--import', probe, 'src/main.ts', ...flags, ...(options.flags ?? [])],
      {
        cwd: root,
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
        env: { PATH: process.env['PATH'] ?? '', NODE_NO_WARNINGS: '1' },
      },
    );
    child.channel?.unref();
    const kexer = new KexerProcess(child);
    try {
      await kexer.#whenServing();
    } catch (error) {
      await kexer.kill();
      throw error;
    }
    return kexer;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** How it ended, if it has. */
  get exit(): string | undefined {
    return this.#exit;
  }

  /** Sessions whose start is in the log and whose end is not. */
  get openSessions(): readonly LogLine[] {
    return [...this.#sessions.values()];
  }

  /** What it holds now; `isCollecting` runs the garbage collector before. */
  async probe(isCollecting = false): Promise<ProbeAnswer> {
    const id = this.#nextId;
    this.#nextId += 1;
    const answer = new Promise<ProbeAnswer>((resolve) => {
      this.#answers.set(id, resolve);
    });
    this.#child.channel?.ref();
    this.#child.send({ id, isCollecting });
    try {
      return await Promise.race([
        answer,
        this.#exited.then((how) => Promise.reject(new Error(`kexer ended (${how}): ${this.noise}`))),
      ]);
    } finally {
      this.#child.channel?.unref();
    }
  }

  /** SIGTERM, and nothing more. */
  terminate(): void {
    this.#child.kill('SIGTERM');
  }

  /** SIGKILL; settles when it is gone. */
  async kill(): Promise<void> {
    if (this.#exit === undefined) this.#child.kill('SIGKILL');
    await this.#exited;
    if (this.#child.connected) this.#child.disconnect();
    this.#child.stderr?.destroy();
  }

  /** SIGTERM twice, which waits for nobody. @returns how it ended */
  async stop(): Promise<string> {
    if (this.#exit === undefined) {
      this.#child.kill('SIGTERM');
      this.#child.kill('SIGTERM');
    }
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    const how = await this.#exited;
    clearTimeout(timer);
    if (this.#child.connected) this.#child.disconnect();
    this.#child.stderr?.destroy();
    return how;
  }

  async #whenServing(): Promise<void> {
    const { stderr } = this.#child;
    if (stderr === null) throw new Error('Cannot read the log of kexer: it has no pipe');
    const serving = new Promise<void>((resolve) => {
      createInterface({ input: stderr }).on('line', (text) => {
        const line = parseLine(text);
        if (line === undefined) {
          this.noise += `${text}\n`;
          return;
        }
        this.#note(line);
        if (line.msg === 'serving') {
          this.port = Number(line['port']);
          resolve();
        }
      });
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`kexer does not serve: ${this.noise}`)), startTimeoutMs);
    });
    const ended = this.#exited.then((how) => {
      throw new Error(`kexer ended (${how}): ${this.noise} ${JSON.stringify(this.lines)}`);
    });
    ended.catch(() => {}); // after the start its end is somebody else's business
    try {
      await Promise.race([serving, late, ended]);
    } finally {
      clearTimeout(timer);
    }
  }

  #note(line: LogLine): void {
    this.lines.push(line);
    if (this.lines.length > 1000) this.lines.shift();
    if (line.msg === 'session started') this.#sessions.set(String(line['session']), line);
    if (line.msg === 'session ended') this.#sessions.delete(String(line['session']));
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
