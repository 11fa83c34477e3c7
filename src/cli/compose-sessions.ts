// The sessions' part of the object graph: the resource, and what lets several kexers show each other's. Without --peer-service only this
// process's own are shown, and nothing of the rest is made.

import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';

import { TokenAuthenticator } from '../auth/token-authenticator.ts';
import { KexerError } from '../base/errors.ts';
import { RotatedFile } from '../clusters/kubelet-access.ts';
import type { Config } from '../config/schema.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Reviews } from '../kube/reviews.ts';
import { fileToken } from '../kube/sources.ts';
import * as lines from '../observe/log-lines.ts';
import type { Redactor } from '../observe/redact.ts';
import type { ClusterSessions } from '../server/clusters-resource.ts';
import { Peers } from '../server/peers.ts';
import { PeerClient } from '../server/peers-client.ts';
import { PeerDirectory } from '../server/peers-directory.ts';
import { PeersEndpoint } from '../server/peers-endpoint.ts';
import { peerAudience } from '../server/peers-messages.ts';
import { SessionsFeed } from '../server/sessions-feed.ts';
import { SessionsResource } from '../server/sessions-resource.ts';

import type { ComposeDeps } from './compose.ts';

/** Reviews of peers' tokens: each kexer shows one token, and each answer is remembered for ten seconds. */
const maxReviews = 20;
const maxReviewsPerSource = 5;
const maxWaitingPerSource = 100;

export interface ComposedSessions {
  /** Observes the registry. */
  readonly feed: SessionsFeed;
  readonly resource: SessionsResource;
  /** How many there are in a cluster. */
  readonly counts: ClusterSessions;
  /** Answers other kexers; undefined: there are none. */
  readonly endpoint: PeersEndpoint | undefined;
}

export interface SessionParts {
  /** Kexer's own, for EndpointSlices. */
  readonly own: KubeClient;
  readonly reviews: Pick<Reviews, 'reviewToken' | 'reviewAccess'>;
  readonly redactor: Redactor;
  /** The authority of the serving certificate; undefined while it is not known. */
  readonly serving: { readonly ca: string | undefined };
}

/** @throws KexerError config */
export async function composeSessions(
  deps: ComposeDeps,
  config: Config,
  parts: SessionParts,
): Promise<ComposedSessions> {
  const { clock, log, scope } = deps;
  const replica = config.peers.name ?? hostname();
  const feed = new SessionsFeed({ clock, redactor: parts.redactor }, { replica });
  const group = await composePeers(deps, config, parts, feed, replica);
  const resource = new SessionsResource({
    clock,
    sessions: feed,
    peers: group?.peers,
    onDeleted: (fields) => lines.sessionDeleted(log, fields),
  });
  scope.add(() => resource.stop());
  const counts: ClusterSessions = {
    countIn: (clusterNamespace, cluster) => feed.countIn(clusterNamespace, cluster),
    refresh: async (namespace) => (await group?.peers.refresh(namespace, { isBrief: true })) ?? [],
  };
  return { feed, resource, counts, endpoint: group?.endpoint };
}

async function composePeers(
  { clock, log, scope, version }: ComposeDeps,
  config: Config,
  { own, reviews, serving }: SessionParts,
  sessions: SessionsFeed,
  ownName: string,
): Promise<{ peers: Peers; endpoint: PeersEndpoint } | undefined> {
  const { service: place, tokenFile } = config.peers;
  if (place === undefined || tokenFile === undefined) return undefined;
  const [namespace = '', service = ''] = place.split('/');
  const token = fileToken({ clock }, tokenFile);
  // Read once now, so that a file that is missing stops the start and not the first question.
  await token.read();
  const client = new PeerClient(
    { clock, token, authority: authorityOf({ clock }, config, serving) },
    { servername: `${service}.${namespace}.svc`, userAgent: `kexer/${version}` },
  );
  scope.add(() => client.close());
  const instance = randomUUID();
  const peers = new Peers(
    {
      clock,
      client,
      sessions,
      directory: new PeerDirectory({ client: own, clock }, { namespace, service, ownName }),
      onTrouble: (peer, err) => lines.peerNotAsked(log, { peer, err }),
    },
    { instance },
  );
  const tokens = new TokenAuthenticator(
    { clock, reviews: { reviewToken: (text) => reviews.reviewToken(text, peerAudience) } },
    {
      maxInFlight: maxReviews,
      maxInFlightPerSource: maxReviewsPerSource,
      maxWaitingPerSource,
    },
  );
  const endpoint = new PeersEndpoint(
    { sessions, tokens, ownToken: token, onEnded: (fields) => lines.sessionEndedForPeer(log, fields) },
    { instance },
  );
  return { peers, endpoint };
}

/** Whom the certificates of the others are to be signed by. @throws KexerError config if nothing can ever say so. */
function authorityOf(
  deps: Pick<ComposeDeps, 'clock'>,
  config: Config,
  serving: SessionParts['serving'],
): { readonly text: string } {
  const { caFile } = config.peers;
  if (caFile !== undefined) return new RotatedFile(deps, { file: caFile, setting: '--peer-ca-file' });
  const { tlsCertFile } = config.server;
  if (tlsCertFile !== undefined && serving.ca === undefined) {
    const file = join(dirname(tlsCertFile), 'ca.crt');
    throw new KexerError(
      'config',
      `Cannot verify other kexers: there is no ${JSON.stringify(file)}, want --peer-ca-file FILE or a ca.crt beside --tls-cert-file`,
    );
  }
  return {
    // All replicas serve by the same Secret. Empty until it has been read: then nobody is trusted.
    get text() {
      return serving.ca ?? '';
    },
  };
}
