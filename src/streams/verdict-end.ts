// A verdict as the end of a session, for the log, metrics and audit.

import { unreachable } from '../base/unreachable.ts';
import type { Verdict } from './outcome.ts';
import type { SessionEnd } from './session.ts';

export function verdictEnd(verdict: Verdict): SessionEnd {
  if (verdict.kind === 'broken') return { cause: 'kubeletGone', message: verdict.message };
  const { end } = verdict;
  switch (end.kind) {
    case 'success':
      return { cause: 'normal', message: 'the command succeeded', exitCode: 0 };
    case 'exit':
      return { cause: 'normal', message: 'the command exited', exitCode: end.exitCode };
    case 'failure':
      // Its text quotes the command, which may hold a secret and has no place in a log.
      return {
        cause: 'normal',
        message: `the kubelet reported a failure (${end.reason === '' ? 'no reason' : end.reason})`,
      };
    default:
      return unreachable(end);
  }
}
