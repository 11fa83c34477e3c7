// The filters of the pipeline in their order: request info, loop, audit, shutdown, authenticate, limits, impersonate, authorize. Each is small and
// knows only the context.

import type { Authenticator } from '../auth/authenticate.ts';
import type { AccessQuestion, Authorizer } from '../auth/authorize.ts';
import { KexerError } from '../base/errors.ts';
import { clustersResource } from '../clusters/directory.ts';
import type { OwnMark } from '../clusters/own-mark.ts';
import type { RequestInfo } from '../kube/request-info.ts';
import { type CallStages, noStages } from '../observe/stages.ts';

import type { ActingUsers } from './acting-user.ts';
import { asksForReasons } from './health.ts';
import type { PeersEndpoint } from './peers-endpoint.ts';
import type { Filter } from './pipeline.ts';
import type { RequestContext } from './request-context.ts';
import type { RequestAudits } from './request-audit.ts';
import type { RequestLimits } from './request-limits.ts';
import { parseRequestPath } from './request-path.ts';
import type { Shutdown } from './shutdown.ts';

/** Open to everybody, exactly; a path below them is not. */
const openPaths = new Set(['/livez', '/readyz', '/healthz', '/version']);

/** The stages in their only order: nothing is authorised before it is authenticated, nothing read before the path has one reading. */
export function createFilters(deps: {
  authenticator: Pick<Authenticator, 'authenticate'>;
  authorizer: Pick<Authorizer, 'authorize'>;
  limits: Pick<RequestLimits, 'admit'>;
  acting: Pick<ActingUsers, 'wanted' | 'become'>;
  shutdown: Shutdown;
  /** By which kexer knows its own calls again. */
  mark?: Pick<OwnMark, 'refuseOwn'>;
  /** Other kexers; left out: there are none. */
  peers?: Pick<PeersEndpoint, 'handles' | 'authenticate'> | undefined;
  audit: Pick<RequestAudits, 'begin'>;
}): readonly Filter[] {
  return [
    requestInfoFilter(),
    ...(deps.mark === undefined ? [] : [loopFilter(deps.mark)]),
    auditFilter(deps.audit),
    shutdownFilter(deps.shutdown),
    ...(deps.peers === undefined ? [] : [authenticatePeerFilter(deps.peers)]),
    authenticateFilter(deps.authenticator),
    auditUserFilter(),
    limitsFilter(deps.limits),
    impersonateFilter(deps.acting),
    authorizeFilter(deps.authorizer),
  ];
}

/** Refuses everything but what tells about this process: probes go on while sessions run to their end. */
function shutdownFilter(shutdown: Shutdown): Filter {
  return {
    name: 'shutdown',
    apply({ path }) {
      if (!shutdown.isRefusing) return;
      const isAboutProcess = path.kind === 'own' && !/^\/(?:apis|openapi)(?:\/|$)/.test(path.info.path);
      // Becomes a 503 with Retry-After, as kube-apiserver's `apiserver is shutting down`.
      if (!isAboutProcess) throw new KexerError('draining', 'kexer is shutting down');
    },
  };
}

/** A call of kexer's own to another cluster has come back. */
function loopFilter(mark: Pick<OwnMark, 'refuseOwn'>): Filter {
  return { name: 'loop', apply: ({ arrival }) => mark.refuseOwn(arrival.headers) };
}

function requestInfoFilter(): Filter {
  return {
    name: 'request-info',
    apply(context) {
      context.path = parseRequestPath(context.arrival.method, context.arrival.rawTarget);
    },
  };
}

/** Begins the record. A path that could not be read has none yet; its refusal begins one. */
function auditFilter(audits: Pick<RequestAudits, 'begin'>): Filter {
  return { name: 'audit', apply: (context) => audits.begin(context) };
}

/** What is recorded depends on the user. */
function auditUserFilter(): Filter {
  return { name: 'audit-user', apply: (context) => context.audit?.received() };
}

/** What other kexers ask is for them alone, whoever else may be who they are; and their tokens are good for nothing else. */
function authenticatePeerFilter(peers: Pick<PeersEndpoint, 'handles' | 'authenticate'>): Filter {
  return {
    name: 'authenticate-peer',
    async apply(context) {
      if (!peers.handles(context)) return;
      context.caller = await peers.authenticate(context);
      context.arrival.markKnown();
    },
  };
}

