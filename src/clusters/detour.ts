// A reason for which a stream does not go straight to its kubelet but by kube-apiserver's own streaming.

/** Why. A bounded set: the label of a metric. */
export type DetourReason =
  /** `streams.local: apiserver`. */
  | 'setting'
  /** The node carries the label. */
  | 'nodeLabel'
  /** A mutating webhook, or a mutating policy with a binding, may match. */
  | 'mutatingWebhook'
  | 'mutatingPolicy'
  /** Whether there is such a one is not known. */
  | 'notSynced';

export interface Detour {
  readonly reason: DetourReason;
  /** What exactly, for the log: a configuration and its webhook, a policy, a node, a collection. */
  readonly detail: string;
}
