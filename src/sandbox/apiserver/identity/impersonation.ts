// `Impersonate-*` headers as kube-apiserver 1.36 judges them: the constrained modes first (associated-node, arbitrary-node,
// serviceaccount, user-info), then the legacy verb `impersonate`. If all fail, the first mode's refusal is what the caller reads,
// which is why the texts name `impersonate-on:…` although nobody grants that. The mode that last worked for a user goes first.

import { badRequest, type DeniedAction, forbiddenAction, StatusError } from '../../../kube/status.ts';
import {
  makeUser,
  parseServiceAccount,
  serviceAccountGroups,
  type UserInfo,
  userAnonymous,
} from '../../../kube/user.ts';
import { unescape } from '../chain/go-url.ts';
import { textOfHeader } from '../chain/header-text.ts';
import type { HeaderPairs } from '../exchange.ts';
import type { RbacAuthorizer } from './rbac.ts';

interface Wanted {
  name: string;
  uid: string;
  groups: string[];
  extra: Map<string, string[]>;
}

interface Mode {
  readonly name: string;
  /** Whether the mode is for this pair of users at all. */
  applies(wanted: Wanted, requestor: UserInfo): boolean;
  readonly isConstrained: boolean;
}

const nodeNameKey = 'authentication.kubernetes.io/node-name';
const manyChecks = 4;

const modes: readonly Mode[] = [
  {
    name: 'associated-node',
    isConstrained: true,
    applies: (wanted, requestor) => {
      const node = nodeName(wanted.name);
      const own = requestor.extra.get(nodeNameKey) ?? [];
      return (
        isOnlyName(wanted) && node !== undefined && isAccount(requestor.name) && own.length === 1 && own[0] === node
      );
    },
  },
  {
    name: 'arbitrary-node',
    isConstrained: true,
    applies: (wanted) => isOnlyName(wanted) && nodeName(wanted.name) !== undefined,
  },
  { name: 'serviceaccount', isConstrained: true, applies: (wanted) => isOnlyName(wanted) && isAccount(wanted.name) },
  {
    name: 'user-info',
    isConstrained: true,
    applies: (wanted) => nodeName(wanted.name) === undefined && !isAccount(wanted.name),
  },
  { name: '', isConstrained: false, applies: () => true },
];

export interface Impersonation {
  readonly user: UserInfo;
  /** `impersonate:MODE`, or '' for the legacy verb. */
  readonly constraint: string;
}

export class Impersonator {
  readonly #authorizer: RbacAuthorizer;
  /** The mode that last worked, by the requestor's name. */
  readonly #lastMode = new Map<string, Mode>();

  constructor(deps: { authorizer: RbacAuthorizer }) {
    this.#authorizer = deps.authorizer;
  }

  /** @throws StatusError 400 or 403. Undefined: nobody is to be impersonated. */
  impersonate(requestor: UserInfo, headers: HeaderPairs, action: DeniedAction): Impersonation | undefined {
    const wanted = wantedUser(headers);
    if (wanted === undefined) return undefined;
    const last = this.#lastMode.get(requestor.name);
    const ordered = last === undefined ? modes : [last, ...modes.filter((mode) => mode !== last)];
    let firstError: StatusError | undefined;
    for (const mode of ordered) {
      if (!mode.applies(wanted, requestor)) continue;
      try {
        const user = this.#check(mode, wanted, requestor, action);
        this.#lastMode.set(requestor.name, mode);
        return { user, constraint: mode.isConstrained ? `impersonate:${mode.name}` : '' };
      } catch (error) {
        if (!(error instanceof StatusError)) throw error;
        firstError ??= error;
      }
    }
    throw firstError ?? new Error('all impersonation modes failed');
  }