function authenticateFilter(authenticator: Pick<Authenticator, 'authenticate'>): Filter {
  return {
    name: 'authenticate',
    async apply(context) {
      if (context.callerIfKnown !== undefined) return; // a peer
      const { path } = context;
      const isForAll = isOpen(context);
      if (isForAll && !(path.kind === 'own' && asksForReasons(path.info.path, path.query))) return;
      const { peer, headers, remoteAddress: source } = context.arrival;
      try {
        context.caller = await stagesOf(context).run('authn', () =>
          authenticator.authenticate({ peer, headers, source }),
        );
        context.observed?.identified(context.caller);
      } catch (error) {
        if (!isForAll) throw error;
        return; // a stranger, who gets an answer without reasons
      }
      context.arrival.markKnown();
    },
  };
}

/** Before authorization, which asks questions: who is over a limit causes none. What one source may have is authentication's to bound. */
function limitsFilter(limits: Pick<RequestLimits, 'admit'>): Filter {
  return {
    name: 'limits',
    apply(context) {
      if (!isOpen(context)) limits.admit(context);
    },
  };
}

/** `--as` on what kexer answers itself. Of a call on a cluster it is judged where the call goes. */
function impersonateFilter(acting: Pick<ActingUsers, 'wanted' | 'become'>): Filter {
  return {
    name: 'impersonate',
    async apply(context) {
      const { path, arrival } = context;
      if (path.kind !== 'own' || !needsRight(context)) return;
      const wanted = acting.wanted(arrival.headers);
      if (wanted === undefined) return;
      context.acting = { user: wanted, isProven: false };
      const user = await stagesOf(context).run('authz', () =>
        acting.become(context.caller.user, wanted, questionOf(path.info)),
      );
      context.acting = { user, isProven: true };
      context.ticket?.countAs(user.name);
    },
  };
}

function authorizeFilter(authorizer: Pick<Authorizer, 'authorize'>): Filter {
  return {
    name: 'authorize',
    async apply(context) {
      if (!needsRight(context)) return;
      const { info } = context.path;
      const user = context.actingUser;
      const stages = stagesOf(context);
      await stages.run('authz', () => authorizer.authorize(user, questionOf(info)));
      // A GET that upgrades opens a stream: `get` alone must not be enough for that, as on kube-apiserver since 1.35.
      if (opensStream(context) && info.verb !== 'create') {
        await stages.run('authz', () => authorizer.authorize(user, { ...questionOf(info), verb: 'create' }));
      }
    },
  };
}

/** Discovery and paths that are no resource of kexer's group: any authenticated user; what is not there is a 404 for all of them. */
function needsRight(context: RequestContext): boolean {
  const { info } = context.path;
  const isOfGroup = info.isResourceRequest && info.apiGroup === clustersResource.group;
  return !isOpen(context) && (isOfGroup || isGuarded(context));
}

/** Paths of kexer's own that are no resource and yet not everybody's, as on kube-apiserver: RBAC has rules with nonResourceURLs for them. */
const guardedPaths = new Set(['/metrics']);

function isGuarded({ path }: RequestContext): boolean {
  return path.kind === 'own' && !path.info.isResourceRequest && guardedPaths.has(path.info.path);
}

function stagesOf({ observed }: RequestContext): CallStages {
  return observed?.stages ?? noStages;
}

/** As on the wire: what is the same path only when it is decoded or trimmed is another one here. */
function isOpen({ path, arrival, exchange }: RequestContext): boolean {
  const [rawPath = ''] = arrival.rawTarget.split('?', 1);
  return path.kind === 'own' && openPaths.has(rawPath) && exchange.kind === 'request';
}

const streamSubresources = new Set(['exec', 'attach', 'portforward']);

/** Any upgrade, and any request to a path that is for nothing but streams. */
function opensStream(context: RequestContext): boolean {
  const { path, arrival } = context;
  if (path.kind !== 'cluster') return false;
  const { info } = path.inner;
  return (
    arrival.isUpgrade || (info.apiGroup === '' && info.resource === 'pods' && streamSubresources.has(info.subresource))
  );
}

function questionOf(info: RequestInfo): AccessQuestion {
  const { isResourceRequest, path, verb, apiGroup, apiVersion, resource, subresource, namespace, name } = info;
  return { isResourceRequest, path, verb, apiGroup, apiVersion, resource, subresource, namespace, name };
}
