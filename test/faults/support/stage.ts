// What the fault campaign plays on: a sandbox in this process, whose parts can be killed; one kexer in a process of its own that lives
// through the whole campaign, so that what it keeps can be seen; further ones that are started to be killed; and a fault proxy before
// each kubelet, at which the Node objects point.

import { readdir, readFile } from 'node:fs/promises';
import { request } from 'node:https';
import type { Socket } from 'node:net';

import { Scope } from '../../../src/base/scope.ts';
import { type Sandbox, startSandbox } from '../../../src/sandbox/sandbox.ts';
import { FaultProxy } from './fault-proxy.ts';
import { KexerProcess } from './kexer-process.ts';

export type NodeName = 'node1' | 'node2';

export const nodeNames = ['node1', 'node2'] as const;

/** Path of kexer's local cluster, below which the API of the cluster stands. */
export const clusterPath = '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec';

/** How a stream goes: straight at kexer, through the aggregation layer, or from kexer by kube-apiserver's own streaming. */
export type Path = 'direct' | 'aggregated' | 'detour';

interface Internals {
  _getActiveHandles(): readonly object[];
}

/** Who dials kubelets: kexer, or on the detour the sandbox's apiserver. */
export type KubeletLegOwner = 'of kexer' | 'of the apiserver';

/** Whether the other end of a connection is in this very process: the sandbox's apiserver, which dials kubelets too. */
function isOwnConnection(client: Socket): boolean {
  const handles = (process as unknown as Internals)._getActiveHandles();
  return handles.some((handle) => {
    const { localPort, remotePort } = handle as Partial<Socket>;
    // Its other end may be accepted before it knows of itself that it is connected; until then it does not tell where to.
    return localPort === client.remotePort && (remotePort === undefined || remotePort === client.localPort);
  });
}

/** A fault is for the connection that is made after it was armed, and no connection outlives its run. */
const noSpares = ['--kubelet-spare-connection-duration', '0s'];

export class FaultStage {
  readonly sandbox: Sandbox;
  readonly kexer: KexerProcess;
  /** Whose streams all take the detour. */
  readonly detourKexer: KexerProcess;
  readonly kubeletProxies: ReadonlyMap<NodeName, FaultProxy>;
  /** In front of kexer or of the apiserver, as each run aims it. */
  readonly clientProxy: FaultProxy;
  /** PEM of the CA of both. */
  readonly ca: string;
  readonly certificate: { readonly cert: string; readonly key: string };
  /** Whose connections to kubelets the proxies' faults are for. */
  readonly setKubeletLeg: (of: KubeletLegOwner) => void;
  readonly #scope: Scope;
  #nextVictim: Promise<KexerProcess> | undefined;

  private constructor(
    scope: Scope,
    parts: {
      sandbox: Sandbox;
      kexer: KexerProcess;
      detourKexer: KexerProcess;
      setKubeletLeg: (of: KubeletLegOwner) => void;
      kubeletProxies: ReadonlyMap<NodeName, FaultProxy>;
      clientProxy: FaultProxy;
      ca: string;
      certificate: { cert: string; key: string };
    },
  ) {
    this.#scope = scope;
    this.sandbox = parts.sandbox;
    this.kexer = parts.kexer;
    this.detourKexer = parts.detourKexer;
    this.setKubeletLeg = parts.setKubeletLeg;
    this.kubeletProxies = parts.kubeletProxies;
    this.clientProxy = parts.clientProxy;
    this.ca = parts.ca;
    this.certificate = parts.certificate;
  }

  static async start(): Promise<FaultStage> {
    const scope = new Scope();
    try {
      return await FaultStage.#start(scope);
    } catch (error) {
      await scope.close();
      throw error;
    }
  }

