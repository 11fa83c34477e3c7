// What a session stands on: the rights it began with, and the credential that showed them. The inner right is the effective user's, on what the
// stream does (kube-apiserver's own question at its start), and is asked in the cluster where that is; the outer one is the caller's, on the cluster.

import type { Call } from '../clusters/call.ts';
import { clustersResource } from '../clusters/directory.ts';
import type { RightThere } from '../clusters/remote-rights.ts';
import type { AccessQuestion } from '../kube/reviews.ts';
import type { UserInfo } from '../kube/user.ts';

import { streamKindOf } from './kind.ts';

export interface SessionRight {
  readonly user: UserInfo;
  readonly question: AccessQuestion;
  /** Who answers; left out: the apiserver of kexer's own cluster. */
  readonly there?: RightThere;
}

export interface SessionBasis {
  readonly rights: readonly SessionRight[];
  /** Absent: not known. */
  readonly credentialExpiresAtMs?: number;
}

export function basisOf(call: Call): SessionBasis {
  const { caller, inner } = call;
  const kind = streamKindOf(call);
  const isStream = kind !== undefined && kind !== 'log';
  const expiresAtMs = 'expiresAtMs' in caller ? caller.expiresAtMs : undefined;
  return {
    rights: [
      ...innerRights(call, isStream ? { ...inner.info, verb: 'create' } : inner.info),
      { user: caller.user, question: outerQuestion(call, isStream || call.isUpgrade ? 'create' : 'get') },
    ],
    ...(expiresAtMs === undefined ? {} : { credentialExpiresAtMs: expiresAtMs }),
  };
}

/** `create` is what kube-apiserver asks of exec by any method; a client that came by GET and lost `get` alone would come again by POST. */
function innerRights(call: Call, question: AccessQuestion): SessionRight[] {
  const { caller, cluster, identity } = call;
  if (cluster.kind !== 'remote') return [{ user: identity.effectiveUser, question }];
  const there = cluster.rightThere?.(call);
  const inner = there === undefined ? [] : [{ user: there.user, question, there }];
  const use = cluster.useRight === undefined ? [] : [{ user: caller.user, question: cluster.useRight }];
  return [...inner, ...use];
}

/** The question of the pipeline's authorization. */
function outerQuestion(call: Call, verb: string): AccessQuestion {
  const { group: apiGroup, version: apiVersion, resource } = clustersResource;
  const namespace = call.clusterNamespace;
  const { name } = call.cluster;
  return {
    isResourceRequest: true,
    path: '',
    verb,
    apiGroup,
    apiVersion,
    resource,
    subresource: 'exec',
    namespace,
    name,
  };
}

/** `alice may no longer create pods/exec in namespace default`, and of which cluster if it is another one. */
export function lostRightText({ user, question, there }: SessionRight): string {
  const { verb, apiGroup, resource, subresource, namespace } = question;
  const where = there === undefined ? '' : ` of the cluster ${there.cluster}`;
  if (!question.isResourceRequest) return `${user.name} may no longer ${verb} ${question.path}${where}`;
  const group = apiGroup === '' ? '' : `.${apiGroup}`;
  const what = `${resource}${group}${subresource === '' ? '' : `/${subresource}`}`;
  return `${user.name} may no longer ${verb} ${what} ${namespace === '' ? 'at the cluster scope' : `in namespace ${namespace}`}${where}`;
}
