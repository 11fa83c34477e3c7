// Runs one pod from the moment it is bound to this node until its object is gone: volumes, init containers in order, the containers,
// ephemeral ones as they are added, its status in the store, and its end. All the pod's files are in one folder, removed last.

import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../../base/clock.ts';
import { describeError } from '../../../base/errors.ts';
import { StatusError } from '../../../kube/status.ts';
import { kubeTime } from '../../apiserver/objects/object.ts';
import type { Store } from '../../apiserver/store.ts';
import type { EventRecorder } from '../../controllers/event-recorder.ts';
import type { LogFile } from '../logs/log-file.ts';
import { Container, newContainerId, type RuntimeDeps } from '../runtime/container.ts';
import { ContainerRoot } from '../runtime/container-root.ts';
import { markOf } from '../runtime/process-mark.ts';
import type { Isolation } from '../runtime/isolation.ts';
import { ContainerSlot, type SlotDeps, type SlotKind } from './container-slot.ts';
import { environmentOf, expandVariables } from './environment.ts';
import { commandOf, imageId } from './images.ts';
import { asPod, type ContainerSpec, type Pod, podFullName, podKey, podUid } from './pod.ts';
import { podStatusOf } from './pod-status.ts';
import { MissingReference, type PodContext } from './references.ts';
import { makeVolumes, type TokenWish, volumeMountsOf } from './volumes.ts';

export interface PodWorkerDeps extends RuntimeDeps {
  readonly store: Store;
  readonly clock: Clock;
  readonly events: EventRecorder;
  readonly isolation: Isolation;
  readonly issueToken: ((pod: Pod, wish: TokenWish) => string) | undefined;
}

export interface PodWorkerOptions {
  readonly nodeName: string;
  readonly hostIp: string;
  /** Folder of this pod. */
  readonly dir: string;
  readonly sharedEnvironment: Readonly<Record<string, string>>;
  readonly commands: ReadonlyMap<string, string>;
  readonly logMaxBytes: number;
}

/** How often a pod whose volumes refer to something missing looks again. */
const volumeRetryMs = 300;

export class PodWorker {
  /** Settles when nothing of the pod runs any more and its folder is gone. */
  readonly done: Promise<void>;
  /** As containerd would name the pod's sandbox. */
  readonly sandboxId = newContainerId();
  readonly #deps: PodWorkerDeps;
  readonly #options: PodWorkerOptions;
  readonly #init: ContainerSlot[] = [];
  readonly #regular: ContainerSlot[] = [];
  readonly #ephemeral: ContainerSlot[] = [];
  readonly #runs: Promise<void>[] = [];
  readonly #stopped = new AbortController();
  readonly #startTime: string;
  #pod: Pod;
  #folders: ReadonlyMap<string, string> = new Map();
  #isPrepared = false;
  #isPublishing = false;
  #isRemoved = false;
  #graceSeconds = Infinity;
  #termination: Promise<void> | undefined;
  #settleDone: () => void = () => {};

