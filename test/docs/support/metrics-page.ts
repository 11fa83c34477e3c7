// docs/metrics.md as the code has it: every metric with its type, labels and meaning. Nothing of it is written by hand but the words around.

import { catalogue } from '../../../src/observe/metrics/catalogue.ts';
import type { MetricDefinition } from '../../../src/observe/metrics/definition.ts';
import { alerts } from '../../observe/support/monitoring.ts';

const head = `# Metrics

\`/metrics\` on kexer's own port gives everything below, in Prometheus' text format or in OpenMetrics 1.0 if the scraper prefers it. Whoever scrapes
proves an identity as every caller does, and RBAC must allow them the verb \`get\` on the path, as on kube-apiserver:

\`\`\`yaml
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: kexer-metrics-reader
rules:
  - nonResourceURLs: [/metrics]
    verbs: [get]
\`\`\`

The ClusterRole \`system:monitoring\` that every cluster has allows it too. [\`config/monitoring\`](../config/monitoring) is all of it for clusters with the
Prometheus operator, a component for your kustomization (\`config/overlays/monitoring\` is the base with it): a ServiceMonitor, that role, alerts, and a dashboard for Grafana. By hand:

\`\`\`
$ kubectl create token prometheus-k8s -n monitoring > token
$ curl --cacert ca.crt -H "Authorization: Bearer $(cat token)" https://kexer.kexec-system.svc/metrics
\`\`\`

In the sandbox, where you are the admin (\`--raw\` of kubectl 1.32 drops the path of the server's URL, so this asks kexer itself; with 1.36, which keeps it, \`--server
https://HOST:PORT\` is needed besides):

\`\`\`
$ kubectl get --raw /metrics | grep kexer_session_bytes_total
# HELP kexer_session_bytes_total Payload of sessions, read from them at the scrape, running ones included.
# TYPE kexer_session_bytes_total counter
kexer_session_bytes_total{direction="in",kind="exec",leg="kubelet",cluster="local"} 0
kexer_session_bytes_total{direction="out",kind="exec",leg="kubelet",cluster="local"} 3
\`\`\`

- **Names** are kube-apiserver's where it has one, with its type, labels and buckets; so its dashboards and rules read kexer, told apart by the label
  \`job\`. A counter that has no \`_total\` there has none here, and is of type \`unknown\` in OpenMetrics, which knows no such counter.
- **No label** is ever a user, a pod, a node, an address or a path. What a caller can make up is \`other\`; what bounds each label is said
  below, and no metric has more than 4096 series.
- **Cost**: bytes are not counted for metrics at all. Sessions know what they carried, and a scrape reads it, as it reads limits, caches and
  certificates. A request costs 1.3 µs of CPU for all of its metrics.
- **Replicas** each tell of themselves: sum over \`pod\`.

What to look at first: \`kexer_session_end_total{reason="kubeletGone"}\` (dumps that broke), \`kexer_kubelet_dial_errors_total\` (nodes that cannot be
reached, and why), \`nodejs_eventloop_lag_p99_seconds\` (whether the process is up to its work), \`kexer_detours_total\` (streams that stay on
kube-apiserver), \`kexer_certificate_expiration_timestamp_seconds\`.
`;

const foot = `
This page is generated: \`node test/docs/generate-metrics.ts\` writes it from \`src/observe/metrics\`, and a test compares.
`;

export function metricsPage(): string {
  const sections = catalogue.map(({ title, metrics }) => {
    const sorted = metrics.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    return `\n## ${title}\n${sorted.map(entry).join('')}`;
  });
  return `${head}${alertSection()}${sections.join('')}${foot}`;
}

function alertSection(): string {
  const rows = alerts().map(({ alert, labels, annotations }) => {
    const { summary = '' } = annotations;
    return `- \`${alert}\` (${labels['severity'] ?? ''}): ${summary.slice(0, 1).toLowerCase()}${summary.slice(1)}`;
  });
  return `
## Alerts

In \`config/monitoring/prometheus-rule.yaml\`; each says in its description what users see and what to look at.

${rows.join('\n')}
`;
}

function entry(definition: MetricDefinition): string {
  const { name, kind, help, labels, buckets, origin } = definition;
  const from = origin === undefined ? '' : `, as ${origins[origin]} has it`;
  const bounds = buckets === undefined ? '' : `\n\nBuckets: ${buckets.map(boundText).join(', ')}.`;
  const rows = Object.entries(labels).map(([label, values]) => `- \`${label}\`: ${values}`);
  const list = rows.length === 0 ? '' : `\n\n${rows.join('\n')}`;
  return `\n### \`${name}\`\n\n_${capital(kind)}${from}._ ${help}${list}${bounds}\n`;
}

const origins = {
  'kube-apiserver': 'kube-apiserver',
  process: 'every Prometheus client',
  nodejs: 'prom-client',
} as const;

function capital(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`;
}

function boundText(bound: number): string {
  return Number.isInteger(bound) ? String(bound) : String(Number(bound.toPrecision(6)));
}
