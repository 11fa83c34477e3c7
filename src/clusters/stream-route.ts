// Which way a stream of a cluster goes: straight to the kubelet, or the detour by the apiserver's own streaming. The detour is taken where the
// direct way could run something else than kube-apiserver would have (admission that mutates), and where an operator asks for it. When in
// doubt it is the detour: that way is never weaker than kube-apiserver, since it is kube-apiserver's.

import type { Informer } from '../kube/informer.ts';
import type { StreamKind } from '../protocol/subprotocols.ts';
import type { AdmissionWatch } from './admission-watch.ts';
import type { NodeObject } from './cluster.ts';
import type { Detour } from './detour.ts';

export interface StreamRoute {
  /** Resolves when the rest of this can say what it has to, or is to wait no longer for that; left out: it always can. Never rejects. */
  whenKnown?(signal: AbortSignal): Promise<void>;
  /** What can be said before the pod is looked at. */
  detourOf(kind: StreamKind): Detour | undefined;
  /** Whether any node asks for the detour, or that is not known yet: only then a stream must wait for its pod's node. */
  readonly hasNodeDetours: boolean;
  detourOfNode(node: NodeObject): Detour | undefined;
}

/** Nodes with this label are reached by kube-apiserver only, say because kexer has no network path to them. */
export const nodeLabel = { key: 'backup.cv.io/streams', value: 'apiserver' } as const;

export function isDetourNode(node: NodeObject): boolean {
  return node.metadata.labels?.[nodeLabel.key] === nodeLabel.value;
}

export class LocalStreamRoute implements StreamRoute {
  readonly #admission: Pick<AdmissionWatch, 'mutationOf'>;
  readonly #nodes: Pick<Informer<NodeObject>, 'hasSynced'>;
  readonly #isForced: boolean;
  readonly #labelledNodes: Set<string>;

  /** Must be made before the informer of nodes starts: it follows each change of theirs. */
  constructor(
    deps: {
      admission: Pick<AdmissionWatch, 'mutationOf'>;
      nodes: Pick<Informer<NodeObject>, 'onChange' | 'hasSynced'>;
    },
    options: { streams: 'kubelet' | 'apiserver' },
  ) {
    this.#admission = deps.admission;
    this.#nodes = deps.nodes;
    this.#isForced = options.streams === 'apiserver';
    this.#labelledNodes = new Set();
    deps.nodes.onChange(({ type, key, object }) => {
      if (type === 'set' && isDetourNode(object)) this.#labelledNodes.add(key);
      else this.#labelledNodes.delete(key);
    });
  }

  detourOf(kind: StreamKind): Detour | undefined {
    if (this.#isForced) return { reason: 'setting', detail: 'streams.local' };
    // A log is read by GET: there is no admission that could change it.
    return kind === 'log' ? undefined : this.#admission.mutationOf(kind);
  }

  get hasNodeDetours(): boolean {
    return this.#labelledNodes.size > 0 || !this.#nodes.hasSynced;
  }

  detourOfNode(node: NodeObject): Detour | undefined {
    return isDetourNode(node) ? { reason: 'nodeLabel', detail: node.metadata.name } : undefined;
  }
}
