// The endpoint and credential that a pod finds in its environment and its service account mount. The token is projected and rotates, so it
// is a source, read again when the file changes.

import type { Clock } from '../base/clock.ts';
import type { ClusterAccess } from './credential.ts';

/** @throws KexerError config if the process does not run in a pod with a service account. */
export function loadInCluster(
  _deps: { clock: Clock },
  _options: { environment: Readonly<Record<string, string | undefined>>; mount?: string },
): Promise<ClusterAccess> {
  throw new Error('not written yet');
}
