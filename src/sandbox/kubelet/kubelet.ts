// One node of the sandbox: registers the Node, runs the pods bound to it as local processes and serves the kubelet's HTTPS API.
// It speaks as a real kubelet of its generation does ('1.36' terminates WebSocket v5 and tunnels itself; '1.35' knows v4 and older
// only). It runs commands of the user who started the sandbox, on loopback only. The faults at the end exist for tests.

import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { UserInfo } from '../../kube/user.ts';
import type { StatusSpelling } from '../../protocol/exit-status.ts';
import type { Store, StoreEvent } from '../apiserver/store.ts';
import { EventRecorder } from '../controllers/event-recorder.ts';
import type { NodeAction } from './api/access.ts';
import { type KubeletRequest, KubeletServer } from './api/kubelet-server.ts';
import { StreamEndpoints } from './api/stream-endpoint.ts';
import { nodeObject, nodeResource } from './node-object.ts';
import { serviceEnvironment } from './pods/environment.ts';
import { imageBaseName } from './pods/images.ts';
import { PodWorker } from './pods/pod-worker.ts';
import { asPod, type Pod, podFullName, podResource, podUid } from './pods/pod.ts';
import type { TokenWish } from './pods/volumes.ts';
import { type Isolation, probeIsolation } from './runtime/isolation.ts';
import { PipePool } from './runtime/pipes.ts';
import { PtyHost } from './runtime/pty.ts';
import { makeRoot } from './runtime/root-layout.ts';

export type { NodeAction } from './api/access.ts';
export type { KubeletRequest } from './api/kubelet-server.ts';

/** The service account of a pod, and the pod. */
interface PodAccount {
  readonly namespace: string;
  readonly name: string;
  readonly podName: string;
  readonly podUid: string;
}

export interface KubeletDeps {
  readonly store: Store;
  readonly clock: Clock;
  /** PEM of the serving certificate; its names must cover the node name, localhost and 127.0.0.1. */
  readonly serving: { readonly cert: string; readonly key: string };
  /** PEM bundle that client certificates are verified against. */
  readonly clientCa: string;
  /** TokenReview in process: the user, or undefined for a token nobody knows. */
  readonly reviewToken: (token: string) => Promise<UserInfo | undefined>;
  /** SubjectAccessReview in process; a throw becomes the kubelet's 500 `Authorization error`. */
  readonly reviewAccess: (user: UserInfo, action: NodeAction) => Promise<{ allowed: boolean }>;
  /** A token for the projected volume of a pod's service account; without it no token file is written. */
  readonly issueToken?: (account: PodAccount & TokenWish) => string;
  /** One line for people, seldom (how roots are made, a pod that cannot start). */
  readonly log?: (line: string) => void;
}

export interface KubeletOptions {
  readonly nodeName: string;
  readonly generation: '1.36' | '1.35';
  /** Folder of the node; pods live in `pods/UID` below it. */
  readonly dir: string;
  /** Port of the HTTPS server on 127.0.0.1; 0 (the default) lets the system choose. */
  readonly port?: number;
  /** Goes into pods as KUBERNETES_SERVICE_HOST and _PORT. */
  readonly apiserver?: { readonly host: string; readonly port: number };
  /** Added to the Node's own labels. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Commands in every pod's PATH: name → text of an ES module, run by the sandbox's own Node (see commands.ts). */
  readonly commands?: ReadonlyMap<string, string>;
  /** A container's log is rotated at this size; one older file is kept. Default 10 MiB. */
  readonly logMaxBytes?: number;
  /** Base names of images whose pods somebody else runs; this kubelet leaves them alone. */
  readonly foreignImages?: readonly string[];
  /** 'chroot' insists on own roots, 'folder' never tries; 'auto' (default) probes once. */
  readonly isolation?: 'auto' | 'chroot' | 'folder';
  /** How the runtime spells v4 statuses: with `metadata`, as containerd 2.1 (recorded; the default), or without, as newer ones. */
  readonly statusSpelling?: StatusSpelling;
}

