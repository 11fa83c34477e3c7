// The cluster kexer runs in. A user's call leaves by one of two clients that kexer itself has no rights on: one without a credential,
// whose requests carry the caller's own token, and the impersonator's. Kexer's own client only looks up pods, nodes and versions.

import type { Caller } from '../auth/caller.ts';
import type { RemoteHeaderNames } from '../auth/outgoing-headers.ts';
import type { OutgoingIdentities, OutgoingIdentity } from '../auth/outgoing.ts';
import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Informer } from '../kube/informer.ts';
import type { RequestInfo } from '../kube/request-info.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

import type { AnswerJudge } from './answer-judge.ts';
import type { Call } from './call.ts';
import { ClusterCalls } from './cluster-calls.ts';
import { ClusterReads } from './cluster-reads.ts';
import type { Cluster, KubeletAccess, NodeObject, PodObject, PodWatchHandlers, ServerVersion } from './cluster.ts';
import { impersonatorJudge } from './impersonator-guard.ts';
import type { StreamRoute } from './stream-route.ts';

/** Of a version that decides nothing but words. */
const versionTimeoutMs = 10_000;

export interface LocalClusterDeps {
  readonly clock: Clock;
  /** Kexer's own credential: never for a user's call. */
  readonly own: KubeClient;
  /** Without a credential: requests carry the caller's token. */
  readonly bare: KubeClient;
  /** Undefined: impersonation is off. */
  readonly impersonator: KubeClient | undefined;
  /** kube-apiserver answered 401 to its credential. */
  readonly onImpersonatorRefused?: (() => void) | undefined;
  readonly identities: Pick<OutgoingIdentities, 'resolve'>;
  readonly nodes: Pick<Informer<NodeObject>, 'get'>;
  readonly kubelet: KubeletAccess;
  readonly streamRoute: StreamRoute;
  /** The front proxy's header names as configured now; they are stripped from every call. */
  readonly remoteHeaderNames: () => RemoteHeaderNames;
}

export class LocalCluster implements Cluster {
  readonly name = 'local';
  readonly kind = 'local';
  readonly kubelet: KubeletAccess;
  readonly streamRoute: StreamRoute;
  readonly exchange: Cluster['exchange'];
  readonly stream: Cluster['stream'];
  readonly dialUpgrade: Cluster['dialUpgrade'];
  readonly #deps: LocalClusterDeps;
  readonly #reads: ClusterReads;

  constructor(deps: LocalClusterDeps) {
    this.kubelet = deps.kubelet;
    this.streamRoute = deps.streamRoute;
    this.#deps = deps;
    this.#reads = new ClusterReads({ client: deps.own, clock: deps.clock });
    const calls = new ClusterCalls({
      clientOf: (call) => this.#clientOf(call),
      judgeOf: (call) => this.judgeOf(call),
      remoteHeaderNames: deps.remoteHeaderNames,
      ownHeaders: [],
    });
    this.exchange = calls.exchange;
    this.stream = calls.stream;
    this.dialUpgrade = calls.dialUpgrade;
  }

  async identify(caller: Caller, inbound: RawHeaders, inner: RequestInfo): Promise<OutgoingIdentity> {
    // Only a refused impersonation of a caller whom kexer impersonates itself needs to know how new the apiserver is.
    const isChecked = caller.via !== 'token' && inbound.some(([name]) => /^impersonate-/i.test(name));
    if (!isChecked) return this.#deps.identities.resolve(caller, inbound);
    return this.#deps.identities.resolve(caller, inbound, { inner, isConstrained: await this.hasConstraints() });
  }

  /** Whether the apiserver has constrained impersonation, which words its refusals differently; on by default since 1.36. */
  async hasConstraints(): Promise<boolean> {
    try {
      const { major, minor } = await this.serverVersion(AbortSignal.timeout(versionTimeoutMs));
      return major > 1 || minor >= 36;
    } catch {
      return false; // it decides nothing but words, and the call itself will show what is wrong with the apiserver
    }
  }

  judgeOf({ identity }: Pick<Call, 'identity'>): AnswerJudge | undefined {
    if (identity.credential !== 'impersonator') return undefined;
    return impersonatorJudge(identity.effectiveUser, this.#deps.onImpersonatorRefused);
  }

  pod(namespace: string, name: string, signal: AbortSignal): Promise<PodObject> {
    return this.#reads.pod(namespace, name, signal);
  }

  podUid(namespace: string, name: string, signal: AbortSignal): Promise<string> {
    return this.#reads.podUid(namespace, name, signal);
  }

  watchPod(
    namespace: string,
    name: string,
    handlers: PodWatchHandlers,
    options: { timeoutSeconds: number; signal: AbortSignal },
  ): Promise<void> {
    return this.#reads.watchPod(namespace, name, handlers, options);
  }

  async node(name: string, signal: AbortSignal): Promise<NodeObject | undefined> {
    return this.#deps.nodes.get(name) ?? this.#reads.node(name, signal);
  }

  serverVersion(signal: AbortSignal): Promise<ServerVersion> {
    return this.#reads.serverVersion(signal);
  }

  readVersion(signal: AbortSignal, timeoutMs: number): Promise<ServerVersion> {
    return this.#reads.readVersion(signal, timeoutMs);
  }

  #clientOf(call: Call): KubeClient {
    if (call.identity.credential === 'none') return this.#deps.bare;
    if (this.#deps.impersonator !== undefined) return this.#deps.impersonator;
    // OutgoingIdentities refuses such callers when impersonation is off; should it ever not, the call ends here.
    throw new KexerError('internal', 'Cannot send the call: it needs an impersonator and none is configured');
  }
}
