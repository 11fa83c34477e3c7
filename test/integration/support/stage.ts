// A sandbox with a kexer in front of it, in this process, and real kubectl as child processes: what a user has after `kexer sandbox`.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { systemClock } from '../../../src/base/clock.ts';
import { Scope } from '../../../src/base/scope.ts';
import { composeServer, type RunningKexer } from '../../../src/cli/compose.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { createLogger } from '../../../src/observe/logger.ts';
import { type Sandbox, type SandboxContext, type SandboxOptions, startSandbox } from '../../../src/sandbox/sandbox.ts';
import { secretWatch, watchedLog } from '../../support/secret-watch.ts';
import { withoutOwnRace } from './kubectl.ts';

export interface KubectlOptions {
  /** Default `kexer`. */
  readonly context?: SandboxContext;
  readonly stdin?: Buffer;
  readonly env?: Readonly<Record<string, string>>;
  /** kubectl offers WebSockets first; false: SPDY alone. */
  readonly isWebSocket?: boolean;
}

export interface KubectlResult {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** One line of the sandbox's connection log: a stream that its apiserver carried itself. */
export type ConnectionLine = Readonly<Record<string, unknown>>;

/** An event of the sandbox's audit log, as far as tests read it. */
export interface AuditEvent {
  readonly stage: string;
  readonly requestURI: string;
  readonly userAgent: string;
  readonly user: { readonly username: string };
  readonly objectRef?: { readonly resource?: string; readonly subresource?: string };
  readonly responseStatus?: { readonly code: number };
}

export class Stage {
  readonly sandbox: Sandbox;
  readonly port: number;
  readonly kexer: RunningKexer;
  readonly #scope: Scope;

  constructor(sandbox: Sandbox, kexer: RunningKexer, scope: Scope) {
    this.sandbox = sandbox;
    this.kexer = kexer;
    this.port = kexer.port;
    this.#scope = scope;
  }

  /** @param flags further flags of `kexer serve`. */
  static async start(options: SandboxOptions = {}, flags: readonly string[] = []): Promise<Stage> {
    const scope = new Scope();
    try {
      const sandbox = await startSandbox(options);
      scope.add(() => sandbox.stop());
      const config = await loadConfig({
        argv: ['--config', sandbox.files.kexerConfig, '--secure-port', '0', '--log-level', 'error', ...flags],
        environment: {},
      });
      const { logPath } = config.audit;
      if (logPath !== undefined && logPath !== '-') scope.add(() => secretWatch.file(logPath));
      const log = createLogger({ level: config.log.level, destination: watchedLog() });
      const kexer = await composeServer(
        { clock: systemClock, log, scope, environment: process.env, version: '0.0.0-test' },
        config,
      );
      await kexer.whenReady(scope.signal);
      await sandbox.registerKexer(kexer);
      await sandbox.ready();
      return new Stage(sandbox, kexer, scope);
    } catch (error) {
      await scope.close();
      throw error;
    }
  }

  stop(): Promise<void> {
    return this.#scope.close();
  }

  spawnKubectl(args: readonly string[], options: KubectlOptions = {}): ChildProcessWithoutNullStreams {
    const isWebSocket = String(options.isWebSocket ?? true);
    const child = spawn('kubectl', ['--context', options.context ?? 'kexer', ...args], {
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: this.sandbox.dir,
        KUBECONFIG: this.sandbox.files.kubeconfig,
        KUBECTL_REMOTE_COMMAND_WEBSOCKETS: isWebSocket,
        KUBECTL_PORT_FORWARD_WEBSOCKETS: isWebSocket,
        ...options.env,
      },
    });
    child.stdin.on('error', () => {}); // a command that does not read its stdin is no failure of the test
    return child;
  }

  async kubectl(args: readonly string[], options: KubectlOptions = {}): Promise<KubectlResult> {
    const child = this.spawnKubectl(args, options);
    child.stdin.end(options.stdin ?? Buffer.alloc(0));
    return collect(child);
  }

  async connections(): Promise<ConnectionLine[]> {
    return jsonLines(await readFile(this.sandbox.files.connectionLog, 'utf8').catch(() => ''));
  }

  async audit(): Promise<AuditEvent[]> {
    return jsonLines(await readFile(this.sandbox.files.auditLog, 'utf8'));
  }

  path(...parts: string[]): string {
    return join(this.sandbox.dir, ...parts);
  }
}

/** Turns of the event loop until `isSo`: for what the other end of a real socket must do first. The test's time limit ends it. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

export async function collect(child: ChildProcessWithoutNullStreams): Promise<KubectlResult> {
  const stdout: Buffer[] = [];
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => {
    child.on('close', resolve);
  });
  return { code, stdout: Buffer.concat(stdout), stderr: withoutOwnRace(stderr) };
}

function jsonLines<T>(text: string): T[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T);
}
