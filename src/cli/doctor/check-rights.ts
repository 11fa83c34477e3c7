// What kexer's accounts may, asked of kube-apiserver one right at a time: about the account we are by SelfSubjectAccessReview, about others by
// SubjectAccessReview. One finding for each account that has all it needs, and one for each right that is missing.

import { describeError } from '../../base/errors.ts';
import { isRecord } from '../../kube/objects.ts';
import { makeUser, serviceAccountGroups, type UserInfo } from '../../kube/user.ts';
import { askTimeoutMs, type ApiserverReport, type DoctorClient, type Examination } from './examination.ts';
import { codeOfRefusal, counted, fail, type Finding, ok, skip, warn } from './finding.ts';
import { manifestClusters, manifestNamespace, type RightsHolder, type WantedRight, wantedRights } from './rights.ts';

const check = 'rights';
/** Questions at once. */
const maxAtOnce = 8;

interface Question {
  readonly verb: string;
  readonly right: WantedRight;
  readonly namespace: string;
}

export async function checkRights(examination: Examination, report: ApiserverReport): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const holder of ['kexer', 'kexer-impersonator', 'kexer-kubelet'] as const) {
    const questions = wantedRights
      .filter((right) => right.holder === holder && right.isNeeded(examination.config))
      .flatMap((right) => questionsOf(examination, right));
    if (questions.length > 0) findings.push(...(await ofHolder(examination, report, holder, questions)));
  }
  return findings;
}

function questionsOf({ config, account }: Examination, right: WantedRight): Question[] {
  const places =
    right.namespace === manifestClusters
      ? config.clusters.namespaces
      : [right.namespace === manifestNamespace ? account.namespace : right.namespace];
  return places.flatMap((namespace) => right.verbs.map((verb) => ({ verb, right, namespace })));
}

async function ofHolder(
  examination: Examination,
  report: ApiserverReport,
  holder: RightsHolder,
  questions: readonly Question[],
): Promise<Finding[]> {
  const { namespace, name } = accountOf(examination, holder);
  const who = `${namespace}/${name}`;
  const userName = `system:serviceaccount:${namespace}:${name}`;
  const groups = [...serviceAccountGroups(namespace), 'system:authenticated'];
  const user = report.user?.name === userName ? undefined : makeUser({ name: userName, groups });
  let answers: readonly boolean[];
  try {
    answers = await inTurns(questions, (question) => isAllowed(examination.client, user, question));
  } catch (error) {
    if (codeOfRefusal(error) !== 403) throw error;
    const whom = report.user === undefined ? 'we' : report.user.name;
    return [
      skip(
        check,
        `What ${who} may cannot be asked: ${whom} may not create subjectaccessreviews (${describeError(error)})`,
      ),
    ];
  }
  const missing = questions.filter((_, index) => answers[index] !== true);
  if (missing.length === 0) return [ok(check, `${who} has all it needs: ${counted(questions.length, 'right')}`)];
  return missing.map((question) => {
    const { right, verb } = question;
    const what = `${who} may not ${verb} ${described(question)}, which is for: ${right.feature}`;
    const fix = `Apply config/rbac/${right.file}.`;
    // Roles that name users, or nodes, allow less than everything on purpose.
    return holder === 'kexer'
      ? fail(check, what, fix)
      : warn(check, `${what} (for all names)`, `${fix} All is well where its role names some on purpose.`);
  });
}

/** The settings know the other accounts by name; else they are called as in the manifests. */
function accountOf({ config, account }: Examination, holder: RightsHolder): { namespace: string; name: string } {
  if (holder === 'kexer') return account;
  const set =
    holder === 'kexer-impersonator' ? config.identity.impersonator.serviceAccount : config.kubelet.serviceAccount;
  const [namespace = account.namespace, name = holder] = set?.split('/') ?? [];
  return { namespace, name };
}

function described({ right, namespace }: Question): string {
  const { resource, group, name } = right;
  const what = group === '' ? resource : `${resource}.${group}`;
  return `${what}${name === '' ? '' : ` named ${name}`}${namespace === '' ? '' : ` in ${namespace}`}`;
}

/** @param user undefined: ourselves. @throws StatusError, KexerError if there is no answer. */
async function isAllowed(
  client: DoctorClient,
  user: UserInfo | undefined,
  { right, verb, namespace }: Question,
): Promise<boolean> {
  const [resource = '', ...rest] = right.resource.split('/');
  const kind = user === undefined ? 'SelfSubjectAccessReview' : 'SubjectAccessReview';
  const answer = await client.json({
    method: 'POST',
    target: `/apis/authorization.k8s.io/v1/${kind.toLowerCase()}s`,
    body: {
      apiVersion: 'authorization.k8s.io/v1',
      kind,
      spec: {
        ...(user === undefined ? {} : { user: user.name, groups: user.groups }),
        resourceAttributes: {
          verb,
          group: right.group,
          resource,
          ...(rest.length === 0 ? {} : { subresource: rest.join('/') }),
          ...(right.name === '' ? {} : { name: right.name }),
          ...(namespace === '' ? {} : { namespace }),
        },
      },
    },
    timeoutMs: askTimeoutMs,
  });
  const status = isRecord(answer) ? answer['status'] : undefined;
  return isRecord(status) && status['allowed'] === true;
}

/** The results in order, a few at a time. */
export async function inTurns<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let start = 0; start < items.length; start += maxAtOnce) {
    results.push(...(await Promise.all(items.slice(start, start + maxAtOnce).map(work))));
  }
  return results;
}
