// One running instance of a container: its main process with log and attached clients, the sessions executed in it, and its end,
// which takes every process of it along. An instance starts once and ends once; restarting makes a new one.

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { PassThrough } from 'node:stream';
import type { Clock } from '../../../base/clock.ts';
import { KexerError } from '../../../base/errors.ts';
import type { LogFile } from '../logs/log-file.ts';
import type { ContainerRoot } from './container-root.ts';
import { OutputHub } from './output-hub.ts';
import type { PipePool } from './pipes.ts';
import { type LocalProcess, startOnTerminal, startPiped } from './process.ts';
import { killMarked, markVariable } from './process-mark.ts';
import type { PtyHost } from './pty.ts';
import { AttachSession, type AttachTarget, ExecSession, FailedSession, type RuntimeSession } from './session.ts';

export interface RuntimeDeps {
  readonly clock: Clock;
  readonly pipes: PipePool;
  readonly pty: PtyHost;
}

export interface ContainerConfig {
  readonly name: string;
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly isTerminal: boolean;
  readonly hasStdin: boolean;
  readonly isStdinOnce: boolean;
  /** Path of the file whose text becomes the message of the container's end. */
  readonly terminationMessagePath: string;
}

export interface StreamsWanted {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

/** A 64-digit id as containerd's. */
export function newContainerId(): string {
  return randomBytes(32).toString('hex');
}

/** The main process could not be started; the message is the runtime's. */
export class StartError extends Error {}

/** The kubelet's limit, in characters. */
const maxTerminationMessage = 4096;

/** How long an attached client may take to read what a container printed last. */
const attachedReaderMs = 10_000;

export class Container {
  readonly id: string;
  readonly config: ContainerConfig;
  readonly startedAtMs: number;
  readonly log: LogFile;
  /** Settles with the exit code when the main process, every other process of it and all output have ended. */
  readonly ended: Promise<number>;
  readonly #deps: RuntimeDeps;
  readonly #root: ContainerRoot;
  readonly #main: LocalProcess;
  readonly #hubs: { readonly stdout: OutputHub; readonly stderr: OutputHub };
  readonly #sessions = new Set<RuntimeSession>();
  #isRunning = true;
  #terminationMessage = '';

  private constructor(
    deps: RuntimeDeps,
    parts: { id: string; config: ContainerConfig; root: ContainerRoot; log: LogFile; main: LocalProcess },
  ) {
    this.#deps = deps;
    this.id = parts.id;
    this.config = parts.config;
    this.log = parts.log;
    this.#root = parts.root;
    this.#main = parts.main;
    this.startedAtMs = deps.clock.now();
    this.#hubs = {
      stdout: new OutputHub(parts.main.stdout, (chunk) => this.log.write('stdout', chunk)),
      stderr: new OutputHub(parts.main.stderr, (chunk) => this.log.write('stderr', chunk)),
    };
    this.ended = this.#end();
  }

