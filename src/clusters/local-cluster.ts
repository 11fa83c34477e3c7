// The cluster kexer runs in. A user's call leaves by one of two clients that kexer itself has no rights on: one without a credential,
// whose requests carry the caller's own token, and the impersonator's. Kexer's own client only looks up pods and versions.

import type { Caller } from '../auth/caller.ts';
import { outgoingHeaders, type RemoteHeaderNames } from '../auth/outgoing-headers.ts';
import type { OutgoingIdentities, OutgoingIdentity } from '../auth/outgoing.ts';
import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import type { AnswerController, AnswerSink, KubeClient } from '../kube/client.ts';
import type { Informer } from '../kube/informer.ts';
import { isKubeObject } from '../kube/objects.ts';
import type { RequestInfo } from '../kube/request-info.ts';
import { StatusError } from '../kube/status.ts';
import { runWatch } from '../kube/watch.ts';
import { dialTcp, dialTls } from '../net/dial.ts';
import type { RawHeader, RawHeaders } from '../protocol/raw-headers.ts';
import type { Readable } from 'node:stream';

import type { Call } from './call.ts';
import { ImpersonatorGuard, refusedImpersonator } from './impersonator-guard.ts';
import type {
  ApiAnswer,
  ApiRequest,
  Cluster,
  KubeletAccess,
  NodeObject,
  PodObject,
  PodWatchHandlers,
  UpgradeRoute,
} from './cluster.ts';
import { projectNode } from './node-object.ts';
import type { StreamRoute } from './stream-route.ts';

/** How long a connection for an upgrade may take: kube-apiserver's own dial deadline towards kubelets is 30 s, a near peer needs less. */
const dialTimeoutMs = 10_000;
/** Kexer's own small reads; a pod lookup stands between a user and the stream. */
const ownReadTimeoutMs = 10_000;
/** kube-apiserver is upgraded rarely; a stale answer only asks one SubjectAccessReview too many or too few for a while. */
const versionLifetimeMs = 60_000;
/** A watch that wants to know of a pod only whether it is there has no use for its spec and status. */
const metadataOnly = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json';

export interface LocalClusterDeps {
  readonly clock: Clock;
  /** Kexer's own credential: never for a user's call. */
  readonly own: KubeClient;
  /** Without a credential: requests carry the caller's token. */
  readonly bare: KubeClient;
  /** Undefined: impersonation is off. */
  readonly impersonator: KubeClient | undefined;
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
  readonly #deps: LocalClusterDeps;
  #version: { readonly major: number; readonly minor: number } | undefined;
  #versionReadAtMs: number;

  constructor(deps: LocalClusterDeps) {
    this.kubelet = deps.kubelet;
    this.streamRoute = deps.streamRoute;
    this.#deps = deps;
    this.#version = undefined;
    this.#versionReadAtMs = 0;
  }

  async identify(caller: Caller, inbound: RawHeaders, inner: RequestInfo): Promise<OutgoingIdentity> {
    // Only a refused impersonation of a caller whom kexer impersonates itself needs to know how new the apiserver is.
    const isChecked = caller.via !== 'token' && inbound.some(([name]) => /^impersonate-/i.test(name));
    if (!isChecked) return this.#deps.identities.resolve(caller, inbound);
    return this.#deps.identities.resolve(caller, inbound, { inner, isConstrained: await this.#hasConstraints() });
  }

