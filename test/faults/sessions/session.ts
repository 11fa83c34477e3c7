// One session as a client runs it and judges it: what it got, and what it would tell its user. Each protocol has a file that implements
// this the way client-go reads that protocol, leniency included, because that is where a false success would be seen.

import type { ClientGoExit } from '../../support/spdy-client.ts';

/** What the client would tell its user. */
export type Result =
  /** Exit code 0, or an end that means "this was all". */
  | { readonly kind: 'success' }
  | { readonly kind: 'exit'; readonly code: number }
  /** `isTold`: the server said so in the protocol, in `message`; otherwise the client has only seen its connection go. */
  | { readonly kind: 'failure'; readonly message: string; readonly isTold: boolean };

export interface SessionReport {
  /** `refused`: an answer came instead of the 101 (or the 200 of a log). */
  readonly phase: 'unreached' | 'refused' | 'open';
  readonly result: Result;
  /** What a user would have in the file behind `>`; of several forwarded connections the one that broke, or the first. */
  readonly received: Buffer;
}

/** A session under way. */
export interface RunningSession {
  /** True once the answer to the upgrade came and every stream is open. */
  readonly isOpen: boolean;
  /** Never rejects. */
  readonly done: Promise<SessionReport>;
  /** Stops reading from the socket. */
  pause(): void;
  resume(): void;
  /** Goes away at once, as a killed process does. */
  leave(): void;
}

export interface SessionTarget {
  readonly port: number;
  /** Path in front of `/api/v1`. */
  readonly base: string;
  readonly ca: string;
  readonly certificate: { readonly cert: string; readonly key: string };
}

/** What is asked for, in the terms of every protocol. */
export interface Work {
  readonly pod: string;
  /** exec only. */
  readonly command: readonly string[];
  /** Sent, then half-closed where the protocol can say it. */
  readonly stdin: Buffer | undefined;
  /** Port-forward: for each connection what is sent there. */
  readonly connections: readonly { readonly port: number; readonly bytes: Buffer; readonly expected: Buffer }[];
  /** Logs: follow. */
  readonly isFollowing: boolean;
}

export function failure(message: string, isTold: boolean): Result {
  return { kind: 'failure', message, isTold };
}

/** What client-go made of an error stream, as a result; the protocols whose error stream is text have the exit code in it. */
export function exitResult(exit: ClientGoExit, isTold: boolean): Result {
  if ('code' in exit) return exit.code === 0 ? { kind: 'success' } : { kind: 'exit', code: exit.code };
  const code = /^error executing remote command: command terminated with .*exit code (\d+)$/s.exec(exit.failure)?.[1];
  return code === undefined ? failure(exit.failure, isTold) : { kind: 'exit', code: Number(code) };
}

export function podUrl(target: SessionTarget, pod: string, subresource: string, query: URLSearchParams): string {
  const path = `${target.base}/api/v1/namespaces/default/pods/${pod}/${subresource}`;
  return `https://127.0.0.1:${target.port}${path}?${query.toString()}`;
}

/** The query of exec and attach as client-go writes it. */
export function execQuery(work: Work): URLSearchParams {
  const query = new URLSearchParams();
  for (const word of work.command) query.append('command', word);
  if (work.stdin !== undefined) query.set('stdin', 'true');
  query.set('stdout', 'true');
  query.set('stderr', 'true');
  return query;
}

/** How client-go copies. */
export const pieceBytes = 32 * 1024;
