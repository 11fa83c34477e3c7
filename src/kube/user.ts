// Who somebody is, in the terms of k8s.io/apiserver's user.Info. Pure data; how it was proven stands elsewhere.

export interface UserInfo {
  readonly name: string;
  /** '' if unknown. */
  readonly uid: string;
  readonly groups: readonly string[];
  /** Keys as authenticators give them: lower case, often a domain prefix. */
  readonly extra: ReadonlyMap<string, readonly string[]>;
}

export const groupAuthenticated = 'system:authenticated';
export const groupUnauthenticated = 'system:unauthenticated';
export const groupMasters = 'system:masters';
const groupServiceAccounts = 'system:serviceaccounts';
export const userAnonymous = 'system:anonymous';

const noExtra: ReadonlyMap<string, readonly string[]> = new Map();

/** A user with defaults for what is not given. */
export function makeUser(user: {
  name: string;
  uid?: string;
  groups?: readonly string[];
  extra?: ReadonlyMap<string, readonly string[]>;
}): UserInfo {
  return { name: user.name, uid: user.uid ?? '', groups: user.groups ?? [], extra: user.extra ?? noExtra };
}

export const anonymousUser: UserInfo = makeUser({ name: userAnonymous, groups: [groupUnauthenticated] });

/** The user with `system:authenticated` added, as the group adder does: not for anonymous, not twice. */
export function withAuthenticatedGroup(user: UserInfo): UserInfo {
  if (user.name === userAnonymous) return user;
  if (user.groups.includes(groupAuthenticated) || user.groups.includes(groupUnauthenticated)) return user;
  return { ...user, groups: [...user.groups, groupAuthenticated] };
}

export interface ServiceAccountName {
  readonly namespace: string;
  readonly name: string;
}

/** The namespace and name in `system:serviceaccount:NS:NAME`; undefined for any other user name. */
export function parseServiceAccount(userName: string): ServiceAccountName | undefined {
  const [system, kind, namespace, name, ...rest] = userName.split(':');
  if (system !== 'system' || kind !== 'serviceaccount' || rest.length > 0) return undefined;
  if (namespace === undefined || namespace === '' || name === undefined || name === '') return undefined;
  return { namespace, name };
}

/** The groups a service account gets when its authenticator or an impersonation names none. */
export function serviceAccountGroups(namespace: string): string[] {
  return [groupServiceAccounts, `${groupServiceAccounts}:${namespace}`];
}

/** The JSON of `spec.user`, `spec.groups`, `spec.uid`, `spec.extra` in reviews, empty fields left out. */
export function userToReviewSpec(user: UserInfo): {
  user: string;
  groups?: string[];
  uid?: string;
  extra?: Record<string, string[]>;
} {
  return {
    user: user.name,
    ...(user.groups.length === 0 ? {} : { groups: [...user.groups] }),
    ...(user.uid === '' ? {} : { uid: user.uid }),
    ...(user.extra.size === 0
      ? {}
      : { extra: Object.fromEntries([...user.extra].map(([key, values]) => [key, [...values]])) }),
  };
}