  /**
   * Starts the main process in `root`, which the container owns from now on, also if this throws.
   * @throws StartError with the runtime's words.
   */
  static async start(
    deps: RuntimeDeps,
    parts: { id: string; config: ContainerConfig; root: ContainerRoot; log: LogFile },
  ): Promise<Container> {
    const { id, config, root, log } = parts;
    const env: Record<string, string> = { ...root.baseEnvironment(), ...config.env, [markVariable]: id };
    try {
      root.makeWorkingDirectory(config.cwd);
      const lookup = root.findCommand(config.argv[0] ?? '', env['PATH'] ?? '', config.cwd);
      if ('problem' in lookup) throw new StartError(lookup.problem);
      const spec = root.process(config.argv, config.cwd, config.isTerminal ? { TERM: 'xterm', ...env } : env);
      const main = config.isTerminal
        ? startOnTerminal(deps, spec)
        : await startPiped(deps, spec, { stdin: config.hasStdin, stdout: true, stderr: true });
      return new Container(deps, { ...parts, main });
    } catch (error) {
      log.end();
      await root.close();
      throw error;
    }
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** Runs a command in the container. A command that cannot be started gives a session that fails. */
  async exec(argv: readonly string[], wanted: StreamsWanted, isTerminal: boolean): Promise<RuntimeSession> {
    const env: Record<string, string> = {
      ...this.#root.baseEnvironment(),
      ...this.config.env,
      ...(isTerminal ? { TERM: 'xterm' } : {}),
      [markVariable]: this.id,
    };
    const lookup = this.#root.findCommand(argv[0] ?? '', env['PATH'] ?? '', this.config.cwd);
    if ('problem' in lookup) {
      const start = `failed to exec in container: failed to start exec "${newContainerId()}"`;
      const runc = 'OCI runtime exec failed: exec failed: unable to start container process';
      return new FailedSession(`${start}: ${runc}: ${lookup.problem}`);
    }
    const spec = this.#root.process(argv, this.config.cwd, env);
    const started = isTerminal ? startOnTerminal(this.#deps, spec) : await startPiped(this.#deps, spec, wanted);
    return this.#track(new ExecSession(this.#deps, started, { isTerminal, hasStdin: wanted.stdin }));
  }

  /** Joins the main process's streams. */
  attach(wanted: StreamsWanted): RuntimeSession {
    const target: AttachTarget = {
      stdin: this.config.hasStdin ? this.#main.stdin : undefined,
      isStdinOnce: this.config.isStdinOnce,
      isTerminal: this.config.isTerminal,
      tap: (stream: 'stdout' | 'stderr', sink: PassThrough) => this.#hubs[stream].tap(sink),
      finished: Promise.all([this.#hubs.stdout.ended, this.#hubs.stderr.ended]).then(() => undefined),
      resize: (columns, rows) => this.#main.resize(columns, rows),
    };
    return this.#track(new AttachSession(target, wanted));
  }

  /** What the container left in its termination message file; '' before its end. */
  get terminationMessage(): string {
    return this.#terminationMessage;
  }

  /** Ends every session without a result, as a dying runtime does; the main process lives on. */
  cutSessions(): void {
    for (const session of this.#sessions) session.cut();
  }

  /** SIGTERM, and after `graceMs` SIGKILL; settles when nothing is left. */
  async stop(graceMs: number): Promise<void> {
    if (graceMs > 0) this.#main.kill('SIGTERM');
    else this.kill();
    const timer = this.#deps.clock.after(graceMs, () => this.kill());
    await this.ended;
    timer.cancel();
  }

  kill(): void {
    this.#main.kill('SIGKILL');
  }

  #track(session: RuntimeSession): RuntimeSession {
    this.#sessions.add(session);
    void session.result.then(() => this.#sessions.delete(session));
    return session;
  }

  async #end(): Promise<number> {
    const code = await this.#main.exited;
    this.#isRunning = false;
    // The main process was its pid 1: the others die with it, and with them the last holders of its output.
    this.kill();
    await killMarked(this.id);
    const timer = this.#deps.clock.after(attachedReaderMs, () => {
      this.#hubs.stdout.release();
      this.#hubs.stderr.release();
    });
    await Promise.all([this.#hubs.stdout.ended, this.#hubs.stderr.ended]);
    timer.cancel();
    this.log.end();
    this.#main.stdin?.destroy();
    this.#terminationMessage = this.#readTerminationMessage();
    await this.#root.close();
    return code;
  }

  #readTerminationMessage(): string {
    try {
      return readFileSync(this.#root.hostPath(this.config.terminationMessagePath), 'utf8').slice(
        0,
        maxTerminationMessage,
      );
    } catch {
      return ''; // most containers leave none
    }
  }
}

/** What a thrown value of {@link Container.start} says in a container's status. */
export function startErrorText(error: unknown): string {
  const text = error instanceof KexerError || error instanceof Error ? error.message : String(error);
  const runc = 'OCI runtime create failed: runc create failed: unable to start container process';
  return `failed to create containerd task: failed to create shim task: ${runc}: error during container init: ${text}`;
}
