// One container of a pod over all its instances: starts it, starts it again by its policy with back-off, and keeps what the pod's
// status says about it. It knows nothing of the other containers; the order is the pod worker's.

import type { Clock } from '../../../base/clock.ts';
import { describeError } from '../../../base/errors.ts';
import { kubeTime } from '../../apiserver/objects/object.ts';
import { LogFile } from '../logs/log-file.ts';
import { type Container, StartError, startErrorText } from '../runtime/container.ts';
import { BackOff, durationText } from './back-off.ts';
import type { ContainerSpec, ContainerState, ContainerStatus, TerminatedState } from './pod.ts';
import { MissingReference } from './references.ts';

export type SlotKind = 'init' | 'regular' | 'ephemeral';

export interface SlotDeps {
  readonly clock: Clock;
  /** Makes root and environment and starts an instance. @throws MissingReference, StartError */
  readonly start: (spec: ContainerSpec, instance: { id: string; number: number; log: LogFile }) => Promise<Container>;
  readonly newId: () => string;
  readonly logPath: (spec: ContainerSpec, number: number) => string;
  readonly logMaxBytes: number;
  /** The status has changed. */
  readonly onChange: () => void;
  readonly onEvent: (spec: ContainerSpec, type: 'Normal' | 'Warning', reason: string, message: string) => void;
}

export interface SlotOptions {
  readonly kind: SlotKind;
  readonly restartPolicy: string;
  /** `NAME_NAMESPACE(UID)` for messages. */
  readonly podText: string;
  readonly imageId: string;
}

/** How often a container whose ConfigMap or Secret is missing looks again. */
const configRetryMs = 300;

export class ContainerSlot {
  readonly spec: ContainerSpec;
  readonly kind: SlotKind;
  readonly #deps: SlotDeps;
  readonly #options: SlotOptions;
  readonly #backOff = new BackOff();
  readonly #stop = new AbortController();
  readonly #logs = new Map<string, LogFile>();
  #state: ContainerState = { waiting: { reason: 'ContainerCreating' } };
  #lastState: ContainerState = {};
  #instances = 0;
  #containerId: string | undefined;
  #current: Container | undefined;
  #graceMs = 0;

  constructor(deps: SlotDeps, spec: ContainerSpec, options: SlotOptions) {
    this.#deps = deps;
    this.spec = spec;
    this.kind = options.kind;
    this.#options = options;
  }

  /** The running instance. */
  get running(): Container | undefined {
    return this.#current?.isRunning === true ? this.#current : undefined;
  }

  get isRunning(): boolean {
    return this.#state.running !== undefined;
  }

  /** Exit code of the instance that has ended, if it is the last one. */
  get exitCode(): number | undefined {
    return this.#state.terminated?.exitCode;
  }

  /** Shown while the container may not start yet. */
  wait(reason: string): void {
    this.#state = { waiting: { reason } };
  }

  /** The log of an instance by its id; only the newest two are kept. */
  log(containerId: string): LogFile | undefined {
    return this.#logs.get(containerId);
  }

  status(): ContainerStatus {
    const isUp = this.isRunning;
    return {
      name: this.spec.name,
      state: this.#state,
      lastState: this.#lastState,
      ready: this.kind === 'init' ? this.exitCode === 0 || isUp : isUp && this.kind === 'regular',
      restartCount: Math.max(0, this.#instances - 1),
      image: this.spec.image ?? '',
      imageID: this.#containerId === undefined ? '' : this.#options.imageId,
      ...(this.#containerId === undefined ? {} : { containerID: `containerd://${this.#containerId}` }),
      started: isUp,
      resources: this.spec.resources ?? {},
    };
  }

  /** Runs the container until it is not to be started again; settles when it is down for good. */
  async run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const startedMs = this.#deps.clock.monotonic();
      const code = await this.#runOnce();
      if (code === undefined) {
        await this.#sleep(configRetryMs);
        continue;
      }
      if (this.#stop.signal.aborted || !this.#isRestarted(code)) return;
      const delayMs = this.#backOff.next(this.#deps.clock.monotonic() - startedMs);
      this.#deps.onChange();
      if (delayMs > 0) await this.#backOffFor(delayMs);
    }
  }

  /** Ends the running instance, if any, within `graceMs`; no other is started. A second call may shorten the grace. */
  async stop(graceMs: number): Promise<void> {
    this.#graceMs = graceMs;
    this.#stop.abort();
    await this.#current?.stop(graceMs);
  }

  #isRestarted(code: number): boolean {
    if (this.kind === 'ephemeral') return false;
    const policy = this.spec.restartPolicy ?? this.#options.restartPolicy;
    // Init containers that succeeded are done, unless they are sidecars.
    if (this.kind === 'init' && this.spec.restartPolicy !== 'Always') return policy !== 'Never' && code !== 0;
    return policy === 'Always' || (policy === 'OnFailure' && code !== 0);
  }