const defaultLogMaxBytes = 10 * 1024 * 1024;
const hostIp = '127.0.0.1';

export class Kubelet {
  readonly #deps: KubeletDeps;
  readonly #options: KubeletOptions;
  readonly #server: KubeletServer;
  readonly #events: EventRecorder;
  readonly #pty = new PtyHost();
  readonly #workers = new Map<string, PodWorker>();
  #pipes: PipePool | undefined;
  #isolation: Isolation | undefined;
  #unwatch: (() => void) | undefined;

  constructor(deps: KubeletDeps, options: KubeletOptions) {
    const { clock, store } = deps;
    this.#deps = deps;
    this.#options = options;
    this.#events = new EventRecorder({ store, clock }, { component: 'kubelet', host: options.nodeName });
    const pods = {
      find: (namespace: string, name: string) => this.#find(namespace, name),
      list: () => [...this.#workers.values()].map(({ pod }) => pod),
    };
    const streams = new StreamEndpoints(
      { clock, pods, pty: this.#pty },
      { generation: options.generation, spelling: options.statusSpelling ?? 'translator' },
    );
    this.#server = new KubeletServer(
      { clock, pods, streams, reviewToken: deps.reviewToken, reviewAccess: deps.reviewAccess },
      { nodeName: options.nodeName, ...deps.serving, clientCa: deps.clientCa, port: options.port ?? 0 },
    );
  }

  /** `https://127.0.0.1:PORT`; valid after start(). */
  get url(): string {
    return `https://${hostIp}:${this.port}`;
  }

  get port(): number {
    return this.#server.port;
  }

  /** Whether pods have an own root here; undefined before start(). */
  get isolation(): 'chroot' | 'folder' | undefined {
    return this.#isolation?.kind;
  }

  /** Every request since start, oldest first (the last 10,000). */
  get requests(): readonly KubeletRequest[] {
    return this.#server.requests;
  }

  /** Connections open now. */
  get connectionCount(): number {
    return this.#server.connectionCount;
  }

  /** Listens, registers the Node object (Ready), starts the pods bound to this node and watches for more. */
  async start(): Promise<void> {
    const { dir } = this.#options;
    mkdirSync(dir, { recursive: true });
    this.#pipes = new PipePool({ dir: join(dir, 'pipes') });
    this.#isolation = await this.#probe();
    await this.#server.listen();
    this.#register();
    const { store } = this.#deps;
    const from = store.resourceVersion;
    for (const object of store.list(podResource)) this.#sync(asPod(object));
    this.#unwatch = store.watch(podResource, from, (event) => this.#onPodEvent(event));
  }

  /** Ends the server and every process it has started; the Node and Pod objects stay. Resolves when nothing is left running. */
  async stop(): Promise<void> {
    this.#unwatch?.();
    await this.#server.close('fin');
    const workers = [...this.#workers.values()];
    for (const worker of workers) worker.terminate(0, { isKeptInStore: true });
    await Promise.all(workers.map((worker) => worker.done));
    await rm(this.#options.dir, { recursive: true, force: true }).catch(() => {
      // A pod left a folder its own user cannot empty.
    });
  }

  /** The server dies as a killed process would: its port closes, every connection is reset (or just ended). Pods run on. */
  kill(how: 'rst' | 'fin' = 'rst'): Promise<void> {
    return this.#server.close(how);
  }

  /** Serves again on the same port after kill(). */
  revive(): Promise<void> {
    return this.#server.listen();
  }

  /** The container runtime dies: exec and attach sessions end without a status. `/healthz` goes on answering. */
  cutRuntime(): void {
    for (const worker of this.#workers.values()) worker.cutSessions();
  }

  /** Stops (or resumes) reading and writing on every open connection; new ones are accepted and left waiting. */
  stall(isStalled: boolean): void {
    this.#server.stall(isStalled);
  }

  async #probe(): Promise<Isolation> {
    const dir = join(this.#options.dir, 'probe');
    mkdirSync(dir, { recursive: true });
    const isolation = await probeIsolation(dir, (root) => makeRoot(root, 'probe'), this.#options.isolation ?? 'auto');
    await rm(dir, { recursive: true, force: true });
    if (isolation.kind === 'folder') {
      const consequence = "a pod's folder is only its working directory, absolute paths are this machine's";
      this.#deps.log?.(`${this.#options.nodeName}: pods have no root of their own (${isolation.why}): ${consequence}`);
    }
    return isolation;
  }

  #register(): void {
    const { store, clock } = this.#deps;
    const { nodeName, generation, labels = {} } = this.#options;
    const key = { ...nodeResource, namespace: '', name: nodeName };
    const node = nodeObject({
      name: nodeName,
      generation,
      port: this.port,
      labels,
      uid: randomUUID(),
      nowMs: clock.now(),
    });
    if (store.get(key) === undefined) {
      store.create(nodeResource, node);
      return;
    }
    store.mutate(key, (draft) => {
      draft['status'] = node['status'];
    });
  }

  /** The youngest of that name: an older one is on its way out. */
  #find(namespace: string, name: string): PodWorker | undefined {
    return [...this.#workers.values()].findLast(
      ({ pod: { metadata } }) => metadata.namespace === namespace && metadata.name === name,
    );
  }

  #onPodEvent(event: StoreEvent): void {
    const pod = asPod(event.object);
    if (event.type === 'DELETED') {
      if (pod !== undefined) this.#workers.get(podUid(pod))?.forget();
      return;
    }
    this.#sync(pod);
  }

