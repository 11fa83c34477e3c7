// Ending a TCP connection by RST. Node's own `resetAndDestroy` must not meet a shutdown under way: libuv then refuses (EINVAL), and the
// handle, which nobody holds any more, stays open for ever; once the peer is gone it keeps a CPU busy (Node 24, seen in a process that
// broke several hundred connections). So such a shutdown, which takes a turn, is waited for.

import type { Socket } from 'node:net';

/** Sends RST as soon as it can be sent and closes the socket; what is queued is lost. 'close' follows as after `destroy`. */
export function resetSocket(socket: Socket): void {
  // With bytes queued the FIN has not been asked for yet, and nothing is in the way.
  const isShuttingDown = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
  if (isShuttingDown) socket.once('finish', () => socket.resetAndDestroy());
  else socket.resetAndDestroy();
}
