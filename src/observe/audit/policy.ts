// Which requests are recorded: a policy of kube-apiserver's format (audit.k8s.io/v1 Policy), judged as its policy checker does: the first
// rule that matches gives the level, none that matches means None. For a call on a cluster the attributes are those of the inner path,
// so that a rule about `pods/exec` means what it means on kube-apiserver; the user is the caller before any impersonation.

import type { RequestInfo } from '../../kube/request-info.ts';
import type { UserInfo } from '../../kube/user.ts';

/** kexer holds no bodies, so that Request and RequestResponse record what Metadata does. */
export const auditLevels = ['None', 'Metadata', 'Request', 'RequestResponse'] as const;
export type AuditLevel = (typeof auditLevels)[number];

export const auditStages = ['RequestReceived', 'ResponseStarted', 'ResponseComplete', 'Panic'] as const;
export type AuditStage = (typeof auditStages)[number];

export interface PolicyResources {
  readonly group: string;
  readonly resources: readonly string[];
  readonly resourceNames: readonly string[];
}

export interface PolicyRule {
  readonly level: AuditLevel;
  readonly users: readonly string[];
  readonly userGroups: readonly string[];
  readonly verbs: readonly string[];
  readonly resources: readonly PolicyResources[];
  readonly namespaces: readonly string[];
  readonly nonResourceURLs: readonly string[];
  readonly omitStages: readonly AuditStage[];
}

export interface PolicyDocument {
  readonly rules: readonly PolicyRule[];
  readonly omitStages: readonly AuditStage[];
}

/** What a policy judges. */
export interface AuditAttributes {
  /** The caller; undefined if nobody was authenticated. */
  readonly user: UserInfo | undefined;
  /** Of the inner path for a call on a cluster; undefined if the path could not be read. */
  readonly info: RequestInfo | undefined;
  /** `info` is of a path that kexer answers itself, and not of one inside a cluster. */
  readonly isOwn: boolean;
  /** A stream or another upgrade that begins. */
  readonly isSession: boolean;
  /** kexer, or the preflight, refuses the request. */
  readonly isRefused: boolean;
}

export interface AuditDecision {
  readonly isRecorded: boolean;
  readonly omitStages: ReadonlySet<AuditStage>;
}

export interface AuditPolicy {
  decide(attributes: AuditAttributes): AuditDecision;
}

const nothingRecorded: AuditDecision = Object.freeze({ isRecorded: false, omitStages: new Set<AuditStage>() });

/**
 * Without a policy file: sessions, who ends those of others, and refusals. Ordinary calls stand in kube-apiserver's own audit log; a deleted session
 * does only if the call came through its aggregation layer.
 */
export const defaultPolicy: AuditPolicy = {
  decide({ info, isOwn, isSession, isRefused }) {
    const isOwnDelete = isOwn && info?.isResourceRequest === true && info.verb.startsWith('delete');
    if (!isSession && !isRefused && !isOwnDelete) return nothingRecorded;
    return { isRecorded: true, omitStages: new Set(['RequestReceived']) };
  },
};

/** The policy that a document says. */
export function documentPolicy(document: PolicyDocument): AuditPolicy {
  const rules = document.rules.map((rule) => ({
    rule,
    decision: {
      isRecorded: rule.level !== 'None',
      omitStages: new Set([...document.omitStages, ...rule.omitStages]),
    },
  }));
  return {
    decide: (attributes) => rules.find(({ rule }) => matches(rule, attributes))?.decision ?? nothingRecorded,
  };
}

/** ruleMatches: an empty list is no condition. */
function matches(rule: PolicyRule, { user, info }: AuditAttributes): boolean {
  if (rule.users.length > 0 && (user === undefined || !rule.users.includes(user.name))) return false;
  if (rule.userGroups.length > 0 && user?.groups.some((group) => rule.userGroups.includes(group)) !== true) {
    return false;
  }
  if (rule.verbs.length > 0 && (info === undefined || !rule.verbs.includes(info.verb))) return false;
  if (rule.namespaces.length > 0 || rule.resources.length > 0) return matchesResource(rule, info);
  if (rule.nonResourceURLs.length > 0) return matchesPath(rule, info);
  return true;
}

/** ruleMatchesResource: `pods` is not `pods/exec`; names only count where they are given. */
function matchesResource(rule: PolicyRule, info: RequestInfo | undefined): boolean {
  if (info === undefined || !info.isResourceRequest) return false;
  // What has no namespace has the empty one.
  if (rule.namespaces.length > 0 && !rule.namespaces.includes(info.namespace)) return false;
  if (rule.resources.length === 0) return true;
  const { resource, subresource, name } = info;
  const combined = subresource === '' ? resource : `${resource}/${subresource}`;
  const isNamed = (wanted: string): boolean =>
    wanted === '*' ||
    wanted === combined ||
    (subresource !== '' && wanted === `*/${subresource}`) ||
    wanted === `${resource}/*`;
  return rule.resources.some(
    (entry) =>
      entry.group === info.apiGroup &&
      (entry.resources.length === 0 ||
        ((entry.resourceNames.length === 0 || entry.resourceNames.includes(name)) && entry.resources.some(isNamed))),
  );
}

function matchesPath(rule: PolicyRule, info: RequestInfo | undefined): boolean {
  if (info === undefined || info.isResourceRequest) return false;
  return rule.nonResourceURLs.some(
    (url) => url === '*' || url === info.path || (url.endsWith('*') && info.path.startsWith(url.slice(0, -1))),
  );
}
