// Who calls the kubelet and whether they may: client certificate of the client CA, then bearer token; one SubjectAccessReview on
// nodes/SUBRESOURCE with the verb of the method. What exec needs is `nodes/proxy` alone, as on a real kubelet.

import type { TLSSocket } from 'node:tls';
import { groupAuthenticated, makeUser, type UserInfo, withAuthenticatedGroup } from '../../../kube/user.ts';
import { type Answer, textAnswer, unauthorized } from './answers.ts';

/** What a request wants to do, in the terms of the kubelet's SubjectAccessReview: always resource `nodes`, name = node name. */
export interface NodeAction {
  readonly verb: string;
  readonly nodeName: string;
  readonly subresource: string;
}

export interface AccessDeps {
  readonly reviewToken: (token: string) => Promise<UserInfo | undefined>;
  readonly reviewAccess: (user: UserInfo, action: NodeAction) => Promise<{ allowed: boolean }>;
}

const verbs: Readonly<Record<string, string>> = {
  GET: 'get',
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
};

const subresources: readonly (readonly [prefix: string, subresources: readonly string[]])[] = [
  ['/stats', ['stats']],
  ['/metrics', ['metrics']],
  ['/logs', ['log']],
  ['/checkpoint', ['checkpoint']],
  ['/statusz', ['statusz']],
  ['/flagz', ['configz']],
  ['/pods', ['pods', 'proxy']],
  ['/runningpods', ['pods', 'proxy']],
  ['/healthz', ['healthz', 'proxy']],
  ['/configz', ['configz', 'proxy']],
];

/** The subresources any one of which allows the path; exec and everything not named needs `proxy`. */
function subresourcesOf(path: string): readonly string[] {
  const match = subresources.find(([prefix]) => path === prefix || path.startsWith(`${prefix}/`));
  return match?.[1] ?? ['proxy'];
}

function list(value: string | string[] | undefined): string[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value];
}

function certificateUser(socket: TLSSocket): UserInfo | undefined {
  if (!socket.authorized) return undefined;
  const { subject } = socket.getPeerCertificate();
  const name = list(subject?.CN)[0];
  if (name === undefined || name === '') return undefined;
  return withAuthenticatedGroup(makeUser({ name, groups: list(subject.O) }));
}

export interface AccessRequest {
  readonly socket: TLSSocket;
  readonly authorization: string | undefined;
  readonly method: string;
  readonly path: string;
}

/** The user, or the answer that refuses the request. */
export async function checkAccess(
  deps: AccessDeps,
  nodeName: string,
  request: AccessRequest,
): Promise<{ user: UserInfo } | { refusal: Answer }> {
  const user = certificateUser(request.socket) ?? (await tokenUser(deps, request.authorization));
  if (user === undefined) return { refusal: unauthorized };
  const verb = verbs[request.method] ?? '';
  const tried = subresourcesOf(request.path);
  const what = `user=${user.name}, verb=${verb}, resource=nodes, subresource(s)=[${tried.join(' ')}]`;
  try {
    for (const subresource of tried) {
      const { allowed } = await deps.reviewAccess(user, { verb, nodeName, subresource });
      if (allowed) return { user };
    }
  } catch {
    // The reason goes to nobody, as in the kubelet: the caller may not be entitled to it.
    return { refusal: textAnswer(500, `Authorization error (${what})\n`) };
  }
  return { refusal: textAnswer(403, `Forbidden (${what})\n`) };
}

async function tokenUser(deps: AccessDeps, authorization: string | undefined): Promise<UserInfo | undefined> {
  const token = /^bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
  if (token === undefined) return undefined;
  const user = await deps.reviewToken(token);
  if (user === undefined || user.groups.includes(groupAuthenticated)) return user;
  return withAuthenticatedGroup(user);
}
