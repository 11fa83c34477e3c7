// What a cluster does by itself must go on with kexer's API group in it: namespaces end, garbage is collected, quotas are counted, discovery has no
// hole, and neither kube-controller-manager nor kube-apiserver complains of the group.

import { setTimeout as sleep } from 'node:timers/promises';

import { until } from '../kexer.ts';
import { contextOf, type Stage } from '../stage.ts';
import { type Check, same } from './check.ts';

async function namespaceEnds(stage: Stage): Promise<string> {
  const { kubectl } = stage;
  const context = contextOf('kexer', 'admin');
  await kubectl.output(['create', 'namespace', 'doomed'], { context });
  await kubectl.output(['-n', 'doomed', 'create', 'configmap', 'one', '--from-literal=a=b'], { context });
  const from = Date.now();
  await kubectl.output(['delete', 'namespace', 'doomed', '--timeout=60s'], { context, timeoutMs: 70_000 });
  same('its end', (await kubectl.run(['get', 'namespace', 'doomed'], { context })).code, 1);
  return `${Date.now() - from} ms`;
}

async function garbage(stage: Stage): Promise<string> {
  const { kubectl } = stage;
  const context = contextOf('kexer', 'admin');
  await kubectl.output(['create', 'configmap', 'owner'], { context });
  const uid = await kubectl.output(['get', 'configmap', 'owner', '-o', 'jsonpath={.metadata.uid}'], { context });
  const ownerReferences = [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid }];
  const owned = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'owned', ownerReferences } };
  await kubectl.output(['create', '-f', '-'], { context, stdin: JSON.stringify(owned) });
  await kubectl.output(['delete', 'configmap', 'owner'], { context });
  await until('the owned one is collected', async () => {
    const { stderr } = await kubectl.run(['get', 'configmap', 'owned'], { context });
    return stderr.includes('not found');
  });
  return '';
}

async function quota(stage: Stage): Promise<string> {
  const { kubectl } = stage;
  const context = contextOf('kexer', 'admin');
  await kubectl.output(['create', 'namespace', 'counted'], { context });
  try {
    await kubectl.output(['-n', 'counted', 'create', 'quota', 'q', '--hard=configmaps=3'], { context });
    await until('it is counted', async () => {
      const used = await kubectl.output([
        '-n',
        'counted',
        'get',
        'quota',
        'q',
        '-o',
        'jsonpath={.status.used.configmaps}',
      ]);
      return used !== '';
    });
    let refusal = '';
    for (let i = 0; i < 4; i += 1) {
      const { stderr } = await kubectl.run(['-n', 'counted', 'create', 'configmap', `c${i}`], { context });
      refusal ||= stderr;
    }
    if (!refusal.includes('exceeded quota: q')) throw new Error(`no refusal: ${refusal}`);
    return refusal.trim();
  } finally {
    await kubectl.run(['delete', 'namespace', 'counted', '--wait=false'], { context });
  }
}

/** Ends at once when it is told to, as PID 1 does not by itself. */
const loop = 'trap "exit 0" TERM; while :; do sleep 1; done';

async function deployments(stage: Stage): Promise<string> {
  const { kubectl } = stage;
  const context = contextOf('kexer', 'alice');
  const make = ['create', 'deployment', 'web', '--image=busybox', '--replicas=2', '--', 'sh', '-c', loop];
  await kubectl.output(make, { context });
  await kubectl.output(['rollout', 'status', 'deployment', 'web', '--timeout=60s'], { context });
  await kubectl.output(['set', 'env', 'deployment/web', 'A=b'], { context });
  await kubectl.output(['rollout', 'status', 'deployment', 'web', '--timeout=60s'], { context });
  same(
    'exec by the deployment',
    await kubectl.output(['exec', 'deploy/web', '--', 'sh', '-c', 'echo $A'], { context }),
    'b\n',
  );
  await kubectl.output(['delete', 'deployment', 'web', '--cascade=foreground', '--timeout=60s'], { context });
  return 'rolled out twice, entered, deleted in the foreground';
}

/** Lines of a log that name kexer's group, without those from before it answered. */
async function quietLogs(stage: Stage): Promise<string> {
  const { apiserver, controllerManager } = stage.controlPlane;
  const lengths = [apiserver, controllerManager].map(({ log }) => log.length);
  await sleep(35_000); // the controllers' discovery comes every 30 s
  const lines = [apiserver, controllerManager].flatMap(({ log }, index) =>
    log
      .slice(lengths[index])
      .split('\n')
      .filter((line) => /backup\.cv\.io|memcache|unable to (retrieve|get).*(discovery|server APIs)/.test(line)),
  );
  // kube-apiserver of 1.20 asks each group for OpenAPI v2, and says of every one without it that it asks again later.
  const complaints = lines.filter((line) => !/OpenAPI (spec|AggregationController)/.test(line));
  if (complaints.length > 0) throw new Error(complaints.slice(0, 5).join('\n'));
  return `35 s without a complaint (${lines.length} lines say that there is no OpenAPI)`;
}

export const clusterLifeChecks: readonly Check[] = [
  { name: 'cluster life: a namespace ends', run: namespaceEnds },
  { name: 'cluster life: garbage is collected', run: garbage },
  { name: 'cluster life: a quota counts', run: quota },
  { name: 'cluster life: a deployment is rolled out', needsNode: true, run: deployments },
  { name: 'cluster life: nobody complains of the API group', run: quietLogs },
];
