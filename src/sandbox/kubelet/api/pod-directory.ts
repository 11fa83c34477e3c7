// The pods of this node as the endpoints look them up.

import type { Pod } from '../pods/pod.ts';
import type { PodWorker } from '../pods/pod-worker.ts';

export interface PodDirectory {
  find(namespace: string, name: string): PodWorker | undefined;
  list(): Pod[];
}
