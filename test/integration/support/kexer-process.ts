// `kexer serve` as an operator starts it: from the config file the sandbox wrote, on a free port, with whatever flags a test is about. Warnings of
// Node count as complaints.

import type { Sandbox } from '../../../src/sandbox/sandbox.ts';
import { type LogLine, ServeProcess } from '../../support/serve-process.ts';

export type { LogLine } from '../../support/serve-process.ts';

export class KexerProcess extends ServeProcess {
  /** @param flags what follows `kexer serve`. */
  constructor(flags: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    super({ flags, environment });
  }

  /** Starts it in front of a sandbox and registers it there. */
  static async start(sandbox: Sandbox, flags: readonly string[] = []): Promise<KexerProcess> {
    const own = ['--config', sandbox.files.kexerConfig, '--secure-port', '0', '--shutdown-delay-duration', '0s'];
    const kexer = new KexerProcess([...own, ...flags]);
    await kexer.untilLogged('ready');
    await sandbox.registerKexer({ port: kexer.port });
    return kexer;
  }

  get log(): readonly LogLine[] {
    return this.lines;
  }

  /** What it wrote beside its log. */
  get complaints(): string[] {
    return this.noise.split('\n').filter((line) => line !== '');
  }

  /** The exit code, once it has ended by itself; null: it was killed. */
  async exit(): Promise<number | null> {
    const code = /^exit code (\d+)$/.exec(await this.whenEnded())?.[1];
    return code === undefined ? null : Number(code);
  }

  stop(): Promise<number | null> {
    this.terminate();
    return this.exit();
  }
}