  constructor(deps: PodWorkerDeps, pod: Pod, options: PodWorkerOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#pod = pod;
    this.#startTime = kubeTime(deps.clock.now());
    for (const spec of pod.spec.initContainers ?? []) this.#init.push(this.#slot(spec, 'init'));
    for (const spec of pod.spec.containers) this.#regular.push(this.#slot(spec, 'regular'));
    if (this.#init.length > 0) for (const slot of [...this.#init, ...this.#regular]) slot.wait('PodInitializing');
    this.done = new Promise((resolve) => {
      this.#settleDone = resolve;
    });
    this.#runs.push(this.#run());
  }

  get pod(): Pod {
    return this.#pod;
  }

  /** A container by name, of any kind. */
  slot(name: string): ContainerSlot | undefined {
    return this.#slots().find((slot) => slot.spec.name === name);
  }

  cutSessions(): void {
    for (const slot of this.#slots()) slot.running?.cutSessions();
  }

  /** The pod's object has changed: new ephemeral containers start, a deletion ends the pod. */
  update(pod: Pod): void {
    this.#pod = pod;
    for (const spec of pod.spec.ephemeralContainers ?? []) {
      if (this.#ephemeral.some((slot) => slot.spec.name === spec.name)) continue;
      const slot = this.#slot(spec, 'ephemeral');
      this.#ephemeral.push(slot);
      if (this.#isPrepared) this.#runs.push(slot.run());
      this.#publish();
    }
    if (pod.metadata.deletionTimestamp !== undefined) {
      this.terminate(pod.metadata.deletionGracePeriodSeconds ?? 30, { isKeptInStore: false });
    }
  }

  /** Ends everything within `graceSeconds`, then removes the object (unless it is to be kept) and the folder. */
  terminate(graceSeconds: number, options: { isKeptInStore: boolean }): void {
    // Every write of the status comes back here as a change; only a shorter grace is news.
    if (graceSeconds >= this.#graceSeconds) return;
    this.#graceSeconds = graceSeconds;
    this.#stopped.abort();
    const stops = this.#slots().map((slot) => slot.stop(graceSeconds * 1000));
    if (this.#termination !== undefined) return; // only the grace was shortened
    for (const slot of this.#slots()) {
      if (slot.isRunning) this.#event(slot.spec, 'Normal', 'Killing', `Stopping container ${slot.spec.name}`);
    }
    this.#termination = this.#finish(stops, options.isKeptInStore);
  }

  /** The object is gone already: nothing is written any more. */
  forget(): void {
    this.#isRemoved = true;
    this.terminate(0, { isKeptInStore: true });
  }

  async #finish(stops: Promise<void>[], isKeptInStore: boolean): Promise<void> {
    await Promise.all(stops);
    await Promise.all(this.#runs);
    if (!isKeptInStore) this.#removeObject();
    await rm(this.#options.dir, { recursive: true, force: true }).catch(() => {
      // A pod left a folder that cannot be emptied; the sandbox's own folder goes at the end.
    });
    this.#settleDone();
  }

  #removeObject(): void {
    this.#writeStatus();
    this.#isRemoved = true;
    try {
      this.#deps.store.delete(podKey(this.#pod), { uid: podUid(this.#pod) });
    } catch (error) {
      if (!(error instanceof StatusError)) throw error; // somebody else removed it, or it has a successor
    }
  }

  async #run(): Promise<void> {
    this.#publish();
    if (!(await this.#prepare())) return;
    for (const slot of this.#ephemeral) this.#runs.push(slot.run());
    if (!(await this.#runInit())) return;
    this.#publish();
    await Promise.all(this.#regular.map((slot) => slot.run()));
    // Sidecars end with the containers they serve.
    await Promise.all(this.#init.map((slot) => slot.stop(0)));
    this.#publish();
  }

  /** Makes the volumes, waiting for what they refer to; false if the pod ended first. */
  async #prepare(): Promise<boolean> {
    while (!this.#stopped.signal.aborted) {
      try {
        const { issueToken } = this.#deps;
        this.#folders = makeVolumes(this.#context(), {
          dir: join(this.#options.dir, 'volumes'),
          issueToken: issueToken === undefined ? undefined : (wish) => issueToken(this.#pod, wish),
        });
        this.#isPrepared = true;
        return true;
      } catch (error) {
        // The text of a missing reference is the kubelet's own and whole.
        const message = error instanceof MissingReference ? error.message : describeError(error);
        this.#deps.events.record(this.#pod, { type: 'Warning', reason: 'FailedMount', message });
      }
      await this.#pause(volumeRetryMs);
    }
    return false;
  }

  /** Runs the init containers in order; false if one failed for good or the pod ended. */
  async #runInit(): Promise<boolean> {
    for (const slot of this.#init) {
      if (slot.spec.restartPolicy === 'Always') {
        this.#runs.push(slot.run());
        continue;
      }
      await slot.run();
      if (slot.exitCode !== 0 || this.#stopped.signal.aborted) return false;
    }
    if (this.#init.length > 0) for (const slot of this.#regular) slot.wait('PodInitializing');
    return true;
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#deps.clock.after(delayMs, resolve);
      this.#stopped.signal.addEventListener('abort', () => {
        timer.cancel();
        resolve();
      });
    });
  }

  #slots(): ContainerSlot[] {
    return [...this.#init, ...this.#regular, ...this.#ephemeral];
  }

  #slot(spec: ContainerSpec, kind: SlotKind): ContainerSlot {
    const deps: SlotDeps = {
      clock: this.#deps.clock,
      newId: newContainerId,
      start: (container, instance) => this.#start(container, instance),
      logPath: ({ name }, number) => join(this.#options.dir, 'logs', name, `${number}.log`),
      logMaxBytes: this.#options.logMaxBytes,
      onChange: () => this.#publish(),
      onEvent: (container, type, reason, message) => this.#event(container, type, reason, message),
    };
    const digest = (text: string): string => createHash('sha256').update(text).digest('hex');
    return new ContainerSlot(deps, spec, {
      kind,
      restartPolicy: this.#pod.spec.restartPolicy ?? 'Always',
      podText: `${podFullName(this.#pod)}(${podUid(this.#pod)})`,
      imageId: imageId(spec.image ?? '', digest),
    });
  }

  async #start(spec: ContainerSpec, instance: { id: string; number: number; log: LogFile }): Promise<Container> {
    const { image = '' } = spec;
    const hostname = this.#pod.spec.hostname ?? this.#pod.metadata.name.slice(0, 63);
    const shared = { HOSTNAME: hostname, ...this.#options.sharedEnvironment };
    const env = environmentOf(this.#context(), spec, shared);
    const volumes = volumeMountsOf(spec, this.#folders);
    this.#event(
      spec,
      'Normal',
      'Pulled',
      `Container image "${image}" already present on machine and can be accessed by the pod`,
    );
    const dir = join(this.#options.dir, 'containers', spec.name, String(instance.number), 'root');
    const root = await ContainerRoot.create(this.#deps.isolation, {
      dir,
      hostname,
      commands: this.#options.commands,
      volumes,
      mark: markOf(instance.id),
    });
    this.#event(spec, 'Normal', 'Created', 'Container created');
    const config = {
      name: spec.name,
      argv: commandOf(spec).map((word) => expandVariables(word, env)),
      cwd: spec.workingDir ?? '/',
      env,
      isTerminal: spec.tty ?? false,
      hasStdin: spec.stdin ?? false,
      isStdinOnce: spec.stdinOnce ?? false,
      terminationMessagePath: spec.terminationMessagePath ?? '/dev/termination-log',
    };
    return Container.start(this.#deps, { id: instance.id, log: instance.log, config, root });
  }

  #context(): PodContext {
    const { nodeName, hostIp } = this.#options;
    return { pod: this.#pod, store: this.#deps.store, nodeName, hostIp };
  }

  #event(spec: ContainerSpec, type: 'Normal' | 'Warning', reason: string, message: string): void {
    const list = this.#init.some((slot) => slot.spec === spec)
      ? 'initContainers'
      : this.#ephemeral.some((slot) => slot.spec === spec)
        ? 'ephemeralContainers'
        : 'containers';
    this.#deps.events.record(this.#pod, { type, reason, message, fieldPath: `spec.${list}{${spec.name}}` });
  }

  /** Writes the status once for all changes of this turn. */
  #publish(): void {
    if (this.#isPublishing) return;
    this.#isPublishing = true;
    queueMicrotask(() => {
      this.#isPublishing = false;
      this.#writeStatus();
    });
  }

  #writeStatus(): void {
    if (this.#isRemoved) return;
    const { store, clock } = this.#deps;
    const stored = asPod(store.get(podKey(this.#pod)));
    if (stored === undefined || podUid(stored) !== podUid(this.#pod)) return;
    this.#pod = stored;
    const status = podStatusOf({
      pod: stored,
      slots: { init: this.#init, regular: this.#regular, ephemeral: this.#ephemeral },
      hostIp: this.#options.hostIp,
      isPrepared: this.#isPrepared,
      startTime: stored.status?.startTime ?? this.#startTime,
      now: kubeTime(clock.now()),
    });
    store.mutate(podKey(stored), (draft) => {
      draft['status'] = status;
    });
  }
}