  #sync(pod: Pod | undefined): void {
    if (pod?.spec.nodeName !== this.#options.nodeName || this.#isForeign(pod)) return;
    const worker = this.#workers.get(podUid(pod));
    if (worker !== undefined) {
      worker.update(pod);
      return;
    }
    const isOver = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
    if (!isOver || pod.metadata.deletionTimestamp !== undefined) this.#run(pod);
  }

  #isForeign({ spec }: Pod): boolean {
    const { foreignImages = [] } = this.#options;
    return spec.containers.some(({ image = '' }) => foreignImages.includes(imageBaseName(image)));
  }

  #run(pod: Pod): void {
    const { store, clock, issueToken } = this.#deps;
    const { nodeName, dir, apiserver, commands = new Map<string, string>(), logMaxBytes } = this.#options;
    if (this.#pipes === undefined || this.#isolation === undefined) throw new TypeError('the kubelet is not started');
    const uid = podUid(pod);
    const worker = new PodWorker(
      {
        store,
        clock,
        events: this.#events,
        pipes: this.#pipes,
        pty: this.#pty,
        isolation: this.#isolation,
        issueToken:
          issueToken === undefined ? undefined : (owner, wish) => issueToken({ ...accountOf(owner), ...wish }),
      },
      pod,
      {
        nodeName,
        hostIp,
        dir: join(dir, 'pods', uid),
        sharedEnvironment: serviceEnvironment(apiserver),
        commands,
        logMaxBytes: logMaxBytes ?? defaultLogMaxBytes,
      },
    );
    this.#workers.set(uid, worker);
    worker.done.then(
      () => this.#workers.delete(uid),
      (error: unknown) => this.#deps.log?.(`${nodeName}: pod ${podFullName(pod)} cannot end: ${String(error)}`),
    );
    if (pod.metadata.deletionTimestamp !== undefined) worker.update(pod);
  }
}

function accountOf(pod: Pod): PodAccount {
  return {
    namespace: pod.metadata.namespace ?? '',
    name: pod.spec.serviceAccountName ?? 'default',
    podName: pod.metadata.name,
    podUid: podUid(pod),
  };
}
