// A cluster that a Secret names. Whatever goes there, a user's calls, kexer's own reads and streams to its kubelets, goes with the credential in
// the Secret and no other. One object is one content of the Secret: a changed Secret is another object, and calls that run keep theirs.

import type { Authorizer } from '../auth/authorize.ts';
import type { Caller } from '../auth/caller.ts';
import type { RemoteHeaderNames } from '../auth/outgoing-headers.ts';
import type { OutgoingIdentity } from '../auth/outgoing.ts';
import type { Clock } from '../base/clock.ts';
import { describeError, KexerError } from '../base/errors.ts';
import { TtlCache } from '../base/ttl-cache.ts';
import type { AddressGuard } from '../kube/address-guard.ts';
import { KubeClient } from '../kube/client.ts';
import type { AccessAnswer, AccessQuestion } from '../kube/reviews.ts';
import { fixedCertificate, fixedToken } from '../kube/sources.ts';
import { badGateway, forbiddenAction, StatusError } from '../kube/status.ts';
import { type ProxyChoice, proxyForUrl } from '../kube/tunnel.ts';
import { diedBeforeAnswer } from '../kube/transport-error.ts';
import { makeUser } from '../kube/user.ts';
import { TlsMemory } from '../net/tls-memory.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

import type { AnswerJudge } from './answer-judge.ts';
import type { Call } from './call.ts';
import { ClusterCalls } from './cluster-calls.ts';
import { ClusterReads } from './cluster-reads.ts';
import type { ClusterSpec } from './cluster-secret.ts';
import type { Cluster, KubeletAccess, NodeObject, PodObject, PodWatchHandlers, ServerVersion } from './cluster.ts';
import type { OwnMark } from './own-mark.ts';
import { remoteIdentity, remoteUser, useQuestion } from './remote-identity.ts';
import { remoteJudge } from './remote-judge.ts';
import { refusalOfAccount, reviewThere, type RightThere } from './remote-rights.ts';
import { RemoteStreamRoute } from './remote-route.ts';

/** Addresses of nodes change seldom, and a stream to an old one fails and is tried again. */
const nodeLifetimeMs = 10_000;
const maxNodes = 1000;
/** For a question about a session that runs; the next one comes anyway. */
const rightTimeoutMs = 30_000;

export interface RemoteClusterDeps {
  readonly clock: Clock;
  /** Of kexer's own cluster: who may use what there is here. */
  readonly authorizer: Pick<Authorizer, 'authorize'>;
  readonly guard: AddressGuard;
  /** On the way to its apiserver and to each of its kubelets; left out: none. */
  readonly proxyFor?: ProxyChoice | undefined;
  readonly mark: Pick<OwnMark, 'header' | 'checkPeer'>;
  /** Whether watches there may share connections; left out: not. */
  readonly isHttp2Used?: boolean;
  readonly remoteHeaderNames: () => RemoteHeaderNames;
  /** An informer of the cluster has failed, for the log. */
  readonly onError: (cluster: string, informer: string, error: unknown) => void;
  /** What the name means now; undefined, or left out: not known. */
  readonly current?: () => Cluster | undefined;
}

export interface RemoteClusterOptions {
  readonly namespace: string;
  readonly name: string;
  readonly spec: ClusterSpec;
  readonly userAgent: string;
  readonly preferredAddressTypes: readonly string[];
}

export class RemoteCluster implements Cluster {
  readonly kind = 'remote';
  readonly name: string;
  readonly kubelet: KubeletAccess;
  readonly streamRoute: RemoteStreamRoute;
  readonly useRight?: AccessQuestion;
  readonly exchange: Cluster['exchange'];
  readonly stream: Cluster['stream'];
  readonly dialUpgrade: Cluster['dialUpgrade'];
  /** NAMESPACE/NAME */
  readonly #fullName: string;
  readonly #deps: RemoteClusterDeps;
  readonly #options: RemoteClusterOptions;
  readonly #client: KubeClient;
  readonly #calls: ClusterCalls;
  readonly #reads: ClusterReads;
  readonly #nodes: TtlCache<NodeObject>;