  #check(mode: Mode, wanted: Wanted, requestor: UserInfo, action: DeniedAction): UserInfo {
    if (mode.isConstrained) this.#require(requestor, { ...action, verb: `impersonate-on:${mode.name}:${action.verb}` });
    const verb = mode.isConstrained ? `impersonate:${mode.name}` : 'impersonate';
    const group = mode.isConstrained ? 'authentication.k8s.io' : '';
    const ask = (about: Partial<DeniedAction>): DeniedAction => ({ ...noAction, verb, apiGroup: group, ...about });
    const groups = [...wanted.groups];
    let aboutUser = ask({ resource: 'users', name: wanted.name });
    const node = nodeName(wanted.name);
    if (mode.isConstrained && node !== undefined) {
      aboutUser = ask({ resource: 'nodes', name: mode.name === 'associated-node' ? '*' : node });
      groups.push('system:nodes');
    }
    const account = parseServiceAccount(wanted.name);
    if (account !== undefined) {
      aboutUser = ask({ resource: 'serviceaccounts', namespace: account.namespace, name: account.name });
      if (wanted.groups.length === 0) groups.push(...serviceAccountGroups(account.namespace));
    }
    this.#require(requestor, aboutUser);
    if (wanted.uid !== '') {
      this.#require(requestor, ask({ apiGroup: 'authentication.k8s.io', resource: 'uids', name: wanted.uid }));
    }
    this.#checkGroups(mode, wanted.groups, requestor, ask({ resource: 'groups' }));
    this.#checkExtra(mode, wanted.extra, requestor, ask({ apiGroup: 'authentication.k8s.io', resource: 'userextras' }));
    if (wanted.name === userAnonymous) {
      if (!groups.includes('system:unauthenticated')) groups.push('system:unauthenticated');
    } else if (!groups.includes('system:unauthenticated') && !groups.includes('system:authenticated')) {
      groups.push('system:authenticated');
    }
    return makeUser({ name: wanted.name, uid: wanted.uid, groups, extra: wanted.extra });
  }

  #checkGroups(mode: Mode, groups: readonly string[], requestor: UserInfo, about: DeniedAction): void {
    if (mode.isConstrained) {
      if (groups.includes('')) refuse(requestor, about, 'impersonating the empty string group is not allowed');
      if (groups.includes('system:masters')) {
        refuse(
          requestor,
          { ...about, name: 'system:masters' },
          'impersonating the system:masters group is not allowed',
        );
      }
      const isMany = groups.length >= manyChecks;
      if (isMany && this.#authorizer.authorize(requestor, { ...about, name: '*' }).isAllowed) return;
    }
    for (const name of groups) this.#require(requestor, { ...about, name });
  }

  #checkExtra(mode: Mode, extra: Wanted['extra'], requestor: UserInfo, about: DeniedAction): void {
    if (mode.isConstrained) {
      const problem = extraProblem(extra);
      if (problem !== undefined) refuse(requestor, about, problem);
      const count = [...extra.values()].reduce((sum, values) => sum + values.length, 0);
      const isLarge = count >= manyChecks || extra.size >= manyChecks;
      if (isLarge && this.#authorizer.authorize(requestor, { ...about, subresource: '*', name: '*' }).isAllowed) return;
    }
    for (const [key, values] of extra) {
      for (const name of values) this.#require(requestor, { ...about, subresource: key, name });
    }
  }

  #require(requestor: UserInfo, action: DeniedAction): void {
    const decision = this.#authorizer.authorize(requestor, action);
    if (!decision.isAllowed) refuse(requestor, action, decision.reason);
  }
}

const noAction: DeniedAction = {
  isResourceRequest: true,
  path: '',
  verb: '',
  apiGroup: '',
  resource: '',
  subresource: '',
  namespace: '',
  name: '',
};

function refuse(requestor: UserInfo, action: DeniedAction, reason: string): never {
  throw new StatusError(forbiddenAction(requestor, action, reason));
}

/** processImpersonationHeaders. */
function wantedUser(headers: HeaderPairs): Wanted | undefined {
  const wanted: Wanted = { name: '', uid: '', groups: [], extra: new Map() };
  let hasAny = false;
  for (const [rawName, rawValue] of headers) {
    const name = rawName.toLowerCase();
    const value = textOfHeader(rawValue);
    if (name === 'impersonate-user') wanted.name ||= value;
    else if (name === 'impersonate-uid') wanted.uid ||= value;
    else if (name === 'impersonate-group') wanted.groups.push(value);
    else if (name.startsWith('impersonate-extra-')) {
      hasAny = true;
      const encoded = name.slice('impersonate-extra-'.length);
      const key = unescape(encoded) ?? encoded;
      wanted.extra.set(key, [...(wanted.extra.get(key) ?? []), value]);
    }
  }
  if (wanted.name !== '') return wanted;
  if (!hasAny && wanted.uid === '' && wanted.groups.length === 0) return undefined;
  throw new StatusError(badRequest(`requested ${goSyntax(wanted)} without impersonating a user name`));
}

/** fmt's %#v of a *user.DefaultInfo, which is what kube-apiserver shows its users. */
function goSyntax({ uid, groups, extra }: Wanted): string {
  const list = (values: readonly string[]): string =>
    `[]string{${values.map((value) => JSON.stringify(value)).join(', ')}}`;
  const groupText = groups.length === 0 ? '[]string(nil)' : list(groups);
  const entries = [...extra].map(([key, values]) => `${JSON.stringify(key)}:${list(values)}`);
  const extraText = extra.size === 0 ? 'map[string][]string(nil)' : `map[string][]string{${entries.join(', ')}}`;
  return `&user.DefaultInfo{Name:"", UID:${JSON.stringify(uid)}, Groups:${groupText}, Extra:${extraText}}`;
}

function isOnlyName(wanted: Wanted): boolean {
  return wanted.uid === '' && wanted.groups.length === 0 && wanted.extra.size === 0;
}

function isAccount(name: string): boolean {
  return parseServiceAccount(name) !== undefined;
}

/** NAME in `system:node:NAME` if it could be a node's. */
function nodeName(userName: string): string | undefined {
  const name = userName.startsWith('system:node:') ? userName.slice('system:node:'.length) : '';
  const isSubdomain =
    name.length <= 253 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(name);
  return isSubdomain ? name : undefined;
}

/** validateExtra: constrained modes want domain-prefixed lower-case keys and no empty value. */
function extraProblem(extra: Wanted['extra']): string | undefined {
  for (const [key, values] of extra) {
    if (key === '') return 'impersonating the empty string key in extra is not allowed';
    if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?\.[a-z0-9-]+\/.+$/.test(key)) {
      const text = `extra.key: Invalid value: ${JSON.stringify(key)}: must be a domain-prefixed path (such as "acme.io/foo")`;
      return `impersonating an invalid key in extra is not allowed: ${text}`;
    }
    if (values.includes('')) return 'impersonating the empty string value in extra is not allowed';
  }
  return undefined;
}
