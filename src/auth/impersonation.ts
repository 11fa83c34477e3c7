// The Impersonate-* headers of a request: read as kube-apiserver reads them, checked by its legacy rule, and written so that it reads back
// exactly the user that was meant (k8s.io/apiserver/pkg/endpoints/filters/impersonation, client-go/transport).

import { StatusError, badRequest, failure, forbiddenAction } from '../kube/status.ts';
import type { AccessQuestion } from '../kube/reviews.ts';
import {
  groupAuthenticated,
  groupUnauthenticated,
  makeUser,
  parseServiceAccount,
  serviceAccountGroups,
  userAnonymous,
  type UserInfo,
} from '../kube/user.ts';
import { getHeader, type RawHeader, type RawHeaders } from '../protocol/raw-headers.ts';
import type { Authorizer } from './authorize.ts';
import { constrainedRefusal } from './constrained-impersonation.ts';
import { decodeHeaderText, encodeHeaderText, escapeExtraKey, unescapeExtraKey } from './header-text.ts';

const extraPrefix = 'impersonate-extra-';
const plainNames: ReadonlySet<string> = new Set(['impersonate-user', 'impersonate-group', 'impersonate-uid']);

/** Each value is a question to kube-apiserver, asked one after the other. */
const maxChecks = 256;

/** The headers that kube-apiserver reads, in order and case; other Impersonate-* have no meaning and are left out. */
export function impersonationHeaders(headers: RawHeaders): RawHeader[] {
  return headers.filter(([name]) => {
    const lower = name.toLowerCase();
    return plainNames.has(lower) || lower.startsWith(extraPrefix);
  });
}

/**
 * Whom the headers ask for, nothing added yet; undefined: nobody.
 * @throws StatusError 400 if they name groups, a UID or extras but no user.
 */
export function wantedUser(headers: RawHeaders): UserInfo | undefined {
  const name = decodeHeaderText(getHeader(headers, 'Impersonate-User') ?? '');
  const uid = decodeHeaderText(getHeader(headers, 'Impersonate-Uid') ?? '');
  const groups: string[] = [];
  const extra = new Map<string, string[]>();
  for (const [header, value] of headers) {
    const lower = header.toLowerCase();
    if (lower === 'impersonate-group') groups.push(decodeHeaderText(value));
    if (!lower.startsWith(extraPrefix)) continue;
    const key = unescapeExtraKey(header.slice(extraPrefix.length));
    extra.set(key, [...(extra.get(key) ?? []), decodeHeaderText(value)]);
  }
  const user = makeUser({ name, uid, groups, extra });
  if (name !== '') return user;
  if (uid === '' && groups.length === 0 && extra.size === 0) return undefined;
  throw new StatusError(badRequest(`requested ${goText(user)} without impersonating a user name`));
}

/** The user that kube-apiserver makes of a wish: groups of a service account, and system:authenticated. */
export function completeUser(wanted: UserInfo): UserInfo {
  const account = parseServiceAccount(wanted.name);
  const groups =
    account !== undefined && wanted.groups.length === 0 ? serviceAccountGroups(account.namespace) : [...wanted.groups];
  const wantedGroup =
    wanted.name === userAnonymous
      ? groupUnauthenticated
      : groups.includes(groupUnauthenticated)
        ? undefined
        : groupAuthenticated;
  if (wantedGroup !== undefined && !groups.includes(wantedGroup)) groups.push(wantedGroup);
  return { ...wanted, groups };
}

/** What the text of a refusal needs where kube-apiserver knows constrained impersonation (since 1.36). */
export interface ImpersonationContext {
  /** The request that is to run as another user. */
  readonly inner: AccessQuestion;
  readonly isConstrained: boolean;
}

/**
 * Whether `requestor` may be `wanted`, by the legacy rule: verb impersonate on each part. Grants of constrained impersonation alone do
 * not count here.
 * @throws StatusError 403 in kube-apiserver's words; what {@link Authorizer.review} throws.
 */
