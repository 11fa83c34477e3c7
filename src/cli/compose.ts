// The object graph of `kexer serve`, and the only place that builds it. Everything that must be closed is registered in a scope on the line
// after it was opened; everything an operator may have got wrong (a file, an address) fails here, before the first request.

import { Authenticator } from '../auth/authenticate.ts';
import { Authorizer } from '../auth/authorize.ts';
import { OutgoingIdentities } from '../auth/outgoing.ts';
import { TokenAuthenticator } from '../auth/token-authenticator.ts';
import { TrustWatch } from '../auth/trust.ts';
import type { Clock } from '../base/clock.ts';
import type { Scope } from '../base/scope.ts';
import { CertificateStats } from '../certs/certificate-stats.ts';
import type { NodeObject } from '../clusters/cluster.ts';
import { AdmissionWatch } from '../clusters/admission-watch.ts';
import { type ClusterDirectory, clustersResource } from '../clusters/directory.ts';
import { LocalCluster } from '../clusters/local-cluster.ts';
import { projectNode } from '../clusters/node-object.ts';
import { LocalStreamRoute } from '../clusters/stream-route.ts';
import type { Config } from '../config/schema.ts';
import { KubeClient } from '../kube/client.ts';
import type { Credential } from '../kube/credential.ts';
import { loadInCluster } from '../kube/in-cluster.ts';
import { Informer } from '../kube/informer.ts';
import { loadKubeconfig } from '../kube/kubeconfig.ts';
import { Reviews } from '../kube/reviews.ts';
import { rightMissing, trustMissing } from '../observe/certificate-lines.ts';
import * as lines from '../observe/log-lines.ts';
import type { Logger } from '../observe/logger.ts';
import { ActingUsers } from '../server/acting-user.ts';
import { createFilters } from '../server/filters.ts';
import { Health } from '../server/health.ts';
import { LoadNotes } from '../server/load-notes.ts';
import { RequestAudits } from '../server/request-audit.ts';
import { RequestLimits, requestLimitOptions } from '../server/request-limits.ts';
import type { OwnResource } from '../server/resource-answers.ts';
import { createRoute } from '../server/router.ts';
import { Server } from '../server/server.ts';
import { sessionsResource } from '../server/sessions-object.ts';
import { Shutdown } from '../server/shutdown.ts';
import { VersionInfo } from '../server/version-info.ts';
import { Bandwidth } from '../streams/bandwidth.ts';
import { type DetourEvent, Detours } from '../streams/detour.ts';
import { StreamHandler } from '../streams/handler.ts';
import { SpareKubelets } from '../streams/spare-kubelets.ts';
import { PodWatches } from '../streams/pod-watch.ts';
import { joinObservers, SessionRegistry } from '../streams/registry.ts';
import { RightsWatch } from '../streams/rights-watch.ts';
import { SessionExpiry } from '../streams/session-expiry.ts';
import { SessionLimits } from '../streams/session-limits.ts';

import { composeAudit } from './compose-audit.ts';
import { composeClusters } from './compose-clusters.ts';
import { composeMetrics } from './compose-metrics.ts';
import { composeServing } from './compose-certs.ts';
import { composeImpersonator } from './compose-impersonator.ts';
import { composeKubelet } from './compose-kubelet.ts';
import { composeSessions } from './compose-sessions.ts';

export interface ComposeDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** Owns whatever is opened. Closing it stops the server in order. */
  readonly scope: Scope;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly version: string;
}

/** A kexer that serves. */
export interface RunningKexer {
  readonly port: number;
  /** How many streams took the detour, and why. */
  readonly detours: Pick<Detours, 'counts'>;
  /** What is under way, and what was refused. */
  readonly limits: Pick<RequestLimits, 'counts'>;
  /** The clusters that Secrets name. */
  readonly clusters: Pick<ClusterDirectory, 'secrets' | 'onSecretChange'>;
  /** How rights of running sessions were verified. */
  readonly rights: Pick<RightsWatch, 'counts' | 'size'>;
  /** Tokens of the impersonator that kexer asked for; undefined if it asks for none. */
  readonly impersonatorTokens: { readonly counts: { readonly requested: number; readonly failed: number } } | undefined;
  /** The certificates in use, for metrics. */
  readonly certificates: CertificateStats;
  /** Resolves when /readyz would say ok for the first time. */
  readonly whenReady: (signal: AbortSignal) => Promise<void>;
  /** Cuts the waiting short that closing the scope takes. */
  readonly hurry: () => void;
}

/** TokenReviews under way at once; a stranger's tokens can cause no more. */
const maxTokenReviews = 100;
/** The ConfigMap of kube-system, and the name of its informer. */
const trustName = 'extension-apiserver-authentication';
/** Of one address, behind which may be a load balancer with everybody: half, so that the other half is left to others. */
const maxTokenReviewsPerSource = 50;