  /** Whether the apiserver has constrained impersonation, which words its refusals differently; on by default since 1.36. */
  async #hasConstraints(): Promise<boolean> {
    try {
      const { major, minor } = await this.serverVersion(AbortSignal.timeout(ownReadTimeoutMs));
      return major > 1 || minor >= 36;
    } catch {
      return false; // it decides nothing but words, and the call itself will show what is wrong with the apiserver
    }
  }

  async exchange(
    call: Call,
    request: ApiRequest & { timeoutMs: number; signal: AbortSignal; isRetriedOnce?: boolean },
  ): Promise<ApiAnswer> {
    const answer = await this.#clientOf(call).exchange({ ...request, headers: this.#headersOf(call, request.headers) });
    if (call.identity.credential === 'impersonator') {
      const refusal = refusedImpersonator(answer.status, answer.body, call.identity.effectiveUser);
      if (refusal !== undefined) throw refusal;
    }
    return answer;
  }

  stream(call: Call, request: ApiRequest & { body?: Readable | undefined }, sink: AnswerSink): AnswerController {
    const { credential, effectiveUser } = call.identity;
    const guarded = credential === 'impersonator' ? new ImpersonatorGuard(sink, { effectiveUser }) : sink;
    return this.#clientOf(call).stream({ ...request, headers: this.#headersOf(call, request.headers) }, guarded);
  }

  async dialUpgrade(call: Call, request: ApiRequest, signal: AbortSignal): Promise<UpgradeRoute> {
    const settings = await this.#clientOf(call).dialSettings();
    const dial = { ...settings, timeoutMs: dialTimeoutMs, signal };
    const socket = settings.isTls ? await dialTls({ ...dial, alpn: ['http/1.1'] }) : await dialTcp(dial);
    return {
      socket,
      method: request.method,
      target: `${settings.basePath}${request.target}`,
      headers: [
        ['Host', settings.authority],
        ...upgradeHeaders(request.headers),
        ...this.#headersOf(call, request.headers),
        ...settings.headers,
      ],
    };
  }

  async pod(namespace: string, name: string, signal: AbortSignal): Promise<PodObject> {
    const target = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`;
    const object = await this.#deps.own.json({ target, signal, timeoutMs: ownReadTimeoutMs });
    if (!isPod(object)) {
      throw new KexerError('badGateway', `Cannot use the pod ${quote(`${namespace}/${name}`)}: the answer is no Pod`);
    }
    return object;
  }

  watchPod(
    namespace: string,
    name: string,
    handlers: PodWatchHandlers,
    options: { timeoutSeconds: number; signal: AbortSignal },
  ): Promise<void> {
    const { own, clock } = this.#deps;
    const { timeoutSeconds, signal } = options;
    const target =
      `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods?watch=true` +
      `&fieldSelector=${encodeURIComponent(`metadata.name=${name}`)}&timeoutSeconds=${timeoutSeconds}`;
    const request = { target, timeoutSeconds, signal, accept: metadataOnly, onOpen: () => handlers.onOpen() };
    return runWatch({ client: own, clock }, request, (event) => {
      if (event.type === 'bookmark') return;
      const { uid } = event.object.metadata;
      if (typeof uid === 'string') handlers.onEvent({ type: event.type, uid });
    });
  }

  async node(name: string, signal: AbortSignal): Promise<NodeObject | undefined> {
    const known = this.#deps.nodes.get(name);
    if (known !== undefined) return known;
    const target = `/api/v1/nodes/${encodeURIComponent(name)}`;
    try {
      const object = await this.#deps.own.json({ target, signal, timeoutMs: ownReadTimeoutMs });
      if (isKubeObject(object)) return projectNode(object);
    } catch (error) {
      if (error instanceof StatusError && error.status.code === 404) return undefined;
      throw error;
    }
    throw new KexerError('badGateway', `Cannot use the node ${quote(name)}: the answer is no Node`);
  }

  async serverVersion(signal: AbortSignal): Promise<{ readonly major: number; readonly minor: number }> {
    const nowMs = this.#deps.clock.monotonic();
    if (this.#version !== undefined && nowMs - this.#versionReadAtMs < versionLifetimeMs) return this.#version;
    const answer = await this.#deps.own.json({ target: '/version', signal, timeoutMs: ownReadTimeoutMs });
    const version = parseVersion(answer);
    this.#version = version;
    this.#versionReadAtMs = nowMs;
    return version;
  }

  #clientOf(call: Call): KubeClient {
    if (call.identity.credential === 'none') return this.#deps.bare;
    if (this.#deps.impersonator !== undefined) return this.#deps.impersonator;
    // OutgoingIdentities refuses such callers when impersonation is off; should it ever not, the call ends here.
    throw new KexerError('internal', 'Cannot send the call: it needs an impersonator and none is configured');
  }

  /** Everything a request carries but Host, framing and the client's own credential. */
  #headersOf(call: Call, headers: RawHeaders): RawHeader[] {
    return [
      ...outgoingHeaders(headers, call.identity.headers, this.#deps.remoteHeaderNames()),
      ['X-Forwarded-For', call.remoteAddress],
      ['Audit-ID', call.auditId],
    ];
  }
}

/** The two hop-by-hop headers of an upgrade, made anew: Connection nominates nothing but Upgrade. */
function upgradeHeaders(headers: RawHeaders): RawHeader[] {
  const tokens = headers.filter(([name]) => name.toLowerCase() === 'upgrade').map(([, value]) => value);
  return [
    ['Connection', 'Upgrade'],
    ['Upgrade', tokens.join(', ')],
  ];
}

function parseVersion(answer: unknown): { major: number; minor: number } {
  if (typeof answer === 'object' && answer !== null && 'major' in answer && 'minor' in answer) {
    // Some distributions write `36+`.
    const major = Number.parseInt(String(answer.major), 10);
    const minor = Number.parseInt(String(answer.minor), 10);
    if (!Number.isNaN(major) && !Number.isNaN(minor)) return { major, minor };
  }
  throw new KexerError('badGateway', 'Cannot read the version of the apiserver: want "major" and "minor"');
}

function isPod(value: unknown): value is PodObject {
  if (typeof value !== 'object' || value === null || !('metadata' in value) || !('spec' in value)) return false;
  const { metadata, spec } = value;
  return (
    typeof metadata === 'object' &&
    metadata !== null &&
    'uid' in metadata &&
    typeof metadata.uid === 'string' &&
    typeof spec === 'object' &&
    spec !== null &&
    'containers' in spec &&
    Array.isArray(spec.containers)
  );
}
