// An upgrade on a connection that had been waiting. Its node may have died without a word since: the request then goes nowhere, and the answer of a live
// kubelet may take two minutes. So a connection that has given no answer for a moment is doubted: another one is dialled beside it and asked the
// same. Whichever answers first is the stream's, the other is closed; if the node cannot be reached any more, the dial says so, in its own time.
//
// A kubelet that is asked twice runs nothing twice: no command begins before its streams are opened, and they are opened on one connection only. Nor
// is it asked twice often, since a node has at most one connection waiting.

import type { TLSSocket } from 'node:tls';

import type { Clock } from '../base/clock.ts';
import { KexerError } from '../base/errors.ts';
import type { UpgradeOutcome } from './kubelet-leg.ts';

/** A kubelet answers an upgrade in some tens of milliseconds. */
const doubtAfterMs = 1000;

export interface DoubtedAttempts {
  /** What waited; destroyed when it loses. */
  readonly socket: TLSSocket;
  /** Asks on it. */
  readonly onSpare: () => Promise<UpgradeOutcome>;
  /** Dials and asks there; to be given up when `until` aborts. */
  readonly afresh: (until: AbortSignal) => Promise<UpgradeOutcome>;
}

/**
 * @param signal of the stream; `onSpare` must heed it by itself.
 * @throws what `afresh` throws if it fails before anything is answered; what `onSpare` throws, unless it was closed without a word.
 */
export function upgradeDoubted(
  deps: { clock: Clock },
  { socket, onSpare, afresh }: DoubtedAttempts,
  signal: AbortSignal,
): Promise<UpgradeOutcome> {
  return new Promise((resolve, reject) => {
    let isSettled = false;
    let dialling: AbortController | undefined;
    const cancel = (): void => dialling?.abort();
    const settle = (): void => {
      isSettled = true;
      timer.cancel();
      signal.removeEventListener('abort', cancel);
    };
    const win = (outcome: UpgradeOutcome, closeOther: () => void): void => {
      if (isSettled) {
        if (outcome.isOpen) outcome.leg.socket.destroy();
        return;
      }
      settle();
      closeOther();
      resolve(outcome);
    };
    const fail = (error: unknown, closeOther: () => void): void => {
      if (isSettled) return; // it is the other that was closed
      settle();
      closeOther();
      reject(error instanceof Error ? error : new Error(String(error)));
    };
    const closeSpare = (): void => void socket.destroy();
    const doubt = (): void => {
      if (dialling !== undefined) return;
      dialling = new AbortController();
      signal.addEventListener('abort', cancel);
      if (signal.aborted) cancel();
      afresh(dialling.signal).then(
        (outcome) => win(outcome, closeSpare),
        (error: unknown) => fail(error, closeSpare),
      );
    };
    const timer = deps.clock.after(doubtAfterMs, doubt);
    onSpare().then(
      (outcome) => win(outcome, cancel),
      (error: unknown) => {
        // Closed by the kubelet while it waited: nothing came back, and without streams no command has begun.
        if (error instanceof KexerError && error.code === 'unreachable' && !isSettled) doubt();
        else fail(error, cancel);
      },
    );
  });
}
