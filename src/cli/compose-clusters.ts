// Clusters' part of the object graph: the one kexer runs in, and those that Secrets name where settings allow any.

import type { Authorizer } from '../auth/authorize.ts';
import type { RemoteHeaderNames } from '../auth/outgoing-headers.ts';
import type { Cluster } from '../clusters/cluster.ts';
import { ClusterDirectory, type ClusterDirectoryDeps } from '../clusters/directory.ts';
import { OwnMark } from '../clusters/own-mark.ts';
import { RemoteCluster } from '../clusters/remote-cluster.ts';
import { SecretWatch } from '../clusters/secret-watch.ts';
import type { Config } from '../config/schema.ts';
import type { KubeClient } from '../kube/client.ts';
import { AllowedEndpoints } from '../net/allowed-endpoints.ts';
import * as lines from '../observe/log-lines.ts';
import { type ClusterSessions, ClustersResource } from '../server/clusters-resource.ts';
import type { SessionObserver, SessionRegistry } from '../streams/registry.ts';
import type { Session } from '../streams/session.ts';

import { composeClusterProxy } from './compose-cluster-proxy.ts';
import type { ComposeDeps } from './compose.ts';

export interface ClusterParts {
  /** Kexer's own client: reads Secrets. */
  readonly own: KubeClient;
  readonly local: Cluster;
  readonly authorizer: Pick<Authorizer, 'authorize'>;
  readonly remoteHeaderNames: () => RemoteHeaderNames;
  /** The current serving certificate, PEM. */
  readonly servingCertificate: () => string;
}

export interface ComposedClusters {
  readonly directory: ClusterDirectory;
  /** Knows its own calls again. */
  readonly mark: OwnMark;
  /** Ends sessions that begin in a cluster that has just gone. */
  readonly observer: SessionObserver;
  /** The rest, once there are sessions. @param counts of all replicas. */
  join(sessions: SessionRegistry, counts: ClusterSessions): ClustersResource;
  /** Reads Secrets from now on. Nothing waits for them. */
  start(): void;
}

export function composeClusters(deps: ComposeDeps, config: Config, parts: ClusterParts): ComposedClusters {
  const { clock, log, scope, version } = deps;
  const { own, local, authorizer, remoteHeaderNames, servingCertificate } = parts;
  const { namespaces, allowedEndpoints } = config.clusters;
  const { url, ca } = own.endpoint;
  const mark = new OwnMark({ installation: `${url}\n${ca ?? ''}`, servingCertificate });
  const guard = new AllowedEndpoints(allowedEndpoints);
  const proxyFor = composeClusterProxy(deps, config.clusters);
  const running: { sessions: SessionRegistry | undefined } = { sessions: undefined };
  const secrets =
    namespaces.length === 0
      ? undefined
      : new SecretWatch(
          {
            client: own,
            clock,
            onError: (namespace, err) => lines.informerFailed(log, { informer: `clusters in ${namespace}`, err }),
            onShadow: (namespace) => lines.clusterSecretIgnored(log, { namespace }),
          },
          { namespaces },
        );
  const remote = (secrets: SecretWatch): NonNullable<ClusterDirectoryDeps['remote']> => ({
    secrets,
    make: ({ namespace, name }, spec) =>
      new RemoteCluster(
        {
          clock,
          authorizer,
          guard,
          proxyFor,
          mark,
          isHttp2Used: config.apiserver.http2,
          remoteHeaderNames,
          current: () => currentOf(directory, namespace, name),
          onError: (cluster, informer, err) => lines.informerFailed(log, { informer: `${cluster}: ${informer}`, err }),
        },
        {
          namespace,
          name,
          spec,
          userAgent: `kexer/${version}`,
          preferredAddressTypes: config.kubelet.preferredAddressTypes,
        },
      ),
    onGone: (namespace, name) => {
      for (const session of running.sessions?.list() ?? []) {
        const { clusterNamespace, cluster } = session.subject;
        if (clusterNamespace === namespace && cluster === name) session.end(goneText(session), 'clusterRemoved');
      }
    },
  });
  const directory = new ClusterDirectory({ local, ...(secrets === undefined ? {} : { remote: remote(secrets) }) });
  scope.add(() => directory.close());
  if (secrets !== undefined) scope.add(() => secrets.stop());
  return {
    directory,
    mark,
    observer: {
      sessionStarted: (session) => {
        const { clusterNamespace, cluster } = session.subject;
        // It was opened while the Secret was being deleted. Not at once: its legs are joined after this.
        if (!directory.has(clusterNamespace, cluster)) {
          clock.after(0, () => session.end(goneText(session), 'clusterRemoved'));
        }
      },
      sessionEnded: () => {},
    },
    join: (sessions, counts) => {
      running.sessions = sessions;
      const resource = new ClustersResource(
        { clock, directory, sessions: counts },
        { endpoint: url, streams: config.streams.local },
      );
      scope.add(() => resource.stop());
      return resource;
    },
    start: () => secrets?.start(),
  };
}

/** What the name means now; undefined: nothing, or nothing that can be used. */
function currentOf(directory: ClusterDirectory, namespace: string, name: string): Cluster | undefined {
  try {
    return directory.find(namespace, name);
  } catch {
    return undefined; // whoever calls it is told why; here only another one is looked for
  }
}

function goneText({ subject }: Session): string {
  return `the cluster ${subject.clusterNamespace}/${subject.cluster} was removed: its Secret was deleted`;
}
