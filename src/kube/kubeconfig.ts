// Reads a kubeconfig file: one context of it becomes an endpoint and a credential. Everything wrong with it is reported at once. Relative
// paths are relative to the file. Exec plugins run on demand, as kubectl runs them; the removed auth-provider is refused with its name.

import type { Clock } from '../base/clock.ts';
import type { ClusterAccess } from './credential.ts';

/** @throws KexerError config: one sentence that names the file and every problem in it. */
export function loadKubeconfig(
  _deps: { clock: Clock },
  _options: { file: string; context?: string },
): Promise<ClusterAccess> {
  throw new Error('not written yet');
}
