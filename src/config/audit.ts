// The settings of the audit log. Flags that kube-apiserver has too are named and meant as there.

import { z } from 'zod/v3';

import { commandDetails } from '../observe/redact.ts';
import { patternProblem } from '../observe/redaction/patterns.ts';

import type { Setting } from './settings.ts';
import { duration, file, flag, group, wanted } from './values.ts';

const countWanted = 'a whole number, 0 for no limit';
const count = (defaultValue: number) =>
  z.number(wanted(countWanted)).int(countWanted).min(0, countWanted).default(defaultValue);
const sizeWanted = 'a whole number from 1 to 1000000';
const size = (defaultValue: number) =>
  z.number(wanted(sizeWanted)).int(sizeWanted).min(1, sizeWanted).max(1_000_000, sizeWanted).default(defaultValue);

const pattern = z.string(wanted('a regular expression')).superRefine((text, context) => {
  const wanted = patternProblem(text);
  if (wanted !== undefined) context.addIssue({ code: z.ZodIssueCode.custom, message: wanted });
});

const webhook = group({
  configFile: file().optional(),
  initialBackoff: duration(10_000),
  batchBufferSize: size(10_000),
  batchMaxSize: size(400),
  batchMaxWait: duration(30_000),
});

export const audit = group({
  /** `-` is standard output; without it, and without a webhook, nothing is recorded. */
  logPath: file().optional(),
  /** MiB. */
  logMaxSize: count(100),
  logMaxBackup: count(0),
  /** Days. */
  logMaxAge: count(0),
  webhook: webhook.default({}),
  policyFile: file().optional(),
  /** No session without a record that is safe. */
  strict: flag().default(false),
  commands: z.enum(commandDetails, wanted(`one of ${commandDetails.join(', ')}`)).default('redacted'),
  /** A flag or variable gives one, the file a list. */
  redact: z
    .union(
      [pattern.transform((text) => [text]), z.array(pattern)],
      wanted('a list of regular expressions of JavaScript that do not match the empty text'),
    )
    .default([]),
});

export const auditSettings: readonly Setting[] = [
  {
    key: 'audit.logPath',
    flag: 'audit-log-path',
    kind: 'file',
    help: "file for audit events, JSON lines; '-' is standard output (default: no audit log)",
  },
  {
    key: 'audit.logMaxSize',
    flag: 'audit-log-maxsize',
    kind: 'integer',
    help: 'MiB after which it is rotated (default 100; 0: never)',
  },
  {
    key: 'audit.logMaxBackup',
    flag: 'audit-log-maxbackup',
    kind: 'integer',
    help: 'rotated files that are kept (default 0: all)',
  },
  {
    key: 'audit.logMaxAge',
    flag: 'audit-log-maxage',
    kind: 'integer',
    help: 'days for which they are kept (default 0: forever)',
  },
  {
    key: 'audit.webhook.configFile',
    flag: 'audit-webhook-config-file',
    kind: 'file',
    help: 'kubeconfig of a webhook for audit events',
  },
  {
    key: 'audit.webhook.initialBackoff',
    flag: 'audit-webhook-initial-backoff',
    kind: 'duration',
    help: 'pause before the second of five tries (default 10s)',
  },
  {
    key: 'audit.webhook.batchBufferSize',
    flag: 'audit-webhook-batch-buffer-size',
    kind: 'integer',
    help: 'events that may wait; more are dropped (default 10000)',
  },
  {
    key: 'audit.webhook.batchMaxSize',
    flag: 'audit-webhook-batch-max-size',
    kind: 'integer',
    help: 'events in one request (default 400)',
  },
  {
    key: 'audit.webhook.batchMaxWait',
    flag: 'audit-webhook-batch-max-wait',
    kind: 'duration',
    help: 'how long an event waits for others (default 30s)',
  },
  {
    key: 'audit.policyFile',
    flag: 'audit-policy-file',
    kind: 'file',
    help: 'audit.k8s.io/v1 Policy (default: all sessions and what kexer refuses)',
  },
  {
    key: 'audit.strict',
    flag: 'audit-strict',
    kind: 'boolean',
    help: 'no session without an audit record that is safe',
  },
  {
    key: 'audit.commands',
    flag: 'audit-commands',
    kind: 'text',
    help: 'redacted (default), program or none: what of commands is recorded',
  },
  {
    key: 'audit.redact',
    flag: 'audit-redact',
    kind: 'text',
    help: 'regular expression of what else is redacted in commands; several in the config file',
  },
];