/** @throws KexerError config with one sentence that names the setting, what was seen and what is wanted. */
export async function composeServer(deps: ComposeDeps, config: Config): Promise<RunningKexer> {
  const { clock, log, scope, environment, version } = deps;
  const userAgent = `kexer/${version}`;
  const access =
    config.kubeconfig === undefined
      ? await loadInCluster({ clock }, { environment })
      : await loadKubeconfig({ clock }, { file: config.kubeconfig, environment });
  const isHttp2Used = config.apiserver.http2;
  const clientOf = (credential: Credential): KubeClient => {
    const client = new KubeClient({ clock }, { endpoint: access.endpoint, credential, userAgent, isHttp2Used });
    scope.add(() => client.close());
    return client;
  };
  // First, so that it ends last: the end of a session is an event too.
  const auditLog = await composeAudit(deps, config.audit);
  const metrics = await composeMetrics(deps, config);
  const own = clientOf(access.credential);
  const bare = clientOf({ kind: 'none' });
  const impersonation = await composeImpersonator({ clock, log, own }, config.identity);
  const impersonator = impersonation === undefined ? undefined : clientOf(impersonation.credential);
  const certificates = new CertificateStats();
  const kubelet = await composeKubelet(deps, config, { access, own, certificates });
  const notes = new LoadNotes({ onMissing: (part, missing) => rightMissing(log, { part, missing }) });
  const informerFailed = (informer: string, err: unknown, name?: string): void => {
    lines.informerFailed(log, { informer, err });
    notes.failed(informer, err, name);
  };
  const namespace = config.kubeconfig === undefined ? access.namespace : undefined;
  const serving = await composeServing(deps, config, { own, namespace, stats: certificates, notes });

  const reviews = metrics.observedReviews(new Reviews({ client: own, clock }));
  const trust = new TrustWatch({
    client: own,
    clock,
    onError: (err) => informerFailed(trustName, err, trustName),
    onProblem: (problem) => lines.trustProblem(log, { problem }),
    onMissing: () => {
      trustMissing(log);
      notes.note(trustName, 'the ConfigMap kube-system/extension-apiserver-authentication is missing');
    },
  });
  const tokens = new TokenAuthenticator(
    { reviews, clock },
    {
      maxInFlight: maxTokenReviews,
      maxInFlightPerSource: maxTokenReviewsPerSource,
      maxWaitingPerSource: config.limits.strangerRequestsPerSource,
    },
  );
  const authenticator = new Authenticator({ trust, tokens, clock });
  const authorizer = new Authorizer({ reviews, clock });
  const identities = new OutgoingIdentities({ authorizer }, config.identity);
  const nodes = new Informer<NodeObject>(
    { client: own, clock },
    {
      path: '/api/v1/nodes',
      project: projectNode,
      onError: (err) => informerFailed('nodes', err),
    },
  );
  const isDirect = config.streams.local === 'kubelet';
  const admission = new AdmissionWatch({
    client: own,
    clock,
    onError: (informer, err) => informerFailed(informer, err),
  });
  const streamRoute = new LocalStreamRoute({ admission, nodes }, { streams: config.streams.local });
  const local = new LocalCluster({
    clock,
    own,
    bare,
    impersonator,
    onImpersonatorRefused: impersonation?.refused,
    identities,
    nodes,
    kubelet: kubelet.access,
    streamRoute,
    remoteHeaderNames: () => remoteHeaderNames(trust),
  });
  const servingCertificate = (): string => serving.current.cert;
  const clusters = composeClusters(deps, config, {
    own,
    local,
    authorizer,
    remoteHeaderNames: () => remoteHeaderNames(trust),
    servingCertificate,
  });
  const { directory } = clusters;
  const limits = new SessionLimits(
    { clock },
    { idleTimeoutMs: config.sessions.idleTimeout, maxDurationMs: config.sessions.maxDuration },
  );
  const { recheckInterval: intervalMs, maxUnverified: maxUnverifiedMs, endOnExpiry } = config.sessions;
  const rights = new RightsWatch({ clock, reviews, observer: lines.rightsLines(log) }, { intervalMs, maxUnverifiedMs });
  scope.add(() => rights.stop());
  const expiry = new SessionExpiry({ clock }, { endOnExpiry });
  const bandwidth = { perUser: config.limits.bytesPerSecondPerUser, total: config.limits.bytesPerSecond };
  const shown = await composeSessions(deps, config, { own, reviews, redactor: auditLog.redactor, serving });
  const sessions = new SessionRegistry({
    clock,
    observer: joinObservers(
      lines.sessionLines(log),
      metrics.sessions,
      limits,
      rights,
      expiry,
      shown.feed,
      clusters.observer,
    ),
    bandwidth: bandwidth.perUser + bandwidth.total === 0 ? undefined : new Bandwidth({ clock }, bandwidth),
  });
  const pods = new PodWatches({
    clock,
    onForbidden: (err) => lines.podWatchForbidden(log, err),
    onOutage: (err) => lines.informerFailed(log, { informer: 'pods with sessions', err }),
  });
  scope.add(() => pods.stop());
  const detours = new Detours({ onDetour: (event) => lines.streamDetoured(log, detourFields(event)) });
  const kubelets = new SpareKubelets({ clock }, { lifetimeMs: config.kubelet.spareConnection });
  scope.add(() => kubelets.close());
  const streams = new StreamHandler(
    {
      clock,
      sessions,
      pods,
      authorizer,
      detours,
      kubelets,
      onDefect: (err) => lines.defect(log, { where: 'streams', err }),
    },
    { version },
  );
  const shutdown = new Shutdown();
  const health = new Health({ shutdown }, [
    { name: 'authentication-config', isHealthy: () => trust.hasLoaded, reason: () => notes.reason(trustName) },
    { name: 'node-informer', isHealthy: () => nodes.hasSynced, reason: () => notes.reason('nodes') },
    // Not that they have synced: without them streams take the detour, which needs no kubelet.
    {
      name: 'admission-informers',
      isHealthy: () => !isDirect || admission.hasTried,
      reason: () => 'not looked at yet',
    },
    ...serving.checks,
  ]);
  const resources = new Map<string, OwnResource>([
    [clustersResource.resource, clusters.join(sessions, shown.counts)],
    [sessionsResource.resource, shown.resource],
  ]);
  const maxBodyBytes = config.limits.bodyBytes;
  const versionInfo = new VersionInfo(version);
  const route = createRoute({
    clock,
    directory,
    streams,
    resources,
    peers: shown.endpoint,
    health,
    version: versionInfo,
    metrics: metrics.answers,
    maxBodyBytes,
  });
  const requestLimits = new RequestLimits(
    { clock, eventLoopDelayMs: metrics.eventLoopDelayMs },
    requestLimitOptions(config.limits),
  );
  const audit = new RequestAudits({ clock, log: auditLog });
  const filters = createFilters({
    authenticator,
    authorizer,
    limits: requestLimits,
    acting: new ActingUsers({ identities, cluster: local }),
    shutdown,
    mark: clusters.mark,
    peers: shown.endpoint,
    audit,
  });
  const { shutdownDelay: delayMs, shutdownGracePeriod: gracePeriodMs } = config.server;
  const server = new Server(
    { clock, log, filters, route, shutdown, sessions, audit, observer: metrics.observer },
    {
      pair: serving.current,
      drain: { delayMs, gracePeriodMs },
      maxHeaderBytes: config.limits.headerBytes,
      maxStrangersPerSource: config.limits.strangerConnectionsPerSource,
    },
  );
  serving.onChange((pair) => {
    server.replacePair(pair);
  });

  metrics.readFrom({
    sessions,
    clusters: directory,
    requests: () => server.running(),
    tokens,
    authorizer,
    limits: requestLimits,
    connections: () => server.connections,
    detours,
    rights,
    pods,
    audit: auditLog,
    certificates,
    accountTokens: new Map([
      ['impersonator', impersonation?.tokens],
      ['kubelet', kubelet.tokens],
    ]),
    readiness: () => health.readiness(),
  });

  const port = await server.listen({ host: config.server.bindAddress, port: config.server.securePort });
  // Registered before the server, so they end after it: it serves on for a while when it is told to stop.
  scope.add(() => trust.stop());
  scope.add(() => nodes.stop());
  scope.add(() => admission.stop());
  scope.add(() => server.stop());
  // Informers start last: until they have synced, /readyz says so and everybody without a token is refused.
  trust.start();
  nodes.start();
  clusters.start();
  void impersonation?.start();
  // When nothing goes straight to a kubelet, nobody asks what may be mutated.
  if (isDirect) admission.start();
  const whenReady = async (signal: AbortSignal): Promise<void> => {
    await Promise.all([
      trust.whenLoaded(signal),
      nodes.whenSynced(signal),
      isDirect ? admission.whenTried(signal) : undefined,
      serving.whenReady(signal),
    ]);
  };
  return {
    port,
    detours,
    clusters: directory,
    limits: requestLimits,
    rights,
    impersonatorTokens: impersonation?.tokens,
    certificates,
    whenReady,
    hurry: () => server.hurry(),
  };
}

/** What a line tells of a detour. */
function detourFields({ call, kind, detour }: DetourEvent): Parameters<typeof lines.streamDetoured>[1] {
  const { id, cluster, identity, inner, remoteAddress, auditId } = call;
  const { namespace, name: pod } = inner.info;
  const user = identity.effectiveUser.name;
  const name = cluster.kind === 'local' ? cluster.name : `${call.clusterNamespace}/${cluster.name}`;
  return { id, kind, ...detour, user, cluster: name, namespace, pod, remoteAddress, auditId };
}

function remoteHeaderNames(trust: TrustWatch): { names: string[]; prefixes: string[] } {
  const { requestHeader } = trust.current;
  if (requestHeader === undefined) return { names: [], prefixes: [] };
  return {
    names: [...requestHeader.usernameHeaders, ...requestHeader.uidHeaders, ...requestHeader.groupHeaders],
    prefixes: [...requestHeader.extraPrefixes],
  };
}
