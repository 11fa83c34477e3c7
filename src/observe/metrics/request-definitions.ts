// Metrics of requests, named, typed and bucketed as kube-apiserver's (k8s.io/apiserver: endpoints/metrics, endpoints/filters, server/options),
// so that its dashboards and rules read kexer too. A call on a cluster counts under the resource it names there; what kexer answers itself
// under its own group.

import { define, exponentialBuckets } from './definition.ts';

const resourceLabels = {
  group: 'API group; `other` where no such resource was ever answered (see `resource`)',
  version: 'API version, or `other`',
  resource:
    'resource of Kubernetes itself, or one that was answered with success before; of these at most 500, everything else is `other`',
  subresource: 'subresource, as `resource`',
  scope: '`resource` (one object), `namespace`, `cluster`, or empty for what is no resource',
  component: 'always `apiserver`, as on aggregated servers',
} as const;

const verb = "kube-apiserver's: GET, LIST, WATCH, POST, PUT, PATCH, APPLY, DELETE, DELETECOLLECTION, CONNECT; `other`";
const dryRun = '`All`, empty, or `invalid`';

/** kube-apiserver since 1.23. */
const durationBuckets = [
  0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
];

export const requestTotal = define({
  name: 'apiserver_request_total',
  kind: 'counter',
  help: 'Requests that have ended, broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code. A session counts when it ends, with code 101 (200 for logs).',
  labels: {
    verb,
    dry_run: dryRun,
    ...resourceLabels,
    code: 'HTTP status; 499 for a client that left before the answer',
  },
  origin: 'kube-apiserver',
});

export const requestDuration = define({
  name: 'apiserver_request_duration_seconds',
  kind: 'histogram',
  help: 'Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component; of WATCH and CONNECT, how long they lasted.',
  labels: { verb, dry_run: dryRun, ...resourceLabels },
  buckets: durationBuckets,
  origin: 'kube-apiserver',
});

export const inflightRequests = define({
  name: 'apiserver_current_inflight_requests',
  kind: 'gauge',
  help: 'Ordinary requests under way, long-running ones not counted.',
  labels: { request_kind: '`mutating` or `readOnly`' },
  origin: 'kube-apiserver',
});

export const longrunningRequests = define({
  name: 'apiserver_longrunning_requests',
  kind: 'gauge',
  help: 'Sessions, watches and calls to proxy subresources under way.',
  labels: { verb, ...resourceLabels },
  origin: 'kube-apiserver',
});

export const tlsHandshakeErrors = define({
  name: 'apiserver_tls_handshake_errors_total',
  kind: 'counter',
  help: 'Connections that failed before a request: TLS handshakes, broken heads, and those refused because their address has too many.',
  labels: {},
  origin: 'kube-apiserver',
});

export const connections = define({
  name: 'kexer_connections',
  kind: 'gauge',
  help: 'Open TLS connections of clients, those of sessions included.',
  labels: {},
});

export const strangerConnections = define({
  name: 'kexer_stranger_connections',
  kind: 'gauge',
  help: 'Connections on which nobody has been authenticated yet, handshakes included.',
  labels: {},
});

const result = '`success`, `failure` (401) or `error` (kube-apiserver could not be asked)';

export const authenticationAttempts = define({
  name: 'authentication_attempts',
  kind: 'counter',
  help: 'Counter of authenticated attempts.',
  labels: { result },
  origin: 'kube-apiserver',
});

export const authenticationDuration = define({
  name: 'authentication_duration_seconds',
  kind: 'histogram',
  help: 'Authentication duration in seconds broken out by result.',
  labels: { result },
  buckets: exponentialBuckets(0.001, 2, 15),
  origin: 'kube-apiserver',
});

export const authenticatedUsers = define({
  name: 'authenticated_user_requests',
  kind: 'counter',
  help: 'Counter of authenticated requests broken out by username.',
  labels: {
    username:
      '`admin`, `client`, `kube_proxy`, `kubelet`, `system:serviceaccount:kube-system:default`; `email_id` for names with an @; `other`',
  },
  origin: 'kube-apiserver',
});

export const clientCertificateExpiration = define({
  name: 'apiserver_client_certificate_expiration_seconds',
  kind: 'histogram',
  help: 'Distribution of the remaining lifetime on the certificate used to authenticate a request.',
  labels: {},
  // 0, 30 min, 1 h, 2 h, 6 h, 12 h, 1 d, 2 d, 4 d, 7 d, 1 month, 3 months, 6 months, 1 year
  buckets: [
    0, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 345_600, 604_800, 2_592_000, 7_776_000, 15_552_000,
    31_104_000,
  ],
  origin: 'kube-apiserver',
});

const decision = '`allowed`, `denied` or `error`';

export const authorizationAttempts = define({
  name: 'authorization_attempts_total',
  kind: 'counter',
  help: "Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'.",
  labels: { result: decision },
  origin: 'kube-apiserver',
});

export const authorizationDuration = define({
  name: 'authorization_duration_seconds',
  kind: 'histogram',
  help: 'Authorization duration in seconds broken out by result.',
  labels: { result: decision },
  buckets: exponentialBuckets(0.001, 2, 15),
  origin: 'kube-apiserver',
});

const reviewCode = 'HTTP status of the answer, or `<error>` if there was none';
/** k8s.io/apiserver/pkg/authentication/…/webhook and authorization/webhook. */
const reviewBuckets = [0.25, 0.5, 0.7, 1, 1.5, 3, 5, 10];

export const tokenReviews = define({
  name: 'apiserver_delegated_authn_request_total',
  kind: 'counter',
  help: 'Number of HTTP requests partitioned by status code: TokenReviews that kube-apiserver was asked.',
  labels: { code: reviewCode },
  origin: 'kube-apiserver',
});

export const tokenReviewDuration = define({
  name: 'apiserver_delegated_authn_request_duration_seconds',
  kind: 'histogram',
  help: 'Request latency in seconds. Broken down by status code: TokenReviews.',
  labels: { code: reviewCode },
  buckets: reviewBuckets,
  origin: 'kube-apiserver',
});

export const accessReviews = define({
  name: 'apiserver_delegated_authz_request_total',
  kind: 'counter',
  help: 'Number of HTTP requests partitioned by status code: SubjectAccessReviews that kube-apiserver was asked.',
  labels: { code: reviewCode },
  origin: 'kube-apiserver',
});

export const accessReviewDuration = define({
  name: 'apiserver_delegated_authz_request_duration_seconds',
  kind: 'histogram',
  help: 'Request latency in seconds. Broken down by status code: SubjectAccessReviews.',
  labels: { code: reviewCode },
  buckets: reviewBuckets,
  origin: 'kube-apiserver',
});

export const reviewCache = define({
  name: 'kexer_review_cache_requests_total',
  kind: 'counter',
  help: 'Questions that a review answers, by whether it was remembered.',
  labels: {
    review: '`TokenReview` or `SubjectAccessReview`',
    result: '`hit`, `joined` (somebody else was asking the same) or `miss`',
  },
});
