// The part of a kubelet that kexer's pods need: volumes as files at the paths of the container, its environment, the image's entrypoint with
// the Deployment's arguments, as the user of its securityContext, and its probes over HTTPS. Each pod gets an address of its own on the
// loopback network, where it listens on the port of the manifest; the pod is Ready when its readiness probe says so. A pod that is
// deleted gets SIGTERM and is gone when its process has ended.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { type Dirent, chmodSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { Scope } from '../../../src/base/scope.ts';
import { environmentOf, expandVariables, serviceEnvironment } from '../../../src/sandbox/kubelet/pods/environment.ts';
import { imageBaseName } from '../../../src/sandbox/kubelet/pods/images.ts';
import {
  asPod,
  type ContainerSpec,
  type Pod,
  podKey,
  podResource,
  podUid,
} from '../../../src/sandbox/kubelet/pods/pod.ts';
import { makeVolumes, volumeMountsOf } from '../../../src/sandbox/kubelet/pods/volumes.ts';
import { ContainerRoot } from '../../../src/sandbox/kubelet/runtime/container-root.ts';
import { type Isolation, probeIsolation, toolPath } from '../../../src/sandbox/kubelet/runtime/isolation.ts';
import { makeRoot } from '../../../src/sandbox/kubelet/runtime/root-layout.ts';
import type { Sandbox } from '../../../src/sandbox/sandbox.ts';
import { root as repository } from './manifests.ts';

/** Where the image has kexer; the sources stand there instead, so that no build is needed. */
const imageFolder = '/kexer';
const probePeriodMs = 50;

interface HttpProbe {
  readonly httpGet: { readonly scheme: string; readonly path: string; readonly port: string | number };
}

interface ProbedContainer extends ContainerSpec {
  readonly startupProbe: HttpProbe;
  readonly readinessProbe: HttpProbe;
  readonly livenessProbe: HttpProbe;
}

interface SecuredSpec {
  readonly securityContext: { readonly runAsUser: number; readonly runAsGroup: number };
}

export interface RunningPod {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly pid: number;
  /** What it printed so far: its log. */
  readonly output: string;
  /** Paths of the container's root that it wrote outside its volumes. */
  readonly written: readonly string[];
}

interface Worker {
  readonly pod: Pod;
  readonly address: string;
  child: ChildProcess | undefined;
  output: string;
  root: string;
  isEnding: boolean;
  hasEnded: boolean;
}

/** What the image runs before the arguments, with the sources in the place of the build. */
export function imageEntrypoint(): string[] {
  const text = /^ENTRYPOINT (\[.*\])$/m.exec(readFileSync(join(repository, 'Dockerfile'), 'utf8'))?.[1] ?? '[]';
  const words = JSON.parse(text) as string[];
  return words.map((word) => word.replace('/dist/main.js', '/src/main.ts'));
}

export class KexerNode {
  readonly #sandbox: Sandbox;
  readonly #scope = new Scope();
  readonly #workers = new Map<string, Worker>();
  readonly #ends = new Set<Promise<void>>();
  readonly #failures: Error[] = [];
  readonly #isolation: Isolation & { kind: 'chroot' };
  readonly #environment: Readonly<Record<string, string>>;

  private constructor(
    sandbox: Sandbox,
    isolation: Isolation & { kind: 'chroot' },
    environment: Record<string, string>,
  ) {
    this.#sandbox = sandbox;
    this.#isolation = isolation;
    this.#environment = environment;
  }

