// Which answers from a cluster that a Secret names are about the Secret, and not for the caller: its credential was refused, its account may not
// impersonate, or what stands at the address is no apiserver. What belongs to a target behind a `proxy` subresource passes.

import { badGateway, StatusError } from '../kube/status.ts';
import type { UserInfo } from '../kube/user.ts';
import { getHeader } from '../protocol/raw-headers.ts';

import type { AnswerHead, AnswerJudge } from './answer-judge.ts';
import type { InnerPath } from './call.ts';
import { refusalIn, refusesImpersonation, rightsFor } from './impersonator-guard.ts';

const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export interface RemoteJudgeOptions {
  /** NAMESPACE/NAME of the cluster and its Secret. */
  readonly name: string;
  readonly inner: InnerPath;
  /** Whom the call names there; undefined: it is the account's own. */
  readonly impersonated: UserInfo | undefined;
}

export function remoteJudge({ name, inner, impersonated }: RemoteJudgeOptions): AnswerJudge {
  const { info, rawPath } = inner;
  const isProxied = info.verb === 'proxy' || info.subresource === 'proxy';
  // Other paths, such as /logs/ and /debug/pprof/, have pages for people.
  const isApi = /^\/(?:api|apis|version|openapi)(?:\/|$)/.test(rawPath);
  const isForeign = (head: AnswerHead): boolean =>
    !isProxied && (redirects.has(head.status) || (isApi && isHtml(head)));
  return {
    mayRefuse: (head) => head.status === 401 || (head.status === 403 && impersonated !== undefined) || isForeign(head),
    refusal: (head, body) => {
      if (isForeign(head)) return foreign(name, head);
      const refusal = refusalIn(head.status, body);
      const options = refusal === undefined ? {} : { cause: new StatusError(refusal) };
      if (head.status === 401) {
        if (isProxied && refusal?.reason !== 'Unauthorized') return undefined;
        const text = `cluster "${name}" does not accept the credential of its Secret (401): it may have expired`;
        return new StatusError(badGateway(text), options);
      }
      if (impersonated === undefined || refusal === undefined || !refusesImpersonation(refusal, impersonated)) {
        return undefined;
      }
      const text = `cluster "${name}" does not let the account of its Secret act as this user: it needs the verb "impersonate" on ${rightsFor(impersonated)} there`;
      return new StatusError(badGateway(text), options);
    },
  };
}

function foreign(name: string, head: AnswerHead): StatusError {
  const what = redirects.has(head.status)
    ? `with a redirect (${head.status}), which is not followed`
    : `with a page for people (${head.status})`;
  return new StatusError(
    badGateway(`cluster "${name}" answers ${what}: the "endpointUrl" of its Secret leads to no kube-apiserver`),
  );
}

function isHtml({ headers }: AnswerHead): boolean {
  return /^text\/html\b/i.test(getHeader(headers, 'Content-Type') ?? '');
}
