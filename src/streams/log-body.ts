// The bytes of a log on their way, wherever they come from: a kubelet's answer, or kube-apiserver's on the detour.

import type { Readable } from 'node:stream';

export interface LogBody extends Readable {
  /** Once it has ended: whether all of it came. A cut body ends without, and as a rule with an error before. */
  readonly complete: boolean;
}
