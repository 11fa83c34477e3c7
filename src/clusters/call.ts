// One operation by a caller on a cluster: what the pipeline hands to `rest` and `streams` once the caller is known and may reach the
// cluster. A value: nothing in it changes. Says nothing about how an answer is written.

import type { Caller } from '../auth/caller.ts';
import type { OutgoingIdentity } from '../auth/outgoing.ts';
import type { CallAudit } from '../observe/audit/call-audit.ts';
import type { CallStages } from '../observe/stages.ts';
import type { RequestInfo } from '../kube/request-info.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

import type { Cluster } from './cluster.ts';

/** The part of the path behind `…/clusters/NAME/exec`, checked once. What was checked is what is sent. */
export interface InnerPath {
  /** Raw bytes, starting with a slash: exactly what goes to the apiserver. */
  readonly rawPath: string;
  /** Raw query without the question mark; '' if there is none. */
  readonly rawQuery: string;
  /** `rawPath`, and `?rawQuery` if there was a question mark. */
  readonly target: string;
  /** Decoded segments; what follows an inner `/proxy/` is not decoded and not in here. */
  readonly segments: readonly string[];
  readonly info: RequestInfo;
}

export interface Call {
  /** Short, unique in this process; in every log line of the call. */
  readonly id: string;
  readonly caller: Caller;
  /** The namespace under which the URL names the cluster. */
  readonly clusterNamespace: string;
  readonly cluster: Cluster;
  /** How the call leaves for the apiserver; {@link Cluster} attaches it. */
  readonly identity: OutgoingIdentity;
  readonly method: string;
  readonly inner: InnerPath;
  /** As received, the client's identity included: {@link Cluster} replaces it. */
  readonly headers: RawHeaders;
  readonly httpVersion: '1.1' | '2.0';
  /** The client asked to upgrade the connection (HTTP/1.1 only). */
  readonly isUpgrade: boolean;
  readonly remoteAddress: string;
  readonly auditId: string;
  /** Aborted when the client has left or the answer is complete. */
  readonly signal: AbortSignal;
  /** Milliseconds of the monotonic clock. */
  readonly receivedAtMs: number;
  /** What becomes of the call is told here. */
  readonly audit: CallAudit;
  /** What is done for the call is done as one of these. */
  readonly stages: CallStages;
  /**
   * To be called once kube-apiserver has taken the call, and before the client is told: from then on it counts as the effective user's.
   * @throws StatusError 429 if they have no room for it.
   */
  readonly accepted: () => void;
}

/** Says that kube-apiserver has taken the call; `undo` closes what was opened for it. @throws StatusError 429 as {@link Call.accepted}. */
export function acceptCall(call: Pick<Call, 'accepted'>, undo: () => void): void {
  try {
    call.accepted();
  } catch (error) {
    undo();
    throw error;
  }
}
