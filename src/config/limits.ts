// The settings of the limits against abuse: how much one source, one user and all users together may have at once. Each default is one that no
// honest user meets; the reasons, with numbers, are in docs/limits.md, which a test holds to this file.

import { z } from 'zod/v3';

import type { Setting } from './settings.ts';
import { duration, group, wanted } from './values.ts';

const countWanted = 'a whole number, 0 for no limit';
const count = (defaultValue: number) =>
  z.number(wanted(countWanted)).int(countWanted).min(0, countWanted).default(defaultValue);

const rateWanted = 'a whole number of at least 65536, or 0 for no limit';
const rate = () =>
  z
    .number(wanted(rateWanted))
    .int(rateWanted)
    .refine((value) => value === 0 || value >= 65_536, rateWanted)
    .default(0);

const headerWanted = 'a whole number from 8192 to 1048576';

export const limits = group({
  /** exec, attach, port-forward, logs and other upgrades that run at once. */
  sessionsPerUser: count(1000),
  sessions: count(5000),
  /** How many of them may be begun in a minute, whether allowed in the end or not. */
  sessionStartsPerUser: count(3000),
  sessionStarts: count(12_000),
  /** Payload of sessions, each direction by itself. */
  bytesPerSecondPerUser: rate(),
  bytesPerSecond: rate(),
  /** Ordinary calls under way. */
  requestsPerUser: count(600),
  requests: count(3000),
  /** Watches and calls to proxy subresources: as kube-apiserver, not counted as requests. */
  longRunningPerUser: count(2000),
  longRunning: count(10_000),
  /** New sessions are refused while the event loop is later than this (its 99th percentile over some ten seconds). */
  eventLoopDelay: duration(1000),
  /** Of one address: what has not been authenticated yet. */
  strangerConnectionsPerSource: count(2000),
  strangerRequestsPerSource: count(1000),
  headerBytes: z
    .number(wanted(headerWanted))
    .int(headerWanted)
    .min(8192, headerWanted)
    .max(1024 * 1024, headerWanted)
    .default(64 * 1024),
  /** Of an ordinary call; what goes to a proxy subresource has no limit. */
  bodyBytes: count(16 * 1024 * 1024),
});

export const limitSettings: readonly Setting[] = [
  {
    key: 'limits.sessionsPerUser',
    flag: 'max-sessions-per-user',
    kind: 'integer',
    help: 'sessions (exec, attach, port-forward, logs) of one user at once (default 1000; 0, here and below: no limit)',
  },
  { key: 'limits.sessions', flag: 'max-sessions', kind: 'integer', help: 'of all users together (default 5000)' },
  {
    key: 'limits.sessionStartsPerUser',
    flag: 'max-session-starts-per-user',
    kind: 'integer',
    help: 'sessions one user may begin a minute (default 3000)',
  },
  {
    key: 'limits.sessionStarts',
    flag: 'max-session-starts',
    kind: 'integer',
    help: 'of all users together (default 12000)',
  },
  {
    key: 'limits.bytesPerSecondPerUser',
    flag: 'max-bytes-per-sec-per-user',
    kind: 'integer',
    help: 'payload of the sessions of one user, each direction by itself (default 0)',
  },
  {
    key: 'limits.bytesPerSecond',
    flag: 'max-bytes-per-sec',
    kind: 'integer',
    help: 'of all users together (default 0)',
  },
  {
    key: 'limits.requestsPerUser',
    flag: 'max-requests-inflight-per-user',
    kind: 'integer',
    help: 'ordinary calls of one user at once (default 600)',
  },
  {
    key: 'limits.requests',
    flag: 'max-requests-inflight',
    kind: 'integer',
    help: 'of all users together (default 3000)',
  },
  {
    key: 'limits.longRunningPerUser',
    flag: 'max-long-running-per-user',
    kind: 'integer',
    help: 'watches and calls to proxy subresources of one user at once (default 2000)',
  },
  {
    key: 'limits.longRunning',
    flag: 'max-long-running',
    kind: 'integer',
    help: 'of all users together (default 10000)',
  },
  {
    key: 'limits.eventLoopDelay',
    flag: 'max-event-loop-delay',
    kind: 'duration',
    help: 'refuse new sessions while kexer is so late with everything (default 1s)',
  },
  {
    key: 'limits.strangerConnectionsPerSource',
    flag: 'max-stranger-connections-per-source',
    kind: 'integer',
    help: 'connections of one address on which nobody has been authenticated (default 2000)',
  },
  {
    key: 'limits.strangerRequestsPerSource',
    flag: 'max-stranger-requests-per-source',
    kind: 'integer',
    help: 'requests of one address whose token is being reviewed (default 1000)',
  },
  {
    key: 'limits.headerBytes',
    flag: 'max-header-bytes',
    kind: 'integer',
    help: "a request's headers; may not be 0 (default 65536)",
  },
  {
    key: 'limits.bodyBytes',
    flag: 'max-request-body-bytes',
    kind: 'integer',
    help: 'body of an ordinary call; proxy subresources have no limit (default 16777216)',
  },
];
