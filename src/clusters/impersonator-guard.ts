// kube-apiserver's 401 and 403 about the impersonator are about kexer, not about its caller: passed on, a 401 would make kubectl ask for a
// login, and a 403 would name kexer's account. They become a 502 that says what is missing; every other answer passes through, the 401 and
// 403 of applications behind a proxy subresource included: only the body tells whose it is.

import { impersonationQuestions } from '../auth/impersonation.ts';
import { badGateway, type Status, StatusError } from '../kube/status.ts';
import { parseStatus } from '../kube/status-parse.ts';
import type { UserInfo } from '../kube/user.ts';

import type { AnswerJudge } from './answer-judge.ts';

/**
 * For a call that the impersonator carries as `effectiveUser`.
 * @param onUnauthorized kube-apiserver itself does not accept the credential; never called for the 401 of an application.
 */
export function impersonatorJudge(effectiveUser: UserInfo, onUnauthorized: () => void = () => {}): AnswerJudge {
  return {
    mayRefuse: ({ status }) => status === 401 || status === 403,
    refusal: ({ status }, body) => {
      const refusal = refusedImpersonator(status, body, effectiveUser);
      if (refusal !== undefined && status === 401) onUnauthorized();
      return refusal;
    },
  };
}

/**
 * What to say instead of this answer to a call that the impersonator carried; undefined: nothing, it is for the caller. kube-apiserver's own
 * words, which name kexer's account, are the error's cause and for the log only.
 */
function refusedImpersonator(status: number, body: Buffer, effectiveUser: UserInfo): StatusError | undefined {
  const refusal = refusalIn(status, body);
  if (refusal === undefined) return undefined;
  const cause = new StatusError(refusal);
  if (status === 401) {
    if (refusal.reason !== 'Unauthorized') return undefined;
    return new StatusError(badGateway("kube-apiserver does not accept the credential of kexer's impersonator"), {
      cause,
    });
  }
  if (!refusesImpersonation(refusal, effectiveUser)) return undefined;
  const text = `kube-apiserver does not let kexer's impersonator act as this user: it needs the verb "impersonate" on ${rightsFor(effectiveUser)}`;
  return new StatusError(badGateway(text), { cause });
}

/** The Status that is the whole body of a 401 or 403, if it is one of kube-apiserver. */
export function refusalIn(status: number, body: Buffer): Status | undefined {
  if (status !== 401 && status !== 403) return undefined;
  const refusal = parseStatus(body.toString('utf8'));
  return refusal?.code === status ? refusal : undefined;
}

/** Whether a 403 refuses to let the account behind a call be `user`. The call runs as the user, so one that names another is about the account. */
export function refusesImpersonation(refusal: Status, user: UserInfo): boolean {
  const refused = /User "((?:[^"\\]|\\.)*)" cannot impersonate/.exec(refusal.message ?? '')?.[1];
  return refused !== undefined && refused !== user.name;
}

/** `users, groups, userextras/KEY`: the resources of the identity's parts, each once. */
export function rightsFor(user: UserInfo): string {
  const resources = impersonationQuestions(user).map(({ resource, subresource }) =>
    subresource === '' ? resource : `${resource}/${subresource}`,
  );
  return [...new Set(resources)].join(', ');
}
