// One running stream, as everybody else sees it: who, where to, over what, how much, and why it ended. Metrics, drain, limits and
// the `sessions` resource read this and nothing else; the legs behind it belong to the code that runs the stream.

import type { Clock } from '../base/clock.ts';
import type { DetourReason } from '../clusters/detour.ts';
import type { UserInfo } from '../kube/user.ts';
import type { SessionFlows } from './bandwidth.ts';
import type { SessionBasis } from './session-rights.ts';
import type { PausableLeg } from './valve.ts';

export type SessionKind = 'exec' | 'attach' | 'portforward' | 'log' | 'upgrade';

/** Who made a session end first. `normal`: the kubelet's side ended it with its own status, or the end of the log. */
export type EndCause = 'normal' | 'clientGone' | 'kubeletGone' | 'protocol' | 'ended' | 'internal';

/** What made kexer end a session; a bounded set, the label of a metric. `unverified`: its rights could not be asked for too long. */
export type EndedBy =
  | 'idle'
  | 'maxDuration'
  | 'podDeleted'
  | 'rightLost'
  | 'unverified'
  | 'expired'
  | 'shutdown'
  | 'user'
  | 'clusterRemoved'
  | 'other';

export interface SessionEnd {
  readonly cause: EndCause;
  /** One sentence for people; shown in the log and, where the client can be told, to the client. */
  readonly message: string;
  /** Exit code of the command if the kubelet sent one; 0 for its Success. */
  readonly exitCode?: number;
}

/** What a session is about; fixed when it starts. */
export interface SessionSubject {
  readonly kind: SessionKind;
  readonly user: UserInfo;
  /** The caller before impersonation, if that is another one. */
  readonly originalUser?: UserInfo;
  readonly clusterNamespace: string;
  readonly cluster: string;
  readonly namespace: string;
  readonly pod: string;
  readonly podUid: string;
  /** The pod stands for a static pod, whose object may be replaced while it runs. */
  readonly isMirrorPod?: boolean;
  /** '' for port-forward. */
  readonly container: string;
  readonly node: string;
  readonly command: readonly string[];
  /** What the client speaks, such as `SPDY/3.1 v4.channel.k8s.io`, and what the kubelet is spoken to. */
  readonly clientProtocol: string;
  readonly kubeletProtocol: string;
  readonly remoteAddress: string;
  readonly auditId: string;
  /** Why it goes by kube-apiserver's own streaming; absent: it does not. */
  readonly detour?: DetourReason;
}

export class Session {
  /** Unique in this process's life; a short name for logs and `kubectl get sessions`. */
  readonly id: string;
  readonly subject: SessionSubject;
  /** What it stands on; asked about while it runs. */
  readonly basis: SessionBasis;
  readonly startedAtMs: number;
  /** Payload bytes from the client; plain fields, since others look at them often. Counted by {@link countIn} and {@link countOut}. */
  bytesIn = 0;
  /** Payload bytes to the client. */
  bytesOut = 0;
  /** Of the monotonic clock: the last payload byte either way, or the start. A stamp costs some 50 ns, a chunk of 64 KiB twenty microseconds. */
  activeAtMs: number;
  /** The other side is not read because the client is slow to take what came; kept by log sessions alone. */
  isBackedUp = false;
  readonly #clock: Clock;
  readonly #startedMonotonicMs: number;
  readonly #endByRequest: (message: string) => void;
  /** Undefined: no bandwidth limit, which is to cost nothing. */
  readonly #flows: SessionFlows | undefined;
  #endRequest: { readonly message: string; readonly atMs: number; readonly by: EndedBy } | undefined;
  #end: SessionEnd | undefined;

  /**
   * @param options.endByRequest ends the stream with a Failure that carries the message; called at most once, and the session's
   * `finish` follows when both legs are down.
   */
  constructor(
    deps: { clock: Clock },
    options: {
      id: string;
      subject: SessionSubject;
      basis?: SessionBasis;
      endByRequest: (message: string) => void;
      flows?: SessionFlows | undefined;
    },
  ) {
    this.id = options.id;
    this.subject = options.subject;
    this.basis = options.basis ?? { rights: [] };
    this.#clock = deps.clock;
    this.startedAtMs = deps.clock.now();
    this.#startedMonotonicMs = deps.clock.monotonic();
    this.activeAtMs = this.#startedMonotonicMs;
    this.#endByRequest = options.endByRequest;
    this.#flows = options.flows;
    this.#endRequest = undefined;
    this.#end = undefined;
  }

  /** Why it ended; undefined while it runs. */
  get ended(): SessionEnd | undefined {
    return this.#end;
  }

  get durationMs(): number {
    return this.#clock.monotonic() - this.#startedMonotonicMs;
  }

  /** When payload last passed, in wall time as it was at the start: does not change while nothing passes. Pings do not count. */
  get lastActivityAtMs(): number {
    return this.startedAtMs + (this.activeAtMs - this.#startedMonotonicMs);
  }

  /** Who wanted its end, and when (wall time); it may still run for a moment. Undefined: nobody. */
  get endRequest(): { readonly message: string; readonly atMs: number; readonly by: EndedBy } | undefined {
    return this.#endRequest;
  }

  /** Whom a bandwidth limit may hold: the leg that payload from the client is read from, and the one that payload to it is. */
  shape(legs: { in?: PausableLeg; out?: PausableLeg }): void {
    if (this.#flows === undefined) return;
    if (legs.in !== undefined) this.#flows.in.attach(legs.in, { hasFloor: true });
    if (legs.out !== undefined) this.#flows.out.attach(legs.out);
  }

  /** So many bytes of payload came from the client. */
  countIn(length: number): void {
    this.bytesIn += length;
    this.activeAtMs = this.#clock.monotonic();
    this.#flows?.in.spent(length);
  }

  /** So many bytes of payload went to the client. */
  countOut(length: number): void {
    this.bytesOut += length;
    this.activeAtMs = this.#clock.monotonic();
    this.#flows?.out.spent(length);
  }

  /** Ends the stream from outside (drain, a limit, a pod that is gone): the client is told `message` as a Failure. The first call counts. */
  end(message: string, by: EndedBy = 'other'): void {
    if (this.#end !== undefined || this.#endRequest !== undefined) return;
    this.#endRequest = { message, atMs: this.#clock.now(), by };
    this.#endByRequest(message);
  }

  /** Records how it ended; the first call counts. @returns whether this was the first. */
  finish(end: SessionEnd): boolean {
    if (this.#end !== undefined) return false;
    this.#end = end;
    this.#flows?.close();
    return true;
  }
}
