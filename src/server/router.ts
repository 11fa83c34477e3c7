// Where an authorised request goes: kexer's own paths, the streams of pods, or the cluster's apiserver. The end of the pipeline.

import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Call } from '../clusters/call.ts';
import type { ClusterDirectory } from '../clusters/directory.ts';
import { clustersResource } from '../clusters/directory.ts';
import { badRequest, StatusError, unknownResource } from '../kube/status.ts';
import { noAudit } from '../observe/audit/call-audit.ts';
import { noStages } from '../observe/stages.ts';
import { forwardUpgrade } from '../rest/forward-upgrade.ts';
import { forward } from '../rest/forward.ts';
import type { StreamHandler } from '../streams/handler.ts';
import { type Announced, announceSession } from '../streams/announce.ts';
import { basisOf } from '../streams/session-rights.ts';
import type { Session, SessionSubject } from '../streams/session.ts';

import { pageNotFound, sendAnswer, statusAnswer, type Answer } from './answer.ts';
import { discoveryAnswer } from './discovery.ts';
import type { Health } from './health.ts';
import type { MetricsAnswers } from './metrics-answers.ts';
import { readBody } from './own-body.ts';
import type { PeersEndpoint } from './peers-endpoint.ts';
import type { Route } from './pipeline.ts';
import type { Exchange, RequestContext } from './request-context.ts';
import { isLongRunning } from './request-limits.ts';
import type { RequestPath } from './request-path.ts';
import type { OwnResource } from './resource-answers.ts';
import type { VersionInfo } from './version-info.ts';

export interface RouterDeps {
  readonly clock: Clock;
  readonly directory: ClusterDirectory;
  readonly streams: Pick<StreamHandler, 'handles' | 'handleUpgrade' | 'handleRequest' | 'sessions'>;
  /** By name: kexer's own resources. */
  readonly resources: ReadonlyMap<string, OwnResource>;
  /** Answers other kexers; left out: there are none. */
  readonly peers?: Pick<PeersEndpoint, 'handles' | 'answer'> | undefined;
  readonly health: Health;
  readonly version: VersionInfo;
  /** /metrics; left out: there are none. */
  readonly metrics?: MetricsAnswers;
  /** Of an ordinary call; what goes to a proxy subresource is another server's to bound. 0: no limit. */
  readonly maxBodyBytes: number;
}

export function createRoute(deps: RouterDeps): Route {
  return async (context) => {
    const { path, arrival, exchange } = context;
    if (path.kind === 'own' && deps.peers?.handles(context) === true) {
      const readOrder = (maxBytes: number): Promise<Buffer> => readBody(exchange.request, maxBytes);
      sendAnswer(deps, exchange, await deps.peers.answer(context, path.query, readOrder), arrival.auditId);
      return;
    }
    if (path.kind === 'own') {
      const metrics = deps.metrics?.answer(path.info.path, arrival);
      if (metrics !== undefined) {
        sendAnswer(deps, exchange, await metrics, arrival.auditId);
        return;
      }
      if (path.info.isResourceRequest) await answerResource(deps, path, context);
      else sendAnswer(deps, exchange, ownAnswer(deps, path, context), arrival.auditId);
      return;
    }
    const call = await callOf(deps, path, context);
    if (exchange.kind === 'upgrade') {
      if (deps.streams.handles(call)) {
        // Not awaited: what is in reach here would live as long as the session.
        return deps.streams.handleUpgrade(call, exchange.request, exchange.socket, exchange.head);
      }
      return relayUpgrade(deps, call, exchange);
    } else if (deps.streams.handles(call)) {
      await deps.streams.handleRequest(call, exchange.request, exchange.response);
    } else {
      const maxBodyBytes = isLongRunning(call.inner.info) ? 0 : deps.maxBodyBytes;
      await forward(call, exchange.request, exchange.response, { maxBodyBytes });
    }
  };
}

