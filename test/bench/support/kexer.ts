// The built kexer as a process of its own, started as an operator starts it, with real rights. Limits are so high that none is met, and
// still counted.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const many = '1000000';

const limitFlags = [
  'max-sessions-per-user',
  'max-sessions',
  'max-session-starts-per-user',
  'max-session-starts',
  'max-requests-inflight-per-user',
  'max-requests-inflight',
  'max-long-running-per-user',
  'max-long-running',
  'max-stranger-connections-per-source',
  'max-stranger-requests-per-source',
]
  .flatMap((name) => [`--${name}`, many])
  // A machine that the bench shares is late at times.
  .concat('--max-event-loop-delay', '10m');

export interface KexerOptions {
  /** The repository, or a copy of it, with `dist` in it. */
  readonly root: string;
  /** Whatever is not said here: its account, certificates and identity. */
  readonly flags: readonly string[];
  readonly kubeletCaFile: string;
  /** For Node itself, such as --cpu-prof. */
  readonly execArgv?: readonly string[];
}

export class Kexer {
  readonly #process: ChildProcess;
  readonly port: number;
  /** From its start to the line `serving`, and to `ready`. */
  readonly servingMs: number;
  readonly readyMs: number;

  private constructor(process: ChildProcess, facts: { port: number; servingMs: number; readyMs: number }) {
    this.#process = process;
    this.port = facts.port;
    this.servingMs = facts.servingMs;
    this.readyMs = facts.readyMs;
  }

  static async start(options: KexerOptions): Promise<Kexer> {
    const startedMs = performance.now();
    const child = spawn(
      process.execPath,
      [
        ...(options.execArgv ?? []),
        join(options.root, 'dist/main.js'),
        'serve',
        ...options.flags,
        '--secure-port',
        '0',
        '--shutdown-delay-duration',
        '0s',
        '--shutdown-grace-period',
        '0s',
        '--kubelet-certificate-authority',
        options.kubeletCaFile,
        ...limitFlags,
      ],
      {
        stdio: ['ignore', process.env['KEXER_BENCH_STDOUT'] === undefined ? 'ignore' : 'inherit', 'pipe'],
        env: { PATH: process.env['PATH'] ?? '' },
      },
    );
    const { promise, resolve, reject } = Promise.withResolvers<Kexer>();
    let text = '';
    let port = 0;
    let servingMs = 0;
    child.stderr?.setEncoding('utf8').on('data', (piece: string) => {
      if (port !== 0 && servingMs === -1) return; // ready: what follows is read and dropped
      text += piece;
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) {
        const fields = parse(line);
        if (fields['msg'] === 'serving') {
          port = Number(fields['port']);
          servingMs = performance.now() - startedMs;
        } else if (fields['msg'] === 'ready') {
          resolve(new Kexer(child, { port, servingMs, readyMs: performance.now() - startedMs }));
          servingMs = -1;
        }
      }
    });
    child.once('exit', (code) => reject(new Error(`kexer ended with ${code}: ${text}`)));
    return promise;
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGTERM');
    await ended;
  }
}

function parse(line: string): Record<string, unknown> {
  if (!line.startsWith('{')) {
    process.stderr.write(`${line}\n`);
    return {};
  }
  return JSON.parse(line) as Record<string, unknown>;
}
