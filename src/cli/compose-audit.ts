// The audit log's part of the object graph: policy, redaction, sinks. Whatever cannot be used (a policy with a mistake, a file that cannot
// be opened) ends the start: an operator who asked for records must not run without them.

import { KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import type { Config } from '../config/schema.ts';
import { KubeClient } from '../kube/client.ts';
import { loadKubeconfig } from '../kube/kubeconfig.ts';
import { AuditLog } from '../observe/audit/audit-log.ts';
import { LogSink } from '../observe/audit/log-sink.ts';
import { type AuditPolicy, defaultPolicy, documentPolicy } from '../observe/audit/policy.ts';
import { type ByteTarget, RotatingFile, StandardOutput } from '../observe/audit/rotating-file.ts';
import type { AuditSink, SinkObserver } from '../observe/audit/sink.ts';
import { WebhookSink } from '../observe/audit/webhook-sink.ts';
import * as lines from '../observe/log-lines.ts';
import { Redactor } from '../observe/redact.ts';

import type { ComposeDeps } from './compose.ts';

const bytesPerMiB = 1024 * 1024;
const msPerDay = 86_400_000;
/** As kube-apiserver's webhooks. */
const postTimeoutMs = 30_000;
/** Of an answer, which says nothing that is read. */
const maxAnswerBytes = 64 * 1024;

/** @throws KexerError config */
export async function composeAudit(deps: ComposeDeps, config: Config['audit']): Promise<AuditLog> {
  const { log } = deps;
  const redactor = new Redactor({
    commands: config.commands,
    patterns: config.redact,
    onSlowPattern: () => lines.redactionTooSlow(log),
  });
  const policy = config.policyFile === undefined ? defaultPolicy : await loadPolicy(config.policyFile);
  const sinks: AuditSink[] = [];
  if (config.logPath !== undefined) sinks.push(await composeLogSink(deps, config, config.logPath));
  const { configFile } = config.webhook;
  if (configFile !== undefined) sinks.push(await composeWebhookSink(deps, config.webhook, configFile));
  return new AuditLog(
    { sinks, policy, redactor, onRefused: (err) => lines.auditRefused(log, err) },
    { isStrict: config.strict },
  );
}

/** Its parser is loaded only for those who have one. */
async function loadPolicy(file: string): Promise<AuditPolicy> {
  const { loadPolicyFile } = await import('../observe/audit/policy-file.ts');
  return documentPolicy(await loadPolicyFile(file));
}

async function composeLogSink(deps: ComposeDeps, config: Config['audit'], path: string): Promise<AuditSink> {
  const { clock, log, scope } = deps;
  let target: ByteTarget;
  try {
    target =
      path === '-'
        ? new StandardOutput()
        : await RotatingFile.open(
            { clock, onError: (err) => lines.auditRotationFailed(log, err) },
            {
              path,
              maxBytes: config.logMaxSize * bytesPerMiB,
              maxBackups: config.logMaxBackup,
              maxAgeMs: config.logMaxAge * msPerDay,
            },
          );
  } catch (cause) {
    throw new KexerError('config', `Cannot open --audit-log-path ${quote(path)}`, { cause });
  }
  const sink = new LogSink({ clock, target, observer: observerOf(deps) });
  scope.add(() => sink.close());
  return sink;
}

async function composeWebhookSink(
  deps: ComposeDeps,
  config: Config['audit']['webhook'],
  configFile: string,
): Promise<AuditSink> {
  const { clock, scope, environment, version } = deps;
  const { endpoint, credential } = await loadKubeconfig(
    { clock },
    { file: configFile, environment, isCredentialOptional: true },
  );
  const client = new KubeClient({ clock }, { endpoint, credential, userAgent: `kexer/${version}` });
  scope.add(() => client.close());
  // The URL as it stands in the file: a receiver may listen on a path without a slash at its end.
  const target = new URL(endpoint.url).pathname === '/' ? '/' : '';
  const sink = new WebhookSink(
    {
      clock,
      observer: observerOf(deps),
      post: (body) =>
        client.exchange({
          method: 'POST',
          target,
          headers: [
            ['Content-Type', 'application/json'],
            ['Accept', 'application/json, */*'],
            ['User-Agent', `kexer/${version}`],
          ],
          body,
          timeoutMs: postTimeoutMs,
          maxBytes: maxAnswerBytes,
          // An event that comes twice is better than a session refused because an idle connection had been closed.
          isRetriedOnce: true,
        }),
    },
    {
      bufferSize: config.batchBufferSize,
      maxBatchSize: config.batchMaxSize,
      maxWaitMs: config.batchMaxWait,
      initialBackoffMs: config.initialBackoff,
    },
  );
  // After the client, so that it ends before it: what is queued is still to be sent.
  scope.add(() => sink.close());
  return sink;
}

function observerOf({ log }: ComposeDeps): SinkObserver {
  return {
    dropped: (sink, count, reason) => lines.auditDropped(log, { sink, count, reason }),
    failing: (sink, err) => lines.auditFailing(log, { sink, err }),
  };
}