/** An upgrade whose protocol is not kexer's: listed as a session like every stream, once both sides have switched. */
async function relayUpgrade(deps: RouterDeps, call: Call, exchange: Exchange & { kind: 'upgrade' }): Promise<void> {
  const { sessions } = deps.streams;
  let announced: Announced | undefined;
  let session: Session | undefined;
  let reason: string | undefined;
  const end = await forwardUpgrade(
    {
      clock: deps.clock,
      beforeSwitch: async (protocol, backend) => {
        announced = await announceSession(call, upgradeSubject(call, protocol), backend, 101);
      },
      onSwitched: (protocol) => {
        const end = (message: string): void => {
          // Its protocol is not kexer's to speak, so the client cannot be told; that it is no orderly end is seen by TLS.
          reason = message;
          exchange.socket.destroy();
        };
        session = sessions.open(upgradeSubject(call, protocol), end, announced, basisOf(call));
      },
      onBytes: (to, length) => {
        if (to === 'b') session?.countIn(length);
        else session?.countOut(length);
      },
      onJoined: ({ a, b }) => session?.shape({ in: a, out: b }),
    },
    call,
    exchange.request,
    exchange.socket,
    exchange.head,
  );
  if (session === undefined || end === undefined) return;
  const message = end.error === undefined ? 'both sides ended it' : describeError(end.error);
  sessions.finish(
    session,
    reason === undefined
      ? { cause: end.failedSide === 'a' ? 'clientGone' : 'normal', message }
      : { cause: 'ended', message: reason },
  );
}

function upgradeSubject(call: Call, protocol: string): SessionSubject {
  const { info } = call.inner;
  return {
    kind: 'upgrade',
    user: call.identity.effectiveUser,
    originalUser: call.caller.user,
    clusterNamespace: call.clusterNamespace,
    cluster: call.cluster.name,
    namespace: info.namespace,
    pod: info.resource === 'pods' ? info.name : '',
    podUid: '',
    container: '',
    node: '',
    command: [],
    clientProtocol: protocol,
    kubeletProtocol: '',
    remoteAddress: call.remoteAddress,
    auditId: call.auditId,
  };
}

/** The call as the rest of kexer sees it. The caller may reach the cluster by now; an unknown one is told only to them. */
async function callOf(
  deps: RouterDeps,
  path: RequestPath & { kind: 'cluster' },
  context: RequestContext,
): Promise<Call> {
  const { arrival, caller, ticket, observed } = context;
  const cluster = deps.directory.find(path.namespace, path.cluster);
  const identity = await cluster.identify(caller, arrival.headers, path.inner.info);
  context.identity = identity;
  const countAsEffective = (): void => ticket?.countAs(identity.effectiveUser.name);
  if (identity.isEffectiveProven) countAsEffective();
  const { id, method, httpVersion, isUpgrade, remoteAddress, auditId, signal, receivedAtMs } = arrival;
  const audit = context.audit ?? noAudit;
  return {
    id,
    caller,
    clusterNamespace: path.namespace,
    cluster,
    identity,
    method,
    inner: path.inner,
    headers: observed?.headers(arrival.headers) ?? arrival.headers,
    httpVersion,
    isUpgrade,
    remoteAddress,
    auditId,
    signal,
    receivedAtMs,
    // An ordinary call is as good as over when its answer comes, and may have changed something: nothing is left to count or refuse.
    audit: observed?.audit(audit) ?? audit,
    stages: observed?.stages ?? noStages,
    accepted: ticket?.kind === 'requests' ? () => {} : countAsEffective,
  };
}

/** A resource of kexer's own group; what is of no other group is here either. */
async function answerResource(
  deps: RouterDeps,
  { info, query }: RequestPath & { kind: 'own' },
  { arrival, exchange, caller, acting, actingUser: user }: RequestContext,
): Promise<void> {
  const isOurs = info.apiGroup === clustersResource.group && info.apiVersion === clustersResource.version;
  const resource = deps.resources.get(info.resource);
  const { headers, remoteAddress, auditId, signal } = arrival;
  if (!isOurs || resource === undefined) {
    sendAnswer(deps, exchange, isOurs ? statusAnswer(unknownResource()) : pageNotFound, auditId);
    return;
  }
  const answer = await resource.answer({
    info,
    query,
    headers,
    user,
    originalUser: acting === undefined ? undefined : caller.user,
    remoteAddress,
    auditId,
    signal,
    readBody: (maxBytes) => readBody(exchange.request, maxBytes),
  });
  if (!('run' in answer)) sendAnswer(deps, exchange, answer, auditId);
  else if (exchange.kind === 'request') await answer.run(exchange.response);
  else throw new StatusError(badRequest('this watch is not served over WebSocket'));
}

/** Kexer's own paths that name no resource. OpenAPI is answered 404: that is how an API server quietly has none. */
function ownAnswer(
  deps: RouterDeps,
  path: RequestPath & { kind: 'own' },
  { arrival, callerIfKnown }: RequestContext,
): Answer {
  const { info, query } = path;
  return (
    deps.health.answer(info.path, query, callerIfKnown !== undefined) ??
    deps.version.answer(info.path) ??
    discoveryAnswer(info.path, arrival.method, arrival.headers) ??
    pageNotFound
  );
}
