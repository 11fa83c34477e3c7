// Metrics of the process: what it uses, how busy its one thread is, what it was built from, and what it depends on.

import { define } from './definition.ts';

export const buildInfo = define({
  name: 'kexer_build_info',
  kind: 'gauge',
  help: 'Always 1; its labels say what runs.',
  labels: { version: "kexer's", node: "Node.js'", platform: 'as in `linux/amd64`' },
});

export const healthchecks = define({
  name: 'kubernetes_healthcheck',
  kind: 'gauge',
  help: 'This metric records the result of a single healthcheck; kexer is ready if all are 1.',
  labels: { name: 'the check, as /readyz?verbose lists it', type: 'always `readyz`' },
  origin: 'kube-apiserver',
});

const limit = 'name of the setting under `limits` in the configuration';

export const limitInUse = define({
  name: 'kexer_limit_in_use',
  kind: 'gauge',
  help: 'How much of a limit of all users together is taken.',
  labels: { limit: `${limit}: \`sessions\`, \`longRunning\`, \`requests\`` },
});

export const limitMax = define({
  name: 'kexer_limit_max',
  kind: 'gauge',
  help: 'That limit; +Inf if there is none.',
  labels: { limit: `${limit}: \`sessions\`, \`longRunning\`, \`requests\`` },
});

export const limitRefusals = define({
  name: 'kexer_limit_refusals_total',
  kind: 'counter',
  help: 'Requests refused with 429, and connections closed, because of a limit.',
  labels: { limit: `${limit}; \`tokenReviews\` and \`accessReviews\` for those that have no setting` },
});

export const auditEvents = define({
  name: 'apiserver_audit_event_total',
  kind: 'counter',
  help: 'Counter of audit events generated and sent to the audit backend.',
  labels: {},
  origin: 'kube-apiserver',
});

export const auditErrors = define({
  name: 'apiserver_audit_error_total',
  kind: 'counter',
  help: 'Counter of audit events that failed to be audited properly: dropped. Plugin identifies the plugin affected by the error.',
  labels: { plugin: '`log` or `webhook`' },
  origin: 'kube-apiserver',
});

export const auditSinkEvents = define({
  name: 'kexer_audit_events_total',
  kind: 'counter',
  help: 'Audit events by sink, and what became of them.',
  labels: { sink: '`log` or `webhook`', result: '`written` or `dropped`' },
});

const certificate =
  '`serving` and its `serving-ca`; `kubelet-client`, or the `kubelet-token` that kexer asked for; `impersonator-token`';

export const certificateExpiration = define({
  name: 'kexer_certificate_expiration_timestamp_seconds',
  kind: 'gauge',
  help: 'When a certificate or token that kexer uses now expires, in seconds since the epoch.',
  labels: { certificate },
});

export const certificateReloads = define({
  name: 'kexer_certificate_reloads_total',
  kind: 'counter',
  help: 'Certificates that were read anew because their source changed, or renewed by kexer itself.',
  labels: {
    certificate: '`serving` or `kubelet-client`',
    result: '`success`, or `failure`: the last good one stays in use',
  },
});

export const certificateStale = define({
  name: 'kexer_certificate_stale',
  kind: 'gauge',
  help: '1 while what was found for a certificate (file, Secret) cannot be used and an older one stays in use.',
  labels: { certificate: '`serving` or `kubelet-client`' },
});

export const certificateRenewals = define({
  name: 'kexer_certificate_renewals_total',
  kind: 'counter',
  help: 'Serving certificates that kexer made for itself because the one before came to its end.',
  labels: { result: '`success` or `failure`' },
});

export const caBundle = define({
  name: 'kexer_api_service_ca_bundle',
  kind: 'gauge',
  help: "1 for the state of the APIService's caBundle, 0 for the others.",
  labels: { state: '`current`, `foreign` (of somebody else), `unwritten` or `off`' },
});

export const tokenRequests = define({
  name: 'kexer_token_requests_total',
  kind: 'counter',
  help: 'Short-lived tokens that kexer asked for, for an account of its own.',
  labels: { account: '`impersonator` or `kubelet`', result: '`success` or `failure`' },
});

export const traceSpans = define({
  name: 'kexer_trace_spans_total',
  kind: 'counter',
  help: 'Spans of traces, by what became of them; without tracing there are none.',
  labels: { result: '`exported` or `dropped`' },
});

const nodejs = (name: string, help: string) =>
  define({ name: `nodejs_${name}`, kind: 'gauge', help, labels: {}, origin: 'nodejs' });
const worst = 'the worst ten seconds of the last minute';

export const eventLoopMean = nodejs('eventloop_lag_mean_seconds', `Mean event-loop delay, of ${worst}.`);
export const eventLoopP50 = nodejs('eventloop_lag_p50_seconds', `Median event-loop delay, of ${worst}.`);
export const eventLoopP99 = nodejs('eventloop_lag_p99_seconds', `99th percentile of event-loop delay, of ${worst}.`);
export const eventLoopMax = nodejs('eventloop_lag_max_seconds', 'Longest event-loop delay of the last minute.');

export const eventLoopActive = define({
  name: 'kexer_event_loop_active_seconds_total',
  kind: 'counter',
  help: 'Time in which the event loop did something; its rate is how busy the one thread is, 1 being all the time.',
  labels: {},
});

export const heapTotal = nodejs('heap_size_total_bytes', 'Process heap size from Node.js in bytes.');
export const heapUsed = nodejs('heap_size_used_bytes', 'Process heap size used from Node.js in bytes.');
export const externalMemory = nodejs('external_memory_bytes', 'Node.js external memory size in bytes.');

const process = (name: string, kind: 'counter' | 'gauge', help: string) =>
  define({ name: `process_${name}`, kind, help, labels: {}, origin: 'process' });

export const cpuSeconds = process('cpu_seconds_total', 'counter', 'Total user and system CPU time spent in seconds.');
export const residentMemory = process('resident_memory_bytes', 'gauge', 'Resident memory size in bytes.');
export const virtualMemory = process('virtual_memory_bytes', 'gauge', 'Virtual memory size in bytes.');
export const openFds = process('open_fds', 'gauge', 'Number of open file descriptors.');
export const maxFds = process('max_fds', 'gauge', 'Maximum number of open file descriptors.');
export const startTime = process(
  'start_time_seconds',
  'gauge',
  'Start time of the process since unix epoch in seconds.',
);