  /**
   * @param sandbox started with `foreignImages: ['kexer']`.
   * @param environment added to each pod's, for what differs on one machine only.
   * @throws if this machine has no mount namespaces: the paths of the manifests could not be made.
   */
  static async start(sandbox: Sandbox, environment: Record<string, string> = {}): Promise<KexerNode> {
    const dir = join(sandbox.dir, 'kexer-node', 'probe');
    mkdirSync(dir, { recursive: true });
    const isolation = await probeIsolation(dir, (root) => makeRoot(root, 'probe'), 'chroot');
    if (isolation.kind !== 'chroot') throw new Error('no mount namespaces');
    const node = new KexerNode(sandbox, isolation, environment);
    const { store } = sandbox;
    const stop = store.watch(podResource, store.resourceVersion, ({ object }) => node.#look(asPod(object)));
    node.#scope.add(() => stop());
    for (const object of store.list(podResource)) node.#look(asPod(object));
    return node;
  }

  get pods(): RunningPod[] {
    return [...this.#workers.values()].map((worker) => ({
      name: worker.pod.metadata.name,
      address: worker.address,
      port: portOf(containerOf(worker.pod), 'https'),
      pid: worker.child?.pid ?? 0,
      output: worker.output,
      written: worker.root === '' ? [] : filesWritten(worker.root),
    }));
  }

  /** What went wrong with a pod, for the message of a test. */
  get failures(): readonly Error[] {
    return this.#failures;
  }

  /** Ends what runs, at once. */
  async stop(): Promise<void> {
    await this.#scope.close();
    for (const worker of this.#workers.values()) worker.child?.kill('SIGKILL');
    await Promise.all(this.#ends);
  }

  #look(pod: Pod | undefined): void {
    if (pod?.spec.nodeName === undefined || !isOurs(pod)) return;
    const worker = this.#workers.get(podUid(pod));
    if (worker === undefined) {
      if (pod.metadata.deletionTimestamp !== undefined) return;
      const started: Worker = {
        pod,
        address: newAddress(),
        child: undefined,
        output: '',
        root: '',
        isEnding: false,
        hasEnded: false,
      };
      this.#workers.set(podUid(pod), started);
      const end = this.#run(started).catch((error: unknown) => {
        this.#failures.push(error instanceof Error ? error : new Error(String(error)));
      });
      this.#ends.add(end);
    } else if (pod.metadata.deletionTimestamp !== undefined && !worker.isEnding) {
      worker.isEnding = true;
      worker.child?.kill('SIGTERM');
    }
  }

  async #run(worker: Worker): Promise<void> {
    const { pod, address } = worker;
    const dir = join(this.#sandbox.dir, 'kexer-node', podUid(pod));
    const { store } = this.#sandbox;
    const context = { pod, store, nodeName: pod.spec.nodeName ?? '', hostIp: address };
    const container = containerOf(pod);
    const folders = makeVolumes(context, {
      dir: join(dir, 'volumes'),
      issueToken: ({ audience, expirationSeconds }) =>
        this.#sandbox.serviceAccountToken(pod.metadata.namespace ?? '', pod.spec.serviceAccountName ?? 'default', {
          ...(audience === undefined ? {} : { audiences: [audience] }),
          ...(expirationSeconds === undefined ? {} : { expiresInSeconds: expirationSeconds }),
        }),
    });
    for (const volume of pod.spec.volumes ?? []) {
      const folder = folders.get(volume.name);
      if (volume.emptyDir !== undefined && folder !== undefined) chmodSync(folder, 0o777);
    }
    const root = await ContainerRoot.create(this.#isolation, {
      dir: join(dir, 'root'),
      hostname: pod.metadata.name,
      mark: podUid(pod),
      commands: new Map(),
      volumes: [
        ...volumeMountsOf(container, folders),
        { source: repository, path: imageFolder, isReadOnly: true },
        { source: process.execPath, path: '/opt/sandbox/bin/node', isReadOnly: true },
      ],
    });
    // Nobody but root may write anywhere: what a read-only root is to a process that is not root.
    for (const folder of ['tmp', 'var/tmp']) chmodSync(join(dir, 'root', folder), 0o755);
    worker.root = join(dir, 'root');
    try {
      await this.#supervise(worker, root, context);
    } finally {
      await root.close();
      await rm(dir, { recursive: true, force: true });
      this.#workers.delete(podUid(pod));
    }
  }

  async #supervise(worker: Worker, root: ContainerRoot, context: Parameters<typeof environmentOf>[0]): Promise<void> {
    const { pod, address } = worker;
    const container = containerOf(pod);
    const apiserver = { host: '127.0.0.1', port: this.#sandbox.apiserver.port };
    const own = environmentOf(context, container, { ...serviceEnvironment(apiserver), HOSTNAME: pod.metadata.name });
    // All pods share this machine's network, so each listens on its own address alone.
    const env: Record<string, string> = {
      ...root.baseEnvironment(),
      ...own,
      KEXER_BIND_ADDRESS: address,
      // Beside a whole cluster and its tests a machine is late at times.
      KEXER_MAX_EVENT_LOOP_DELAY: '0s',
      ...this.#environment,
    };
    const argv = [...imageEntrypoint(), ...(container.args ?? []).map((word) => expandVariables(word, env))];
    const { file, args } = root.process([...asUser(pod), ...argv], imageFolder, env);
    const child = spawn(file, [...args], { cwd: '/', env: { ...env, PATH: `${env['PATH'] ?? ''}:${toolPath}` } });
    worker.child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (worker.output += text));
    }
    child.stdin.on('error', () => {});
    const ended = new Promise<void>((resolve) => {
      child.once('close', () => {
        worker.hasEnded = true;
        resolve();
      });
    });
    const probing = this.#probe(worker, container);
    await ended;
    await probing;
    if (!worker.isEnding && !this.#scope.signal.aborted) {
      this.#failures.push(new Error(`${pod.metadata.name} ended by itself: ${worker.output.slice(-2000)}`));
    }
    const { store } = this.#sandbox;
    if (store.get(podKey(pod))?.metadata.uid === podUid(pod)) store.delete(podKey(pod), { uid: podUid(pod) });
  }

  /** Startup first, then readiness, whose verdict is the pod's; liveness with it. */
  async #probe(worker: Worker, container: ProbedContainer): Promise<void> {
    const hasEnded = (): boolean => worker.hasEnded;
    const ask = ({ httpGet }: HttpProbe): Promise<number> => {
      if (httpGet.scheme !== 'HTTPS') throw new Error(`a probe over ${httpGet.scheme}`);
      return statusOf(worker.address, portOf(container, httpGet.port), httpGet.path);
    };
    while (!hasEnded() && (await ask(container.startupProbe)) !== 200) await pause(probePeriodMs);
    let isReady: boolean | undefined;
    while (!hasEnded()) {
      const now = (await ask(container.readinessProbe)) === 200 && !worker.isEnding;
      if (now && (await ask(container.livenessProbe)) !== 200) this.#failures.push(new Error('ready and not alive'));
      if (now !== isReady && !hasEnded()) this.#writeStatus(worker, now);
      isReady = now;
      await pause(probePeriodMs);
    }
  }

  #writeStatus({ pod, address }: Worker, isReady: boolean): void {
    const { store } = this.#sandbox;
    const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
    const status = isReady ? 'True' : 'False';
    if (store.get(podKey(pod)) === undefined) return;
    const condition = (type: string): object => ({ type, status, lastProbeTime: null, lastTransitionTime: now });
    store.mutate(podKey(pod), (draft) => {
      draft['status'] = {
        phase: 'Running',
        podIP: address,
        podIPs: [{ ip: address }],
        hostIP: '127.0.0.1',
        startTime: now,
        conditions: ['Initialized', 'ContainersReady', 'Ready', 'PodScheduled'].map(condition),
      };
    });
  }
}

