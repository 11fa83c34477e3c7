// A socket whose 'error' nobody listens to ends the process. Whoever hands one on leaves this listener, which is one function for all sockets: a
// closure of each owner's would keep alive, for as long as the socket lives, whatever else that owner's function had in hand.

import type { EventEmitter } from 'node:events';

const ignore = (): void => {};

/** For the rest of the emitter's life its errors end nothing. Whoever wants to know of them listens besides. Idempotent. */
export function ignoreErrors(emitter: EventEmitter): void {
  if (!emitter.listeners('error').includes(ignore)) emitter.on('error', ignore);
}