export async function checkImpersonation(
  authorizer: Pick<Authorizer, 'review'>,
  requestor: UserInfo,
  wanted: UserInfo,
  context?: ImpersonationContext,
): Promise<void> {
  const questions = impersonationQuestions(wanted);
  if (questions.length > maxChecks) {
    throw new StatusError(
      failure(403, 'Forbidden', `cannot impersonate more than ${maxChecks} groups and extras at once`),
    );
  }
  for (const question of questions) {
    const answer = await authorizer.review(requestor, question);
    if (answer.isAllowed) continue;
    throw await refusal(authorizer, requestor, wanted, question, answer.reason, context);
  }
}

/** In the order in which kube-apiserver asks them. */
export function impersonationQuestions(wanted: UserInfo): AccessQuestion[] {
  const account = parseServiceAccount(wanted.name);
  const who =
    account === undefined
      ? question('', 'users', wanted.name)
      : { ...question('', 'serviceaccounts', account.name), namespace: account.namespace };
  return [
    who,
    ...(wanted.uid === '' ? [] : [question('authentication.k8s.io', 'uids', wanted.uid)]),
    ...wanted.groups.map((group) => question('', 'groups', group)),
    ...[...wanted.extra].flatMap(([key, values]) =>
      values.map((value) => ({ ...question('authentication.k8s.io', 'userextras', value), subresource: key })),
    ),
  ];
}

function question(apiGroup: string, resource: string, name: string): AccessQuestion {
  return {
    isResourceRequest: true,
    path: '',
    verb: 'impersonate',
    apiGroup,
    apiVersion: 'v1',
    resource,
    subresource: '',
    namespace: '',
    name,
  };
}

/** kube-apiserver since 1.36 tries a constrained mode first and reports that mode's refusal, not the legacy rule's. */
async function refusal(
  authorizer: Pick<Authorizer, 'review'>,
  requestor: UserInfo,
  wanted: UserInfo,
  legacy: AccessQuestion,
  legacyReason: string,
  context: ImpersonationContext | undefined,
): Promise<StatusError> {
  const first =
    context?.isConstrained === true
      ? await constrainedRefusal(authorizer, requestor, wanted, context.inner)
      : undefined;
  return first ?? new StatusError(forbiddenAction(requestor, legacy, legacyReason));
}

/** Headers that make kube-apiserver take the request for `user`, exactly. @throws KexerError forbidden if there are none. */
export function writeImpersonation(user: UserInfo): RawHeader[] {
  const headers: RawHeader[] = [['Impersonate-User', encodeHeaderText(user.name, 'user name')]];
  if (user.uid !== '') headers.push(['Impersonate-Uid', encodeHeaderText(user.uid, 'uid')]);
  for (const group of user.groups) headers.push(['Impersonate-Group', encodeHeaderText(group, 'group')]);
  for (const [key, values] of user.extra) {
    const name = `Impersonate-Extra-${escapeExtraKey(key)}`;
    for (const value of values) headers.push([name, encodeHeaderText(value, `extra ${key}`)]);
  }
  return headers;
}

/** Go's `%#v` of a *user.DefaultInfo. */
function goText(user: UserInfo): string {
  const list = (items: readonly string[]): string =>
    items.length === 0 ? '[]string(nil)' : `[]string{${items.map(goQuote).join(', ')}}`;
  const keys = [...user.extra.keys()].toSorted();
  const extra =
    keys.length === 0
      ? 'map[string][]string(nil)'
      : `map[string][]string{${keys.map((key) => `${goQuote(key)}:${list(user.extra.get(key) ?? [])}`).join(', ')}}`;
  return `&user.DefaultInfo{Name:${goQuote(user.name)}, UID:${goQuote(user.uid)}, Groups:${list(user.groups)}, Extra:${extra}}`;
}

function goQuote(text: string): string {
  return JSON.stringify(text);
}