  static async #start(scope: Scope): Promise<FaultStage> {
    const sandbox = await startSandbox();
    scope.add(() => sandbox.stop());
    const kubeletProxies = new Map<NodeName, FaultProxy>();
    let owner: KubeletLegOwner = 'of kexer';
    for (const name of nodeNames) {
      const kubelet = sandbox.kubelets.get(name);
      if (kubelet === undefined) throw new Error(`Cannot set the stage: the sandbox has no ${name}`);
      const proxy = await FaultProxy.start(kubelet.port, (client) => {
        return isOwnConnection(client) === (owner === 'of the apiserver');
      });
      scope.add(() => proxy.close());
      kubeletProxies.set(name, proxy);
      sandbox.store.mutate({ group: '', resource: 'nodes', namespace: '', name }, (draft) => {
        const status = draft['status'] as { daemonEndpoints: { kubeletEndpoint: { Port: number } } };
        status.daemonEndpoints.kubeletEndpoint.Port = proxy.port;
      });
    }
    const kexer = await KexerProcess.start({ config: sandbox.files.kexerConfig, flags: noSpares });
    scope.add(async () => {
      await kexer.stop();
    });
    const detourKexer = await KexerProcess.start({
      config: sandbox.files.kexerConfig,
      flags: ['--streams-local', 'apiserver'],
    });
    scope.add(async () => {
      await detourKexer.stop();
    });
    const clientProxy = await FaultProxy.start(kexer.port);
    scope.add(() => clientProxy.close());
    await sandbox.registerKexer({ port: kexer.port });
    await sandbox.ready();
    const stage = new FaultStage(scope, {
      sandbox,
      kexer,
      detourKexer,
      setKubeletLeg: (of) => {
        owner = of;
      },
      kubeletProxies,
      clientProxy,
      ca: await readFile(sandbox.files.servingCaFile, 'utf8'),
      certificate: {
        cert: await readFile(sandbox.files.adminCertFile, 'utf8'),
        key: await readFile(sandbox.files.adminKeyFile, 'utf8'),
      },
    });
    scope.add(async () => {
      await (await stage.#nextVictim)?.kill();
    });
    await stage.whenReachable();
    return stage;
  }

  stop(): Promise<void> {
    return this.#scope.close();
  }

  proxyOf(node: NodeName): FaultProxy {
    const proxy = this.kubeletProxies.get(node);
    if (proxy === undefined) throw new Error(`Cannot find the proxy of ${node}`);
    return proxy;
  }

  kubeletOf(node: NodeName): NonNullable<ReturnType<Sandbox['kubelets']['get']>> {
    const kubelet = this.sandbox.kubelets.get(node);
    if (kubelet === undefined) throw new Error(`Cannot find the kubelet of ${node}`);
    return kubelet;
  }

  /** Begins to start a kexer that will be killed, while something else is done. */
  prepareVictim(): void {
    if (this.#nextVictim !== undefined) return;
    const flags = ['--shutdown-delay-duration', '0s', '--shutdown-grace-period', '0s', ...noSpares];
    this.#nextVictim = KexerProcess.start({ config: this.sandbox.files.kexerConfig, flags }).then(async (kexer) => {
      await this.#whenAnswers(kexer.port, clusterPath);
      return kexer;
    });
    this.#nextVictim.catch(() => {}); // reported by whoever takes it
  }

  /** The prepared one; the caller kills it. */
  async takeVictim(): Promise<KexerProcess> {
    this.prepareVictim();
    const victim = this.#nextVictim;
    this.#nextVictim = undefined;
    if (victim === undefined) throw new Error('Cannot find the prepared kexer');
    return victim;
  }

  /** Settles when kexer and the way through the aggregation layer answer (again). */
  async whenReachable(): Promise<void> {
    await this.#whenAnswers(this.kexer.port, clusterPath);
    await this.#whenAnswers(this.detourKexer.port, clusterPath);
    await this.#whenAnswers(this.sandbox.apiserver.port, clusterPath);
  }

  /** An ordinary call as the admin; the status, or undefined if there was no answer. */
  get(port: number, path: string): Promise<number | undefined> {
    return new Promise((resolve) => {
      const asked = request(
        { host: '127.0.0.1', port, path, ca: this.ca, ...this.certificate, agent: false, timeout: 5000 },
        (response) => {
          response.resume();
          response.once('close', () => resolve(response.statusCode));
        },
      );
      asked.once('error', () => resolve(undefined));
      asked.once('timeout', () => asked.destroy());
      asked.end();
    });
  }

  /**
   * Processes that this one has started, kexers left out: what each runs, by its ID. Not what those start in turn: pods of the seed sleep in a
   * child each second, and now and then between two.
   */
  async children(): Promise<ReadonlyMap<number, string>> {
    const kexers = new Set([this.kexer.pid, this.detourKexer.pid]);
    const children = new Map<number, string>();
    for (const name of await readdir('/proc').catch(() => [])) {
      if (!/^[0-9]+$/.test(name)) continue;
      const stat = await readFile(`/proc/${name}/stat`, 'latin1').catch(() => '');
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      const pid = Number(name);
      if (state === 'Z' || Number(parent) !== process.pid || kexers.has(pid)) continue;
      children.set(pid, await commandLine(pid));
    }
    return children;
  }

  async #whenAnswers(port: number, base: string): Promise<void> {
    const deadline = Date.now() + 30_000;
    while (Date.now() < deadline) {
      // The nodes: a log through kexer and an exec both need them to be known.
      if ((await this.get(port, `${base}/api/v1/nodes`)) === 200) return;
      await pause(20);
    }
    throw new Error(`Cannot reach the cluster by port ${port}: no 200 within 30 s`);
  }
}

async function commandLine(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return text.replaceAll('\0', ' ').trim();
}

/** Between two looks at another process, which has no event to wait for. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
