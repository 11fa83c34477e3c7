// What a cluster is to the rest of kexer: a name, the way to its apiserver as the caller, and the way to its kubelets. Kexer's own
// rights never carry a user's call: whatever is done for a user goes through `outgoing` or `exchange`, which attach the caller's
// identity or fail. The other members read what kexer itself needs to find a kubelet.

import type { Duplex, Readable } from 'node:stream';

import type { Caller } from '../auth/caller.ts';
import type { OutgoingIdentity } from '../auth/outgoing.ts';
import type { AnswerController, AnswerSink } from '../kube/client.ts';
import type { AddressGuard } from '../kube/address-guard.ts';
import type { RequestInfo } from '../kube/request-info.ts';
import type { AccessQuestion } from '../kube/reviews.ts';
import type { ProxyChoice } from '../kube/tunnel.ts';
import type { TlsMemory } from '../net/tls-memory.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

import type { AnswerJudge } from './answer-judge.ts';
import type { Call } from './call.ts';
import type { RightThere } from './remote-rights.ts';
import type { StreamRoute } from './stream-route.ts';

/** A Node object as the apiserver gives it; only what kexer reads is typed. */
export interface NodeObject {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly status?: {
    readonly addresses?: readonly { readonly type: string; readonly address: string }[];
    readonly daemonEndpoints?: { readonly kubeletEndpoint?: { readonly Port?: number } };
    readonly nodeInfo?: { readonly kubeletVersion?: string };
  };
}

/** A Pod object as the apiserver gives it; only what kexer reads is typed. */
export interface PodObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
  readonly spec: {
    readonly nodeName?: string;
    readonly containers: readonly { readonly name: string }[];
    readonly initContainers?: readonly { readonly name: string }[];
    readonly ephemeralContainers?: readonly { readonly name: string }[];
  };
}

/** How kubelets of a cluster are dialled. Functions read the current content of files that may be rotated. */
export interface KubeletAccess {
  /** PEM certificates that sign kubelets' serving certificates; undefined: none is known, so none can be verified. */
  readonly ca: readonly string[] | undefined;
  /** Where `ca` comes from, as an operator would name it; for error texts. */
  readonly caSource: string;
  readonly isVerified: boolean;
  certificate(): { readonly cert: string; readonly key: string } | undefined;
  /** Bearer token; only used when there is no certificate, never over unverified TLS. @throws StatusError, KexerError if none is to be had. */
  token(): string | undefined | Promise<string>;
  /** A kubelet answered 401: a token that kexer asked for is renewed at the next use. */
  tokenRefused?(): void;
  /** What has to be changed for another CA; left out: `--kubelet-certificate-authority`. */
  readonly caSetting?: string;
  /** Of the handshakes with these kubelets. */
  readonly tls: TlsMemory;
  /** Where kubelets may be; left out: anywhere. */
  readonly guard?: AddressGuard;
  /** By whom each is reached; left out: straight. */
  readonly proxyFor?: ProxyChoice;
  readonly preferredAddressTypes: readonly string[];
  /** Whose credential it is; for kexer's own log only. */
  readonly accountName: string;
}

/** A request as the caller, as it leaves for the apiserver: the target and every header but Host and framing. */
export interface ApiRequest {
  readonly method: string;
  /** Raw path and query, starting with a slash. */
  readonly target: string;
  /** As the client sent them or as kexer made them: identity, hop-by-hop and forwarding headers are replaced by the cluster. */
  readonly headers: RawHeaders;
}

/** A whole answer, its body read under a bound. */
export interface ApiAnswer {
  readonly status: number;
  readonly headers: RawHeaders;
  readonly body: Buffer;
}

/** An open connection, and the request to write on it. */
export interface UpgradeRoute {
  readonly socket: Duplex;
  readonly method: string;
  readonly target: string;
  readonly headers: RawHeaders;
}

/** What a watch of one pod tells. */
export interface PodEvent {
  /** `delete`: the object with this UID is no more. */
  readonly type: 'set' | 'delete';
  readonly uid: string;
}

export interface PodWatchHandlers {
  /** The apiserver has accepted the watch: what happens from now on is in it. */
  onOpen(): void;
  onEvent(event: PodEvent): void;
}

