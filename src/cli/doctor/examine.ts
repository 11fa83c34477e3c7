// All checks in their order. Without a kube-apiserver that answers, what asks it is not looked at: ten times the same failure would hide the one.

import { checkAdmission } from './check-admission.ts';
import { checkApiService } from './check-api-service.ts';
import { checkApiserver } from './check-apiserver.ts';
import { checkClusters } from './check-clusters.ts';
import { checkKubelets } from './check-kubelets.ts';
import { checkRights } from './check-rights.ts';
import { checkTrust } from './check-trust.ts';
import type { Examination } from './examination.ts';
import { type Finding, guarded, skip } from './finding.ts';

/** Never rejects. */
export async function examine(examination: Examination): Promise<Finding[]> {
  const { config } = examination;
  const { report, findings } = await checkApiserver(examination);
  const checks: readonly (readonly [check: string, look: () => Promise<readonly Finding[]>])[] = [
    ['apiservice', () => checkApiService(examination)],
    ['front-proxy', () => checkTrust(examination)],
    ['rights', () => checkRights(examination, report)],
    ['admission', () => checkAdmission(examination)],
    ['kubelets', () => checkKubelets(examination)],
    ...(config.clusters.namespaces.length === 0 ? [] : [['clusters', () => checkClusters(examination)] as const]),
  ];
  if (!report.isUsable) {
    return [...findings, ...checks.map(([check]) => skip(check, 'Not looked at: it needs kube-apiserver'))];
  }
  const found: Finding[] = [...findings];
  for (const [check, look] of checks) found.push(...(await guarded(check, look)));
  return found;
}
