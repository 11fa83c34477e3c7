// Which way the streams of a cluster go that a Secret names: by its kube-apiserver, or straight to its kubelets where the Secret says so. For the
// latter its admission is watched as the local cluster's is, since what mutates a CONNECT there cannot be seen by a preflight; only while
// streams are begun, and for a while after the last.

import type { Clock, Timer } from '../base/clock.ts';
import type { KubeClient } from '../kube/client.ts';
import type { StreamKind } from '../protocol/subprotocols.ts';

import { AdmissionWatch } from './admission-watch.ts';
import type { ClusterStreams } from './cluster-secret.ts';
import type { NodeObject } from './cluster.ts';
import type { Detour } from './detour.ts';
import { isDetourNode, type StreamRoute } from './stream-route.ts';

/** How long a stream waits for the first lists; longer, and it takes the detour, which needs none. */
const firstListsMs = 5000;
/** After the last stream was begun. */
const idleMs = 10 * 60_000;

export interface RemoteRouteDeps {
  readonly client: Pick<KubeClient, 'json' | 'stream' | 'userAgent'>;
  readonly clock: Clock;
  readonly onError: (informer: string, error: unknown) => void;
}

export class RemoteStreamRoute implements StreamRoute {
  /** Only the node itself can say. */
  readonly hasNodeDetours: boolean;
  readonly #deps: RemoteRouteDeps;
  readonly #setting: Detour | undefined;
  #admission: AdmissionWatch | undefined;
  #idle: Timer | undefined;
  #isStopped: boolean;

  /** @param options.name NAMESPACE/NAME of the Secret. */
  constructor(deps: RemoteRouteDeps, options: { streams: ClusterStreams; name: string }) {
    this.#deps = deps;
    this.hasNodeDetours = options.streams === 'kubelet';
    this.#setting =
      options.streams === 'kubelet'
        ? undefined
        : { reason: 'setting', detail: `streams of the Secret ${options.name}` };
    this.#admission = undefined;
    this.#idle = undefined;
    this.#isStopped = false;
  }

  async whenKnown(signal: AbortSignal): Promise<void> {
    if (this.#setting !== undefined || this.#isStopped) return;
    const admission = this.#use();
    if (admission.hasTried) return;
    try {
      await admission.whenTried(AbortSignal.any([signal, AbortSignal.timeout(firstListsMs)]));
    } catch {
      // Then it is not known, and the stream takes the detour.
    }
  }

  detourOf(kind: StreamKind): Detour | undefined {
    if (this.#setting !== undefined) return this.#setting;
    // A log is read by GET: there is no admission that could change it.
    if (kind === 'log') return undefined;
    // A call that began before the Secret changed: nothing is watched for it any more.
    return this.#isStopped ? { reason: 'notSynced', detail: 'the Secret has changed' } : this.#use().mutationOf(kind);
  }

  detourOfNode(node: NodeObject): Detour | undefined {
    return isDetourNode(node) ? { reason: 'nodeLabel', detail: node.metadata.name } : undefined;
  }

  /** Nothing is watched any more, whoever asks; resolves when nothing runs. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#rest();
  }

  async #rest(): Promise<void> {
    this.#idle?.cancel();
    this.#idle = undefined;
    const admission = this.#admission;
    this.#admission = undefined;
    await admission?.stop();
  }

  #use(): AdmissionWatch {
    const { client, clock, onError } = this.#deps;
    this.#idle?.cancel();
    this.#idle = clock.after(idleMs, () => void this.#rest());
    if (this.#admission === undefined) {
      this.#admission = new AdmissionWatch({ client, clock, onError });
      this.#admission.start();
    }
    return this.#admission;
  }
}
