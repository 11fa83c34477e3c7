// A `kexer serve` with its log at debug level kept to the last byte: a test of what must never be logged reads all of it. It ends with its
// owner, and an end that nobody ordered fails the test that notices.

import { type LogLine, ServeProcess } from '../../support/serve-process.ts';

export type { LogLine } from '../../support/serve-process.ts';

export class KexerProcess extends ServeProcess {
  #output = '';
  #isStopping = false;

  private constructor(config: string, flags: readonly string[]) {
    super({
      flags: ['--config', config, '--secure-port', '0', '--log-level', 'debug', ...flags],
      environment: { NODE_NO_WARNINGS: '1' },
    });
  }

  /** Settles when it listens. */
  static async start(config: string, flags: readonly string[] = []): Promise<KexerProcess> {
    const kexer = new KexerProcess(config, flags);
    try {
      await kexer.untilLogged('serving');
    } catch (error) {
      await kexer.stop();
      throw error;
    }
    return kexer;
  }

  /** Everything it ever wrote, on both streams. */
  get output(): string {
    return this.#output;
  }

  /** @throws Error if it has ended by itself. */
  assertAlive(): void {
    if (this.#isStopping || this.ended === undefined) return;
    throw new Error(`kexer has ended (${this.ended}):\n${this.#output.slice(-4000)}`);
  }

  /** Settles when a line is there for which `isIt` holds; the test's time limit ends the wait. */
  whenLogged(isIt: (line: LogLine) => boolean): Promise<LogLine> {
    return this.untilLogged(isIt);
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.hurry();
  }

  protected override heard(text: string): void {
    this.#output += text;
  }
}
