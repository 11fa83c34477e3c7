// Whether an open kubelet leg leads into the pod that was checked, where the kubelet itself compares no UID. No command runs before the client's
// streams are open, and none is opened before this has been looked at.

import type { Duplex } from 'node:stream';

import type { Cluster } from '../clusters/cluster.ts';
import { conflict, StatusError } from '../kube/status.ts';
import { type Place, readPodUid } from './target.ts';

/**
 * To be called after the kubelet's 101. The kubelet had found its container by then; if the apiserver still has the pod that was checked, no
 * other one of that name can have been there before, and the container is that pod's.
 * @param socket of the leg; destroyed if it cannot be vouched for.
 * @throws StatusError 409 if another pod has the name, 404 if none has; what else {@link readPodUid} throws.
 */
export async function requireSamePod(
  cluster: Cluster,
  place: Place,
  socket: Duplex,
  signal: AbortSignal,
): Promise<void> {
  try {
    if ((await readPodUid(cluster, place, signal)) === place.podUid) return;
    const reason = 'another pod has taken its name while the stream was being opened';
    throw new StatusError(conflict({ group: '', resource: 'pods' }, place.pod, reason));
  } catch (error) {
    socket.destroy();
    throw error;
  }
}