  /** One instance; its exit code, or undefined if something it refers to is missing. */
  async #runOnce(): Promise<number | undefined> {
    const { clock } = this.#deps;
    const number = this.#instances;
    const id = this.#deps.newId();
    const path = this.#deps.logPath(this.spec, number);
    const log = new LogFile({ clock }, { path, maxBytes: this.#deps.logMaxBytes });
    try {
      const container = await this.#deps.start(this.spec, { id, number, log });
      this.#begin(id, log);
      this.#current = container;
      this.#state = { running: { startedAt: kubeTime(container.startedAtMs) } };
      this.#event('Normal', 'Started', 'Container started');
      this.#deps.onChange();
      // A stop that came while the instance was starting found nothing to stop.
      if (this.#stop.signal.aborted) void container.stop(this.#graceMs);
      const code = await container.ended;
      this.#ended(code, container);
      return code;
    } catch (error) {
      log.end();
      if (error instanceof StartError) return this.#startFailed(id, log, startErrorText(error));
      const reason = error instanceof MissingReference ? 'CreateContainerConfigError' : 'CreateContainerError';
      const message = describeError(error);
      this.#state = { waiting: { reason, message } };
      this.#event('Warning', 'Failed', `Error: ${message}`);
      this.#deps.onChange();
      return undefined;
    }
  }

  #begin(id: string, log: LogFile): void {
    this.#instances += 1;
    this.#containerId = id;
    if (this.#state.terminated !== undefined) this.#lastState = { terminated: this.#state.terminated };
    this.#logs.set(id, log);
    const [oldest] = this.#logs.keys();
    if (this.#logs.size > 2 && oldest !== undefined) this.#logs.delete(oldest);
  }

  #ended(code: number, container: Container): void {
    const message = container.terminationMessage;
    this.#terminated({
      exitCode: code,
      reason: code === 0 ? 'Completed' : 'Error',
      ...(message === '' ? {} : { message }),
      startedAt: kubeTime(container.startedAtMs),
      finishedAt: kubeTime(this.#deps.clock.now()),
      containerID: `containerd://${container.id}`,
    });
  }

  #startFailed(id: string, log: LogFile, message: string): number {
    this.#begin(id, log);
    this.#event('Warning', 'Failed', `Error: ${message}`);
    this.#terminated({
      exitCode: 128,
      reason: 'StartError',
      message,
      startedAt: '1970-01-01T00:00:00Z',
      finishedAt: kubeTime(this.#deps.clock.now()),
      containerID: `containerd://${id}`,
    });
    if (this.#isRestarted(128)) {
      this.#wait({ reason: 'RunContainerError', message });
    }
    return 128;
  }

  #terminated(terminated: TerminatedState): void {
    this.#state = { terminated };
    this.#deps.onChange();
  }

  /** Waiting for another try: what ended becomes the last state. */
  #wait(waiting: { reason: string; message: string }): void {
    if (this.#state.terminated !== undefined) this.#lastState = { terminated: this.#state.terminated };
    this.#state = { waiting };
    this.#deps.onChange();
  }

  async #backOffFor(delayMs: number): Promise<void> {
    const what = `restarting failed container=${this.spec.name} pod=${this.#options.podText}`;
    this.#wait({ reason: 'CrashLoopBackOff', message: `back-off ${durationText(delayMs)} ${what}` });
    const event = `Back-off restarting failed container ${this.spec.name} in pod ${this.#options.podText}`;
    this.#event('Warning', 'BackOff', event);
    await this.#sleep(delayMs);
  }

  #sleep(delayMs: number): Promise<void> {
    const { signal } = this.#stop;
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const finish = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', finish);
        resolve();
      };
      const timer = this.#deps.clock.after(delayMs, finish);
      signal.addEventListener('abort', finish);
    });
  }

  #event(type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.#deps.onEvent(this.spec, type, reason, message);
  }
}
