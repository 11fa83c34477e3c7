// The life of a session in the registry: opened before the first byte is relayed, its pod followed while it runs, finished when nothing
// of it is left.

import { describeError } from '../base/errors.ts';
import type { Call } from '../clusters/call.ts';
import type { Announced } from './announce.ts';
import type { RunningStream } from './leg.ts';
import type { PodWatches } from './pod-watch.ts';
import type { SessionRegistry } from './registry.ts';
import { basisOf } from './session-rights.ts';
import type { Session, SessionSubject } from './session.ts';

export interface RunSessionDeps {
  readonly sessions: SessionRegistry;
  readonly pods: Pick<PodWatches, 'follow'>;
}

/**
 * Resolves when the session is over. What began it (the call, with its headers, and the legs' first bytes) is let go when this returns: a session
 * may run for days.
 * @param start joins the legs; called at once, since bytes that come before are lost.
 */
export async function runSession(
  deps: RunSessionDeps,
  call: Call,
  { subject, announced }: { subject: SessionSubject; announced: Announced },
  start: (session: Session) => RunningStream,
): Promise<void> {
  const { sessions, pods } = deps;
  const slot: StreamSlot = { stream: undefined };
  const session = sessions.open(subject, enderOf(slot), announced, basisOf(call));
  let stream: RunningStream;
  try {
    stream = start(session);
  } catch (error) {
    sessions.finish(session, { cause: 'internal', message: describeError(error) });
    throw error;
  }
  slot.stream = stream;
  return finishWhenDone(sessions, session, { stream, unfollow: pods.follow(call.cluster, session) });
}

/** Undefined while the legs are being joined. */
interface StreamSlot {
  stream: RunningStream | undefined;
}

/** A function by itself, so that it keeps alive nothing but its argument. */
function enderOf(slot: StreamSlot): (message: string) => void {
  return (message) => slot.stream?.end(message);
}

async function finishWhenDone(
  sessions: SessionRegistry,
  session: Session,
  { stream, unfollow }: { stream: RunningStream; unfollow: () => void },
): Promise<void> {
  try {
    sessions.finish(session, await stream.done);
  } catch (error) {
    sessions.finish(session, { cause: 'internal', message: describeError(error) });
    throw error;
  } finally {
    unfollow();
  }
}