  constructor(deps: RemoteClusterDeps, options: RemoteClusterOptions) {
    const { clock } = deps;
    const { namespace, name, spec } = options;
    this.name = name;
    this.#fullName = `${namespace}/${name}`;
    this.#deps = deps;
    this.#options = options;
    if (spec.identity === 'shared') this.useRight = useQuestion(options);
    this.kubelet = kubeletAccess(deps, options);
    this.#client = clientOf(deps, options);
    this.streamRoute = new RemoteStreamRoute(
      { client: this.#client, clock, onError: (informer, error) => deps.onError(this.#fullName, informer, error) },
      { streams: spec.streams, name: this.#fullName },
    );
    this.#reads = new ClusterReads({ client: this.#client, clock });
    this.#calls = new ClusterCalls({
      clientOf: (call) => this.#clientFor(call),
      judgeOf: (call) => this.judgeOf(call),
      remoteHeaderNames: deps.remoteHeaderNames,
      ownHeaders: [deps.mark.header],
      explain: (error) => this.#explained(error),
    });
    this.exchange = this.#calls.exchange;
    this.stream = this.#calls.stream;
    this.dialUpgrade = this.#calls.dialUpgrade;
    this.#nodes = new TtlCache({ clock }, { maxEntries: maxNodes });
  }

