// Metrics of sessions: how many, over what, how much, how they began and why they ended.

import { define } from './definition.ts';

const kind = '`exec`, `attach`, `portforward`, `log`, or `upgrade` (of any other protocol)';
const leg = 'where the other leg ends: `kubelet`, or `apiserver` on the detour and for kind `upgrade`';
const cluster = '`local`, or NAMESPACE/NAME of the Secret of another cluster; at most 100 of them, the rest is `other`';
const protocol =
  'what the client speaks: `SPDY/3.1` or `websocket` with the stream protocol agreed upon, `HTTP/1.1` or `HTTP/2.0` for logs; `other`';

export const sessionsActive = define({
  name: 'kexer_sessions_active',
  kind: 'gauge',
  help: 'Sessions that run.',
  labels: { kind, protocol, leg, cluster },
});

export const sessionsTotal = define({
  name: 'kexer_sessions_total',
  kind: 'counter',
  help: 'Sessions that have begun: kube-apiserver allowed them, and the client was told so.',
  labels: { kind, protocol, leg, cluster },
});

export const sessionBytes = define({
  name: 'kexer_session_bytes_total',
  kind: 'counter',
  help: 'Payload of sessions, read from them at the scrape, running ones included.',
  labels: { direction: '`in` from the client, `out` to it', kind, leg, cluster },
});

export const sessionStart = define({
  name: 'kexer_session_start_seconds',
  kind: 'histogram',
  help: 'What sessions that began had waited for, by stage. Stages may overlap: dial runs beside preflight.',
  labels: {
    stage:
      "`authn`, `authz` (both quick when remembered), `preflight`, `dial` (TLS to the kubelet), `upgrade` (the backend's answer), `total` from the request's head to the session's start",
  },
  buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
});

export const sessionEnd = define({
  name: 'kexer_session_end_total',
  kind: 'counter',
  help: 'Sessions that have ended, by who made them end.',
  labels: {
    reason:
      '`normal` (the backend ended it with its own status), `clientGone`, `kubeletGone` (the backend was lost: the client got a Failure), `protocol` (a peer broke its protocol), `internal` (a defect); by kexer: `idle` and `maxDuration` (limits), `podDeleted`, `rightLost`, `unverified` (its rights could not be asked for too long), `expired` (its credential), `shutdown`, `user` (deleted), `clusterRemoved`, `other`',
    kind,
  },
});

export const sessionDuration = define({
  name: 'kexer_session_duration_seconds',
  kind: 'histogram',
  help: 'How long sessions lasted that have ended.',
  labels: { kind },
  buckets: [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600],
});

export const detours = define({
  name: 'kexer_detours_total',
  kind: 'counter',
  help: "Streams that went by kube-apiserver's own streaming, refused ones included.",
  labels: {
    kind: '`exec`, `attach`, `portforward` or `log`',
    reason:
      '`setting`, `nodeLabel`, `mutatingWebhook`, `mutatingPolicy` or `notSynced`, as docs/detour.md explains them',
  },
});

export const preflights = define({
  name: 'kexer_preflights_total',
  kind: 'counter',
  help: 'Preflights by their outcome.',
  labels: {
    outcome:
      '`allowed`; `forbidden` (403), `notFound` (404), `invalid` (400, 422), `refused` (any other 4xx), `serverError` (5xx) as kube-apiserver answered; `unreachable`, `timeout`, `clientGone`, `error` without an answer',
  },
});

export const kubeletDialErrors = define({
  name: 'kexer_kubelet_dial_errors_total',
  kind: 'counter',
  help: 'Connections to kubelets that could not be made.',
  labels: {
    cause:
      '`refused`, `reset`, `noRoute`, `unknownHost`, `timeout`; `untrusted` (its CA is not the configured one), `wrongName`, `expired` (its certificate), `tls` (any other handshake failure), `notConfigured` (no CA is set); `clientGone`, `other`',
  },
});

export const podWatches = define({
  name: 'kexer_pod_watches',
  kind: 'gauge',
  help: 'Pods with sessions that are watched now.',
  labels: {},
});

export const rightsChecks = define({
  name: 'kexer_rights_checks_total',
  kind: 'counter',
  help: 'Repeated checks of the rights that running sessions stand on.',
  labels: { result: '`allowed`, `refused` or `unverified` (no answer: the sessions go on)' },
});

export const rightsEnded = define({
  name: 'kexer_rights_ended_sessions_total',
  kind: 'counter',
  help: 'Sessions that were ended because their right was lost, or not verified for too long.',
  labels: {},
});

export const rightsWatched = define({
  name: 'kexer_rights_watched',
  kind: 'gauge',
  help: 'Distinct questions that running sessions stand on.',
  labels: {},
});

export const clusterSecrets = define({
  name: 'kexer_cluster_secrets',
  kind: 'gauge',
  help: 'Secrets that name another cluster.',
  labels: { state: '`usable`, or `unusable`: calls on it are answered with what is wrong' },
});
