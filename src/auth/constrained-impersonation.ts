// How kube-apiserver 1.36 words the refusal of an impersonation: it tries a constrained mode first (KEP-5284), and what that mode wants first and is not granted
// is what the caller reads, although the legacy rule is tried afterwards. Nothing here allows anything: kexer acts by the legacy rule alone.
// Order and texts are those of k8s.io/apiserver/pkg/endpoints/filters/impersonation.

import type { AccessQuestion } from '../kube/reviews.ts';
import { forbiddenAction, StatusError } from '../kube/status.ts';
import { groupMasters, parseServiceAccount, type UserInfo } from '../kube/user.ts';

import type { Authorizer } from './authorize.ts';

const group = 'authentication.k8s.io';
/** From so many on, one question about all of them comes first. */
const manyChecks = 4;
const nodeName = /^system:node:([a-z0-9]([-a-z0-9.]*[a-z0-9])?)$/;

/**
 * The refusal of the first constrained mode that takes `wanted`; undefined: none does, or it would allow it.
 * @param inner what is to be done as them.
 * @throws what {@link Authorizer.review} throws.
 */
export async function constrainedRefusal(
  authorizer: Pick<Authorizer, 'review'>,
  requestor: UserInfo,
  wanted: UserInfo,
  inner: AccessQuestion,
): Promise<StatusError | undefined> {
  const mode = modeOf(wanted);
  if (mode === undefined) return undefined;
  const steps = [{ question: { ...inner, verb: `impersonate-on:${mode}:${inner.verb}` } }, ...stepsOf(wanted, mode)];
  for (const { question, problem, all } of steps) {
    if (problem !== undefined) return new StatusError(forbiddenAction(requestor, question, problem));
    if (all !== undefined && (await authorizer.review(requestor, all)).isAllowed) continue;
    const { isAllowed, reason } = await authorizer.review(requestor, question);
    if (!isAllowed) return new StatusError(forbiddenAction(requestor, question, reason));
  }
  return undefined;
}

/** associated-node takes service accounts only, which come with tokens; of those kube-apiserver judges itself. */
function modeOf(wanted: UserInfo): string | undefined {
  const isNameAlone = wanted.uid === '' && wanted.groups.length === 0 && wanted.extra.size === 0;
  if (nodeName.test(wanted.name)) return isNameAlone ? 'arbitrary-node' : undefined;
  if (parseServiceAccount(wanted.name) !== undefined) return isNameAlone ? 'serviceaccount' : undefined;
  return 'user-info';
}

interface Step {
  readonly question: AccessQuestion;
  /** It is refused whoever asks. */
  readonly problem?: string;
  /** Whoever may all of its kind need not be asked about this one. */
  readonly all?: AccessQuestion;
}

function stepsOf(wanted: UserInfo, mode: string): Step[] {
  const ask = (resource: string, name: string, more: Partial<AccessQuestion> = {}): AccessQuestion => ({
    isResourceRequest: true,
    path: '',
    verb: `impersonate:${mode}`,
    apiGroup: group,
    apiVersion: 'v1',
    resource,
    subresource: '',
    namespace: '',
    name,
    ...more,
  });
  const node = nodeName.exec(wanted.name)?.[1];
  const account = parseServiceAccount(wanted.name);
  const who =
    node !== undefined
      ? ask('nodes', node)
      : account === undefined
        ? ask('users', wanted.name)
        : ask('serviceaccounts', account.name, { namespace: account.namespace });
  return [
    { question: who },
    ...(wanted.uid === '' ? [] : [{ question: ask('uids', wanted.uid) }]),
    ...groupSteps(wanted.groups, ask),
    ...extraSteps(wanted.extra, ask),
  ];
}

type Ask = (resource: string, name: string, more?: Partial<AccessQuestion>) => AccessQuestion;

function groupSteps(groups: readonly string[], ask: Ask): Step[] {
  if (groups.includes('')) {
    return [{ question: ask('groups', ''), problem: 'impersonating the empty string group is not allowed' }];
  }
  if (groups.includes(groupMasters)) {
    const problem = `impersonating the ${groupMasters} group is not allowed`;
    return [{ question: ask('groups', groupMasters), problem }];
  }
  const all = groups.length < manyChecks ? {} : { all: ask('groups', '*') };
  return groups.map((name) => ({ question: ask('groups', name), ...all }));
}

function extraSteps(extra: UserInfo['extra'], ask: Ask): Step[] {
  const problem = extraProblem(extra);
  if (problem !== undefined) return [{ question: ask('userextras', ''), problem }];
  const values = [...extra].flatMap(([key, texts]) => texts.map((text) => ({ key, text })));
  const all = values.length < manyChecks ? {} : { all: ask('userextras', '*', { subresource: '*' }) };
  return values.map(({ key, text }) => ({ question: ask('userextras', text, { subresource: key }), ...all }));
}

/** validateExtra: keys with a domain, no empty value. */
function extraProblem(extra: UserInfo['extra']): string | undefined {
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
