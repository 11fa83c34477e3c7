// Preloaded into a kexer under test (`node --import`): answers over the IPC channel what the process holds, which nothing of kexer itself
// would tell. It changes nothing in kexer.

import type { Socket } from 'node:net';

export interface ProbeAnswer {
  readonly id: number;
  /** Open TCP sockets by the ports they join; listeners are not among them. */
  readonly sockets: readonly { readonly localPort: number; readonly remotePort: number }[];
  /** What keeps the event loop alive, by kind (process.getActiveResourcesInfo). */
  readonly resources: Readonly<Record<string, number>>;
  readonly rssBytes: number;
  readonly heapBytes: number;
  readonly externalBytes: number;
}

interface Internals {
  _getActiveHandles(): readonly object[];
}

function isSocket(handle: object): handle is Socket {
  return 'remotePort' in handle && 'localPort' in handle;
}

function sockets(): ProbeAnswer['sockets'] {
  const handles = (process as unknown as Internals)._getActiveHandles();
  return handles
    .filter(isSocket)
    .filter(({ remotePort }) => remotePort !== undefined)
    .map(({ localPort = 0, remotePort = 0 }) => ({ localPort, remotePort }));
}

function resources(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of process.getActiveResourcesInfo()) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

process.on('message', (message: { id: number; isCollecting: boolean }) => {
  if (message.isCollecting) globalThis.gc?.();
  const memory = process.memoryUsage();
  const answer: ProbeAnswer = {
    id: message.id,
    sockets: sockets(),
    resources: resources(),
    rssBytes: memory.rss,
    heapBytes: memory.heapUsed,
    externalBytes: memory.external + memory.arrayBuffers,
  };
  process.send?.(answer);
});
// The channel alone must not keep kexer alive.
process.channel?.unref();