  identify(caller: Caller, inbound: RawHeaders): Promise<OutgoingIdentity> {
    const { namespace, name, spec } = this.#options;
    const { identity, identityPrefix: prefix } = spec;
    return remoteIdentity(this.#deps, caller, inbound, { namespace, name, identity, prefix });
  }

  judgeOf(call: Call): AnswerJudge {
    const { identity, identityPrefix } = this.#options.spec;
    const impersonated = identity === 'shared' ? undefined : remoteUser(call.caller.user, identityPrefix);
    return remoteJudge({ name: this.#fullName, inner: call.inner, impersonated });
  }

  /** By a review of that cluster about the call's own identity there. */
  async requireVerb(call: Call, verb: string, signal: AbortSignal): Promise<void> {
    const question = { ...call.inner.info, verb };
    const { isAllowed, reason } = await this.#review(call, question, signal);
    if (!isAllowed) throw new StatusError(forbiddenAction(call.caller.user, question, reason));
  }

  rightThere(call: Call): RightThere {
    const { endpointUrl, identity, identityPrefix } = this.#options.spec;
    const user =
      identity === 'shared'
        ? makeUser({ name: `the account of the Secret ${this.#fullName}` })
        : remoteUser(call.caller.user, identityPrefix);
    return {
      user,
      cluster: this.#fullName,
      key: JSON.stringify([this.#fullName, endpointUrl, identity, identityPrefix]),
      ask: async (question) => {
        try {
          return await this.#successor().#review(call, question, AbortSignal.timeout(rightTimeoutMs));
        } catch (error) {
          const refusal = refusalOfAccount(error);
          if (refusal === undefined) throw error;
          return refusal;
        }
      },
    };
  }

  pod(namespace: string, name: string, signal: AbortSignal): Promise<PodObject> {
    return this.#read('get', 'pods', this.#reads.pod(namespace, name, signal));
  }

  podUid(namespace: string, name: string, signal: AbortSignal): Promise<string> {
    return this.#read('get', 'pods', this.#reads.podUid(namespace, name, signal));
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
    const known = this.#nodes.get(name);
    if (known !== undefined) return known;
    const node = await this.#read('get', 'nodes', this.#reads.node(name, signal));
    if (node !== undefined) this.#nodes.set(name, node, nodeLifetimeMs);
    return node;
  }

  serverVersion(signal: AbortSignal): Promise<ServerVersion> {
    return this.#read('get', '/version', this.#reads.serverVersion(signal));
  }

  readVersion(signal: AbortSignal, timeoutMs: number): Promise<ServerVersion> {
    return this.#read('get', '/version', this.#reads.readVersion(signal, timeoutMs));
  }

  /** The Secret has another content now: no new call comes here; those that run go on. */
  async retire(): Promise<void> {
    this.#client.releaseIdle();
    await this.streamRoute.stop();
  }

  /** The Secret is gone: whatever still runs by HTTP ends. Sessions are their own registry's to end. */
  async close(): Promise<void> {
    await this.streamRoute.stop();
    await this.#client.close();
  }

  #review(call: Call, question: AccessQuestion, signal: AbortSignal): Promise<AccessAnswer> {
    const { userAgent } = this.#options;
    return reviewThere(this.#calls, call, question, { name: this.#fullName, userAgent, signal });
  }

  /**
   * Who has the Secret's present content, if it leads to the same place as the same one: a credential that was replaced there may be refused by
   * now, which says nothing of anybody's rights. Else this one.
   */
  #successor(): RemoteCluster {
    const now = this.#deps.current?.();
    if (!(now instanceof RemoteCluster)) return this;
    const [mine, theirs] = [this.#options.spec, now.#options.spec];
    const isSame =
      mine.endpointUrl === theirs.endpointUrl &&
      mine.identity === theirs.identity &&
      mine.identityPrefix === theirs.identityPrefix;
    return isSame ? now : this;
  }

  #clientFor({ identity }: Call): KubeClient {
    if (identity.credential === 'cluster') return this.#client;
    throw new KexerError('internal', 'Cannot send the call: it has an identity of another cluster');
  }

  /** A read with the Secret's own account: what it is refused is not the caller's. */
  async #read<T>(verb: string, what: string, reading: Promise<T>): Promise<T> {
    try {
      return await reading;
    } catch (error) {
      const code = error instanceof StatusError ? error.status.code : 0;
      if (code !== 401 && code !== 403) throw this.#explained(error);
      const text =
        code === 401
          ? `cluster "${this.#fullName}" does not accept the credential of its Secret (401): it may have expired`
          : `cluster "${this.#fullName}" does not let the account of its Secret ${verb} ${what} there`;
      throw new StatusError(badGateway(text), { cause: error });
    }
  }

  /** With the cluster's name. What may be tried again keeps its code and cause, by which that is decided. */
  #explained(error: unknown): unknown {
    if (!(error instanceof KexerError) || error.code === 'clientGone') return error;
    const name = `cluster "${this.#fullName}"`;
    const options = { cause: error };
    switch (error.code) {
      case 'unreachable':
        if (diedBeforeAnswer(error))
          return new KexerError(error.code, `${name}: ${error.message}`, { cause: error.cause });
        // No 503 with Retry-After: kubectl would come again ten times for each of its calls before it says that something is wrong.
        return new StatusError(badGateway(`${name}: ${describeError(error)}`), options);
      case 'tls': {
        // Node adds advice about itself behind a semicolon.
        const [what = ''] = describeError(error).split('; ', 1);
        return new StatusError(badGateway(`${name}: ${what}; see "caData" and "tlsServerName" of its Secret`), options);
      }
      default:
        return new KexerError(error.code, `${name}: ${describeError(error)}`);
    }
  }
}

function clientOf(
  { clock, guard, proxyFor, mark, isHttp2Used }: RemoteClusterDeps,
  { spec, userAgent }: RemoteClusterOptions,
): KubeClient {
  const { credential } = spec;
  const proxy = proxyForUrl(proxyFor, spec.endpointUrl);
  return new KubeClient(
    { clock },
    {
      endpoint: {
        url: spec.endpointUrl,
        ca: spec.ca,
        isVerified: true,
        servername: spec.tlsServerName,
        guard,
        ...(proxy === undefined ? {} : { proxy }),
        checkPeer: mark.checkPeer,
      },
      credential:
        credential.kind === 'token'
          ? { kind: 'token', token: fixedToken(credential.token) }
          : { kind: 'certificate', certificate: fixedCertificate(credential) },
      userAgent,
      ...(isHttp2Used === undefined ? {} : { isHttp2Used }),
    },
  );
}

function kubeletAccess({ clock, guard, proxyFor }: RemoteClusterDeps, options: RemoteClusterOptions): KubeletAccess {
  const { namespace, name, spec, preferredAddressTypes } = options;
  const { credential } = spec;
  return {
    ca: spec.ca === undefined ? undefined : [spec.ca],
    caSource: `"caData" of the Secret ${namespace}/${name}`,
    caSetting: 'that key',
    isVerified: true,
    certificate: () => (credential.kind === 'certificate' ? { cert: credential.cert, key: credential.key } : undefined),
    token: () => (credential.kind === 'token' ? credential.token : undefined),
    tls: new TlsMemory({ clock }),
    guard,
    ...(proxyFor === undefined ? {} : { proxyFor }),
    preferredAddressTypes,
    accountName: `the Secret ${namespace}/${name}`,
  };
}
