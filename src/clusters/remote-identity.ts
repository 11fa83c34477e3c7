// As whom a call leaves for a cluster that a Secret names. Nothing of the caller's own credentials goes there: `shared` calls are the Secret's account's
// own, `impersonate` ones name the caller as far as the name can mean somebody there. What begins with `system:` is this cluster's own
// business, and would mean somebody else in the other one.

import type { Authorizer } from '../auth/authorize.ts';
import type { Caller } from '../auth/caller.ts';
import { writeImpersonation } from '../auth/impersonation.ts';
import type { OutgoingIdentity } from '../auth/outgoing.ts';
import type { AccessQuestion } from '../kube/reviews.ts';
import { failure, StatusError } from '../kube/status.ts';
import { groupAuthenticated, makeUser, type UserInfo } from '../kube/user.ts';
import type { RawHeaders } from '../protocol/raw-headers.ts';

import type { ClusterIdentity } from './cluster-secret.ts';
import { clustersResource } from './directory.ts';

const systemPrefix = 'system:';
/** What an authenticator of this cluster says about a credential of this cluster. */
const localExtraPrefix = 'authentication.kubernetes.io/';

export interface RemoteIdentityOptions {
  readonly namespace: string;
  readonly name: string;
  readonly identity: ClusterIdentity;
  readonly prefix: string;
}

/** The verb by which somebody may act as the account of a Secret. */
export function useQuestion({ namespace, name }: { namespace: string; name: string }): AccessQuestion {
  const { group: apiGroup, version: apiVersion, resource } = clustersResource;
  return {
    isResourceRequest: true,
    path: '',
    verb: 'use',
    apiGroup,
    apiVersion,
    resource,
    subresource: '',
    namespace,
    name,
  };
}

/** @throws StatusError 403; what {@link Authorizer.authorize} throws. */
export async function remoteIdentity(
  deps: { authorizer: Pick<Authorizer, 'authorize'> },
  caller: Caller,
  inbound: RawHeaders,
  options: RemoteIdentityOptions,
): Promise<OutgoingIdentity> {
  const cluster = `cluster "${options.namespace}/${options.name}"`;
  if (inbound.some(([name]) => /^impersonate-/i.test(name))) {
    throw refusal(caller.user, `cannot impersonate in ${cluster}: nobody's --as goes to another cluster`);
  }
  const identity = { credential: 'cluster', effectiveUser: caller.user, isEffectiveProven: true } as const;
  if (options.identity === 'shared') {
    await deps.authorizer.authorize(caller.user, useQuestion(options));
    return { ...identity, headers: [] };
  }
  if (caller.user.name.startsWith(systemPrefix)) {
    throw refusal(caller.user, `cannot be passed on to ${cluster}: names that begin with ${systemPrefix} are not`);
  }
  return { ...identity, headers: writeImpersonation(remoteUser(caller.user, options.prefix)) };
}

/** Who a user of this cluster is in another one. A UID is of this cluster alone. */
export function remoteUser(user: UserInfo, prefix: string): UserInfo {
  const groups = user.groups
    .filter((group) => group === groupAuthenticated || !group.startsWith(systemPrefix))
    .map((group) => (group === groupAuthenticated ? group : `${prefix}${group}`));
  const extra = new Map([...user.extra].filter(([key]) => !key.toLowerCase().startsWith(localExtraPrefix)));
  return makeUser({ name: `${prefix}${user.name}`, uid: '', groups, extra });
}

function refusal(user: UserInfo, why: string): StatusError {
  return new StatusError(failure(403, 'Forbidden', `forbidden: User "${user.name}" ${why}`));
}