/** Of an apiserver. */
export interface ServerVersion {
  readonly major: number;
  readonly minor: number;
  /** `v1.36.0`; '' if it does not say. */
  readonly gitVersion: string;
}

export interface Cluster {
  readonly name: string;
  /** `remote`: a Secret names it, and kexer is there with the Secret's credential alone. */
  readonly kind: 'local' | 'remote';
  readonly kubelet: KubeletAccess;
  /** Which way streams go. */
  readonly streamRoute: StreamRoute;

  /**
   * How a call of this caller leaves for this cluster's apiserver. Checks a certificate caller's own `Impersonate-*`; `inner` is what a
   * refusal of these names.
   * @throws StatusError 400, 403 if the identity cannot be built; 500 and KexerErrors of a review that failed.
   */
  identify(caller: Caller, inbound: RawHeaders, inner: RequestInfo): Promise<OutgoingIdentity>;

  /**
   * One exchange as the caller; reads the whole body (bounded). With `isRetriedOnce`, a connection that died before any byte of an
   * answer is tried once more.
   * @throws KexerError unreachable (nothing of an answer came), tls, timeout, clientGone, cut, badGateway.
   */
  exchange(
    call: Call,
    request: ApiRequest & { timeoutMs: number; signal: AbortSignal; isRetriedOnce?: boolean },
  ): Promise<ApiAnswer>;

  /**
   * One exchange as the caller, streamed both ways, without deadlines. What fails goes to the sink, exactly once. With
   * `sharesConnection` it may go over a connection that carries others: a watch, or one object.
   */
  stream(
    call: Call,
    request: ApiRequest & { body?: Readable | undefined; sharesConnection?: boolean },
    sink: AnswerSink,
  ): AnswerController;

  /**
   * A connection of its own to the apiserver for an HTTP/1.1 upgrade, and what to write on it: the request with identity and Host.
   * `request.headers` keep Connection and Upgrade. The socket has an error listener.
   * @throws KexerError unreachable, tls, timeout, clientGone.
   */
  dialUpgrade(call: Call, request: ApiRequest, signal: AbortSignal): Promise<UpgradeRoute>;

  /** Kexer's own read of a pod. @throws StatusError 404 and others as the apiserver answered. */
  pod(namespace: string, name: string, signal: AbortSignal): Promise<PodObject>;
  /** The UID of the pod that has the name now; costs less than the whole of it. @throws as {@link pod} */
  podUid(namespace: string, name: string, signal: AbortSignal): Promise<string>;
  /**
   * Kexer's own watch of one pod, from whatever state the apiserver has at hand. Resolves when the apiserver ends it in good order.
   * @throws StatusError if it is refused; KexerError unreachable, cut, timeout; the reason of `signal`.
   */
  watchPod(
    namespace: string,
    name: string,
    handlers: PodWatchHandlers,
    options: { timeoutSeconds: number; signal: AbortSignal },
  ): Promise<void>;
  /**
   * From kexer's informer. What that does not have is read: it may not have synced yet, or the node may have joined a moment ago.
   * Undefined: there is no such node. @throws StatusError as the apiserver answered kexer's own account; KexerError unreachable, timeout.
   */
  node(name: string, signal: AbortSignal): Promise<NodeObject | undefined>;
  /** Of the apiserver; kept for a while. */
  serverVersion(signal: AbortSignal): Promise<Pick<ServerVersion, 'major' | 'minor'>>;
  /** From the apiserver now: whether it answers, and takes the credential kexer has there. @throws as the read failed. */
  readVersion(signal: AbortSignal, timeoutMs: number): Promise<ServerVersion>;

  /** Who knows which answers to this call are about kexer's credential; undefined: none are. */
  judgeOf(call: Call): AnswerJudge | undefined;
  /** A right here that a caller needs besides the outer one, and must keep; left out: none. */
  readonly useRight?: AccessQuestion;
  /**
   * Whether the identity of this call may do this there, which the call itself does not prove; left out: the review of kexer's own apiserver
   * says so. @throws StatusError 403 in kube-apiserver's words.
   */
  requireVerb?(call: Call, verb: string, signal: AbortSignal): Promise<void>;
  /** Whom to ask, and how, what this call's user may do there while a session runs; left out: kexer's own apiserver. */
  rightThere?(call: Call): RightThere;
}
