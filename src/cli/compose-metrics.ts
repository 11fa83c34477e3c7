// The part of the object graph that measures: made first, because everything tells it what happens, and given last what it reads at each scrape.

import type { Authorizer } from '../auth/authorize.ts';
import type { TokenAuthenticator } from '../auth/token-authenticator.ts';
import type { CertificateStats } from '../certs/certificate-stats.ts';
import type { DetourReason } from '../clusters/detour.ts';
import type { ClusterDirectory } from '../clusters/directory.ts';
import type { Config } from '../config/schema.ts';
import type { RequestedToken } from '../kube/requested-token.ts';
import type { Reviews } from '../kube/reviews.ts';
import type { AuditLog } from '../observe/audit/audit-log.ts';
import { ObservedReviews } from '../observe/metrics/observed-reviews.ts';
import * as definitions from '../observe/metrics/process-definitions.ts';
import { ProcessMetrics } from '../observe/metrics/process-metrics.ts';
import { Registry } from '../observe/metrics/registry.ts';
import { RequestMetrics, type ReviewCacheCounts } from '../observe/metrics/request-metrics.ts';
import * as requestDefinitions from '../observe/metrics/request-definitions.ts';
import * as sessionDefinitions from '../observe/metrics/session-definitions.ts';
import { SessionMetrics } from '../observe/metrics/session-metrics.ts';
import { metricFailed } from '../observe/trace-lines.ts';
import type { HealthCheck } from '../server/health.ts';
import type { RequestContext } from '../server/request-context.ts';
import type { LimitName, RequestLimits } from '../server/request-limits.ts';
import { MetricsAnswers } from '../server/metrics-answers.ts';
import { RequestObserver, runningRequest } from '../server/request-observer.ts';
import type { Server } from '../server/server.ts';
import type { Detours } from '../streams/detour.ts';
import type { PodWatches } from '../streams/pod-watch.ts';
import type { SessionRegistry } from '../streams/registry.ts';
import type { RightsWatch } from '../streams/rights-watch.ts';

import type { ComposeDeps } from './compose.ts';
import type { Tracing } from './compose-tracing.ts';

/** What is there only when the rest of the graph is. */
export interface MetricSources {
  readonly sessions: Pick<SessionRegistry, 'list'>;
  readonly clusters: Pick<ClusterDirectory, 'secrets'>;
  readonly requests: () => Iterable<RequestContext>;
  readonly tokens: Pick<TokenAuthenticator, 'counts'>;
  readonly authorizer: Pick<Authorizer, 'counts'>;
  readonly limits: Pick<RequestLimits, 'counts' | 'refusedBy'>;
  readonly connections: () => Server['connections'];
  readonly detours: Pick<Detours, 'counts'>;
  readonly rights: Pick<RightsWatch, 'counts' | 'size'>;
  readonly pods: Pick<PodWatches, 'size'>;
  readonly audit: Pick<AuditLog, 'counts'>;
  readonly certificates: Pick<CertificateStats, 'expiry' | 'counts' | 'isStale' | 'caBundle'>;
  /** Tokens that kexer asks for itself, by the account they are for; undefined: it has another credential. */
  readonly accountTokens: ReadonlyMap<string, Pick<RequestedToken, 'counts' | 'expiresAtMs'> | undefined>;
  readonly readiness: () => readonly HealthCheck[];
}

export interface Metrics {
  readonly sessions: SessionMetrics;
  readonly observer: RequestObserver;
  readonly answers: MetricsAnswers;
  /** How late the event loop was lately, in milliseconds. */
  readonly eventLoopDelayMs: () => number;
  observedReviews(reviews: Reviews): ObservedReviews;
  /** Once. */
  readFrom(sources: MetricSources): void;
}

/** @throws KexerError config */
export async function composeMetrics(deps: ComposeDeps, config: Config): Promise<Metrics> {
  const { clock, log, scope, version } = deps;
  const registry = new Registry({ onError: (metric, err) => metricFailed(log, { metric, err }) });
  const requests = new RequestMetrics(registry);
  const sessions = new SessionMetrics(registry);
  const process = new ProcessMetrics({ clock, registry }, { version });
  scope.add(() => process.stop());
  process.start();
  const tracing = await loadTracing(deps, config);
  return {
    sessions,
    observer: new RequestObserver({ clock, requests, sessions, tracer: tracing?.tracer }),
    answers: new MetricsAnswers({ registry, process }),
    eventLoopDelayMs: () => process.delay.recentP99Seconds * 1000,
    observedReviews: (reviews) => new ObservedReviews({ reviews, clock, metrics: requests }),
    readFrom: (sources) => {
      sessions.readRunning(() => sources.sessions.list());
      requests.readRunning(function* running() {
        for (const context of sources.requests()) yield runningRequest(context);
      });
      requests.readReviewCache(() => ({
        TokenReview: cacheCounts(sources.tokens.counts),
        SubjectAccessReview: cacheCounts(sources.authorizer.counts),
      }));
      readStreams(registry, sources);
      readLimits(registry, sources, config.limits);
      readAudit(registry, sources);
      readCertificates(registry, sources);
      registry.read(definitions.healthchecks, () =>
        sources.readiness().map(({ name, isHealthy }) => [{ name, type: 'readyz' }, isHealthy() ? 1 : 0] as const),
      );
      registry.read(definitions.traceSpans, () => {
        const { exported, dropped } = tracing?.counts() ?? { exported: 0, dropped: 0 };
        return [
          [{ result: 'exported' }, exported],
          [{ result: 'dropped' }, dropped],
        ];
      });
    },
  };
}

async function loadTracing(deps: ComposeDeps, config: Config): Promise<Tracing | undefined> {
  const { endpoint } = config.tracing;
  if (endpoint === undefined) return undefined;
  const { composeTracing } = await import('./compose-tracing.ts');
  return composeTracing(deps, config.tracing, endpoint);
}

