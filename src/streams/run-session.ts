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
 * Resolves when the session is over.
 * @param start joins the legs; called at once, since bytes that come before are lost.
 */
export async function runSession(
  deps: RunSessionDeps,
  call: Call,
  { subject, announced }: { subject: SessionSubject; announced: Announced },
  start: (session: Session) => RunningStream,
): Promise<void> {
  let stream: RunningStream | undefined;
  const session = deps.sessions.open(subject, (message) => stream?.end(message), announced, basisOf(call));
  let unfollow = (): void => {};
  try {
    stream = start(session);
    unfollow = deps.pods.follow(call.cluster, session);
    deps.sessions.finish(session, await stream.done);
  } catch (error) {
    deps.sessions.finish(session, { cause: 'internal', message: describeError(error) });
    throw error;
  } finally {
    unfollow();
  }
}
