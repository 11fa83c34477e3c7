// A `kexer serve` that is watched: its log is read for sessions, and the probe inside it tells what memory, sockets and timers it holds, which are
// its own alone.

import { fileURLToPath } from 'node:url';

import { type LogLine, ServeProcess } from '../../support/serve-process.ts';
import type { ProbeAnswer } from './probe.ts';

const probe = fileURLToPath(new URL('probe.ts', import.meta.url));

export interface KexerOptions {
  readonly config: string;
  readonly flags?: readonly string[];
}

const startTimeoutMs = 30_000;
const maxLines = 1000;

export class KexerProcess extends ServeProcess {
  readonly #sessions = new Map<string, LogLine>();
  readonly #answers = new Map<number, (answer: ProbeAnswer) => void>();
  #nextId = 1;

  private constructor(options: KexerOptions) {
    super({
      nodeFlags: ['--expose-gc', '--import', probe],
      flags: ['--config', options.config, '--secure-port', '0', '--log-level', 'info', ...(options.flags ?? [])],
      environment: { NODE_NO_WARNINGS: '1' },
      hasChannel: true,
      maxLines,
    });
    this.child.on('message', (answer: ProbeAnswer) => {
      this.#answers.get(answer.id)?.(answer);
      this.#answers.delete(answer.id);
    });
  }

  /** Settles when it listens. */
  static async start(options: KexerOptions): Promise<KexerProcess> {
    const kexer = new KexerProcess(options);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`kexer does not serve: ${kexer.noise}`)), startTimeoutMs);
    });
    try {
      await Promise.race([kexer.untilLogged('serving'), late]);
    } catch (error) {
      await kexer.kill();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    return kexer;
  }

  /** How it ended, if it has. */
  get exit(): string | undefined {
    return this.ended;
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
    this.child.channel?.ref();
    this.child.send({ id, isCollecting });
    try {
      return await Promise.race([
        answer,
        this.whenEnded().then((how) => Promise.reject(new Error(`kexer ended (${how}): ${this.noise}`))),
      ]);
    } finally {
      this.child.channel?.unref();
    }
  }

  /** @returns how it ended */
  stop(): Promise<string> {
    return this.hurry();
  }

  protected override note(line: LogLine): void {
    if (line.msg === 'session started') this.#sessions.set(String(line['session']), line);
    if (line.msg === 'session ended') this.#sessions.delete(String(line['session']));
  }
}
