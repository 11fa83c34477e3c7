import { expect } from 'chai';
import { PassThrough } from 'node:stream';

import type { Cluster } from '../../src/clusters/cluster.ts';
import { failure, notFound, StatusError, statusOf } from '../../src/kube/status.ts';
import { requireSamePod } from '../../src/streams/same-pod.ts';
import type { Place } from '../../src/streams/target.ts';

const place: Place = {
  namespace: 'default',
  pod: 'demo',
  podUid: '11-22',
  isMirror: false,
  container: 'c',
  node: 'node1',
};

/** What becomes of a leg when the apiserver has this pod now. */
async function outcome(uid: () => string): Promise<{ text: string; isDestroyed: boolean }> {
  const socket = new PassThrough();
  const cluster: Partial<Cluster> = { podUid: async () => uid() };
  let text = 'kept';
  try {
    await requireSamePod(cluster as Cluster, place, socket, new AbortController().signal);
  } catch (error) {
    const { code, message } = statusOf(error);
    text = `${code} ${message}`;
  }
  return { text, isDestroyed: socket.destroyed };
}

describe('requireSamePod', () => {
  it('keeps the leg while the pod is the one that was checked', async () => {
    expect(await outcome(() => '11-22')).to.deep.equal({ text: 'kept', isDestroyed: false });
  });

  it('destroys it and says 409 when another pod has taken the name', async () => {
    expect(await outcome(() => '33-44')).to.deep.equal({
      text: '409 Operation cannot be fulfilled on pods "demo": another pod has taken its name while the stream was being opened',
      isDestroyed: true,
    });
  });

  it('destroys it when there is no such pod any more, or nobody can say, and names no account of kexer', async () => {
    const refusals = [
      notFound({ group: '', resource: 'pods' }, 'demo'),
      failure(403, 'Forbidden', 'User "system:serviceaccount:kexec-system:kexer" cannot get resource "pods"'),
    ];
    const outcomes = [];
    for (const status of refusals) {
      outcomes.push(
        await outcome(() => {
          throw new StatusError(status);
        }),
      );
    }
    expect(outcomes).to.deep.equal([
      { text: '404 pods "demo" not found', isDestroyed: true },
      {
        text: '502 kube-apiserver does not let kexer find pods: its account needs the verb "get" on "pods"',
        isDestroyed: true,
      },
    ]);
  });
});
