// Which way a stream of a cluster goes: straight to the kubelet, or the detour by the apiserver's own streaming. The detour is taken where the
// direct way could run something else than kube-apiserver would have (admission that mutates), and where an operator asks for it. When in
// doubt it is the detour: that way is never weaker than kube-apiserver, since it is kube-apiserver's.

import type { Informer } from '../kube/informer.ts';
import type { StreamKind } from '../protocol/subprotocols.ts';
import type { AdmissionWatch } from './admission-watch.ts';
import type { NodeObject } from './cluster.ts';
import type { Detour } from './detour.ts';

export interface StreamRoute {
  /** What can be said before the pod is looked at. */
  detourOf(kind: StreamKind): Detour | undefined;
  /** Whether any node asks for the detour: only then a stream must wait for its pod's node. */
  readonly hasNodeDetours: boolean;
  detourOfNode(node: string): Detour | undefined;
}

/** Nodes with this label are reached by kube-apiserver only, say because kexer has no network path to them. */
export const nodeLabel = { key: 'backup.cv.io/streams', value: 'apiserver' } as const;

export class LocalStreamRoute implements StreamRoute {
  readonly #admission: Pick<AdmissionWatch, 'mutationOf'>;
  readonly #isForced: boolean;
  readonly #labelledNodes: Set<string>;

  /** Must be made before the informer of nodes starts: it follows each change of theirs. */
  constructor(
    deps: { admission: Pick<AdmissionWatch, 'mutationOf'>; nodes: Pick<Informer<NodeObject>, 'onChange'> },
    options: { streams: 'kubelet' | 'apiserver' },
  ) {
    this.#admission = deps.admission;
    this.#isForced = options.streams === 'apiserver';
    this.#labelledNodes = new Set();
    deps.nodes.onChange(({ type, key, object }) => {
      if (type === 'set' && object.metadata.labels?.[nodeLabel.key] === nodeLabel.value) this.#labelledNodes.add(key);
      else this.#labelledNodes.delete(key);
    });
  }

  detourOf(kind: StreamKind): Detour | undefined {
    if (this.#isForced) return { reason: 'setting', detail: 'streams.local' };
    // A log is read by GET: there is no admission that could change it.
    return kind === 'log' ? undefined : this.#admission.mutationOf(kind);
  }

  get hasNodeDetours(): boolean {
    return this.#labelledNodes.size > 0;
  }

  detourOfNode(node: string): Detour | undefined {
    return this.#labelledNodes.has(node) ? { reason: 'nodeLabel', detail: node } : undefined;
  }
}