function cacheCounts({ hit, joined, miss }: ReviewCacheCounts): ReviewCacheCounts {
  return { hit, joined, miss };
}

const detourKinds = ['exec', 'attach', 'portforward', 'log'] as const;
const detourReasons: readonly DetourReason[] = [
  'setting',
  'nodeLabel',
  'mutatingWebhook',
  'mutatingPolicy',
  'notSynced',
];

function readStreams(registry: Registry, { clusters, detours, rights, pods }: MetricSources): void {
  registry.read(sessionDefinitions.clusterSecrets, () => {
    const all = clusters.secrets();
    const unusable = all.filter(({ spec }) => 'problem' in spec).length;
    return [
      [{ state: 'usable' }, all.length - unusable],
      [{ state: 'unusable' }, unusable],
    ];
  });
  registry.read(sessionDefinitions.detours, () => {
    const counts = new Map(detours.counts().map(({ kind, reason, count }) => [`${kind} ${reason}`, count]));
    // All of them from the start: an alert on an increase would not see a series appear.
    return detourKinds.flatMap((kind) =>
      detourReasons.map((reason) => [{ kind, reason }, counts.get(`${kind} ${reason}`) ?? 0] as const),
    );
  });
  registry.read(sessionDefinitions.rightsChecks, () => {
    const { allowed, refused, unverified } = rights.counts();
    return Object.entries({ allowed, refused, unverified }).map(([result, count]) => [{ result }, count] as const);
  });
  registry.readOne(sessionDefinitions.rightsEnded, () => rights.counts().ended);
  registry.readOne(sessionDefinitions.rightsWatched, () => rights.size);
  registry.readOne(sessionDefinitions.podWatches, () => pods.size);
}

const limitedKinds = ['sessions', 'longRunning', 'requests'] as const;

function readLimits(registry: Registry, sources: MetricSources, config: Config['limits']): void {
  const { limits, tokens, authorizer, connections } = sources;
  registry.readOne(requestDefinitions.connections, () => connections().open);
  registry.readOne(requestDefinitions.strangerConnections, () => connections().strangers);
  registry.read(definitions.limitInUse, () => {
    const counts = limits.counts();
    return limitedKinds.map((limit) => [{ limit }, counts[limit]] as const);
  });
  registry.read(definitions.limitMax, () =>
    limitedKinds.map((limit) => [{ limit }, config[limit] === 0 ? Infinity : config[limit]] as const),
  );
  registry.read(definitions.limitRefusals, () => {
    const refused: [limit: LimitName | 'strangerConnectionsPerSource' | RefusedReview, count: number][] = [
      ...limits.refusedBy(),
      ['strangerConnectionsPerSource', connections().refused],
      ['strangerRequestsPerSource', tokens.counts.refusedWaiting],
      ['tokenReviews', tokens.counts.refusedReviews],
      ['accessReviews', authorizer.counts.refused],
    ];
    return refused.map(([limit, count]) => [{ limit }, count] as const);
  });
}

type RefusedReview = 'strangerRequestsPerSource' | 'tokenReviews' | 'accessReviews';

function readAudit(registry: Registry, { audit }: MetricSources): void {
  const sum = (): number =>
    [...audit.counts().values()].reduce((total, { written, dropped }) => total + written + dropped, 0);
  registry.readOne(definitions.auditEvents, sum);
  registry.read(definitions.auditErrors, () =>
    [...audit.counts()].map(([plugin, { dropped }]) => [{ plugin }, dropped] as const),
  );
  registry.read(definitions.auditSinkEvents, () =>
    [...audit.counts()].flatMap(([sink, { written, dropped }]) => [
      [{ sink, result: 'written' }, written] as const,
      [{ sink, result: 'dropped' }, dropped] as const,
    ]),
  );
}

const caBundleStates = ['current', 'foreign', 'unwritten', 'off'] as const;

function readCertificates(registry: Registry, { certificates, accountTokens }: MetricSources): void {
  registry.read(definitions.certificateExpiration, () => {
    const ends = [...certificates.expiry].map(([name, { notAfterMs }]): [string, number] => [name, notAfterMs]);
    for (const [account, token] of accountTokens) {
      if (token?.expiresAtMs !== undefined) ends.push([`${account}-token`, token.expiresAtMs]);
    }
    return ends.map(([certificate, endMs]) => [{ certificate }, endMs / 1000] as const);
  });
  registry.read(definitions.certificateReloads, () => {
    const { reloads, reloadFailures } = certificates.counts;
    return (['serving', 'kubelet-client'] as const).flatMap((certificate) => [
      [{ certificate, result: 'success' }, reloads[certificate]] as const,
      [{ certificate, result: 'failure' }, reloadFailures[certificate]] as const,
    ]);
  });
  registry.read(definitions.certificateStale, () =>
    Object.entries(certificates.isStale).map(([certificate, isStale]) => [{ certificate }, isStale ? 1 : 0] as const),
  );
  registry.read(definitions.certificateRenewals, () => [
    [{ result: 'success' }, certificates.counts.renewals],
    [{ result: 'failure' }, certificates.counts.renewalFailures],
  ]);
  registry.read(definitions.caBundle, () =>
    caBundleStates.map((state) => [{ state }, certificates.caBundle === state ? 1 : 0] as const),
  );
  registry.read(definitions.tokenRequests, () =>
    [...accountTokens].flatMap(([account, token]) => {
      const { requested, failed } = token?.counts ?? { requested: 0, failed: 0 };
      return [
        [{ account, result: 'success' }, requested - failed] as const,
        [{ account, result: 'failure' }, failed] as const,
      ];
    }),
  );
}