function isOurs({ spec }: Pod): boolean {
  return spec.containers.some(({ image = '' }) => imageBaseName(image) === 'kexer');
}

function containerOf(pod: Pod): ProbedContainer {
  const [container] = pod.spec.containers;
  if (container === undefined) throw new Error('a pod without containers');
  return container as ProbedContainer;
}

function portOf(container: ContainerSpec, port: string | number): number {
  if (typeof port === 'number') return port;
  return container.ports?.find(({ name }) => name === port)?.containerPort ?? 0;
}

/** Other tests on this machine do the same, and 65,000 networks are enough for all. */
function newAddress(): string {
  return `127.${randomInt(16, 255)}.${randomInt(0, 255)}.${randomInt(2, 255)}`;
}

/** As the pod's user, without capabilities and without a way to get any; an ordinary user's sandbox has no other users. */
function asUser(pod: Pod): string[] {
  if (process.getuid?.() !== 0) return [];
  const { runAsUser, runAsGroup } = (pod.spec as unknown as SecuredSpec).securityContext;
  const ids = [`--reuid=${runAsUser}`, `--regid=${runAsGroup}`, '--clear-groups'];
  return ['setpriv', ...ids, '--no-new-privs', '--bounding-set=-all', '--'];
}

/** Kubelets do not verify what they probe. 0: no answer. */
function statusOf(host: string, port: number, path: string): Promise<number> {
  return new Promise((resolve) => {
    const probe = request({ host, port, path, rejectUnauthorized: false, agent: false, timeout: 2000 }, (response) => {
      response.resume().once('close', () => resolve(response.statusCode ?? 0));
    });
    probe.once('timeout', () => probe.destroy());
    probe.once('error', () => resolve(0));
    probe.end();
  });
}

/** Files in the root that its user owns: what belongs to the layout is root's. Mounts are not seen from outside the namespace. */
function filesWritten(root: string): string[] {
  if (process.getuid?.() !== 0) return [];
  let entries: Dirent[];
  try {
    entries = readdirSync(root, { recursive: true, withFileTypes: true });
  } catch (error) {
    // The pod is being removed while it is looked at: nothing of it is left.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
  return entries
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => statSync(file, { throwIfNoEntry: false })?.uid === 65_532)
    .map((file) => file.slice(root.length));
}
