// Ways of streams for tests: straight to the kubelet unless told otherwise.

import type { NodeObject } from '../../src/clusters/cluster.ts';
import type { Detour } from '../../src/clusters/detour.ts';
import type { StreamRoute } from '../../src/clusters/stream-route.ts';

/** A route whose answers a test may change. */
export class FakeStreamRoute implements StreamRoute {
  /** What `detourOf` says of every kind. */
  detour: Detour | undefined = undefined;
  readonly labelledNodes = new Set<string>();

  detourOf(): Detour | undefined {
    return this.detour;
  }

  get hasNodeDetours(): boolean {
    return this.labelledNodes.size > 0;
  }

  detourOfNode({ metadata: { name } }: NodeObject): Detour | undefined {
    return this.labelledNodes.has(name) ? { reason: 'nodeLabel', detail: name } : undefined;
  }
}
