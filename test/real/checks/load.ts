// Many watches, long lists, refusals of priority and fairness, and a kube-apiserver that sends GOAWAY: what Go's HTTP/2 server does to kexer's
// client, and what of it reaches a user.

import { readFileSync } from 'node:fs';

import { until } from '../kexer.ts';
import { RawClient } from '../http.ts';
import type { Stage } from '../stage.ts';
import { type Check, same } from './check.ts';

const configMaps = '/api/v1/namespaces/default/configmaps';

/** Connections of this network namespace to kube-apiserver that are open, seen from the client's end. */
function connectionsToApiserver(stage: Stage): number {
  const port = Number(new URL(stage.controlPlane.url).port).toString(16).toUpperCase().padStart(4, '0');
  const rows = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1);
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([, , remote, state]) => state === '01' && remote?.endsWith(`:${port}`) === true).length;
}

async function manyWatches(stage: Stage): Promise<string> {
  // Several of them: a server allows so many streams on a connection, and Go's clients open another one then.
  const clients = Array.from({ length: 20 }, () => RawClient.open(stage, 'kexer', 'robot'));
  const admin = RawClient.open(stage, 'cluster', 'admin');
  try {
    const before = connectionsToApiserver(stage);
    const from = Date.now();
    const watches = clients.flatMap((client) =>
      Array.from({ length: 50 }, () => client.watch(`${configMaps}?watch=1&fieldSelector=metadata.name%3Dwatched`)),
    );
    const statuses = await Promise.all(watches.map(({ status }) => status));
    same('their status', [...new Set(statuses)], [200]);
    const openedMs = Date.now() - from;
    const connections = connectionsToApiserver(stage) - before;
    const metadata = { name: 'watched' };
    await admin.ask('POST', configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata });
    await until('each has the event', async () => watches.every(({ events }) => events() === 1));
    await admin.ask('DELETE', `${configMaps}/watched`);
    await until('each has the second event', async () => watches.every(({ events }) => events() === 2));
    same('watches that ended', watches.filter(({ hasEnded }) => hasEnded()).length, 0);
    for (const { close } of watches) close();
    await until('kexer lets go of them', async () => connectionsToApiserver(stage) <= before + 8);
    return `opened in ${openedMs} ms over ${connections} connections to kube-apiserver; both events came to all`;
  } finally {
    for (const client of clients) client.close();
    admin.close();
  }
}

async function longList(stage: Stage): Promise<string> {
  const admin = RawClient.open(stage, 'cluster', 'admin');
  const seen: string[] = [];
  try {
    for (let i = 0; i < 110; i += 10) {
      await Promise.all(
        Array.from({ length: 10 }, async (_, j) => {
          const answer = await admin.ask('POST', configMaps, {
            apiVersion: 'v1',
            kind: 'ConfigMap',
            metadata: { name: `big-${i + j}`, labels: { big: 'yes' } },
            data: { text: 'abcdefgh'.repeat(115_000) },
          });
          if (answer.status !== 201) throw new Error(`Cannot create: ${answer.text}`);
        }),
      );
    }
    const hashes: string[] = [];
    for (const way of ['cluster', 'kexer', 'aggregated', 'kexer', 'cluster', 'kexer'] as const) {
      const client = RawClient.open(stage, way, 'robot');
      // So that no two lists have the same resourceVersion, whatever else goes on.
      await admin.ask('POST', '/api/v1/namespaces/kube-system/configmaps', {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { generateName: 'counts-' },
      });
      const from = Date.now();
      const { status, bytes, sha256 } = await client.ask('GET', `${configMaps}?labelSelector=big`);
      same(`its status by ${way}`, status, 200);
      hashes.push(sha256);
      seen.push(`${way} ${Math.round(bytes / 1e6)} MB in ${Date.now() - from} ms`);
      client.close();
    }
    same('the lists are one', new Set(hashes).size, 1);
    return seen.join(', ');
  } finally {
    admin.close();
  }
}

/** robot's calls get a priority level with next to no seats, and are asked for more than that. */
async function fairness(stage: Stage): Promise<string> {
  const admin = RawClient.open(stage, 'cluster', 'admin');
  const group = '/apis/flowcontrol.apiserver.k8s.io';
  const { text } = await admin.ask('GET', group);
  const version = (JSON.parse(text) as { preferredVersion: { version: string } }).preferredVersion.version;
  const apiVersion = `flowcontrol.apiserver.k8s.io/${version}`;
  const shares =
    version === 'v1beta1' || version === 'v1beta2' ? 'assuredConcurrencyShares' : 'nominalConcurrencyShares';
  const kind = 'ServiceAccount';
  const objects: readonly (readonly [string, object])[] = [
    ['prioritylevelconfigurations', { type: 'Limited', limited: { [shares]: 1, limitResponse: { type: 'Reject' } } }],
    [
      'flowschemas',
      {
        priorityLevelConfiguration: { name: 'narrow' },
        matchingPrecedence: 2,
        rules: [
          {
            subjects: [{ kind, serviceAccount: { namespace: 'default', name: 'robot' } }],
            resourceRules: [{ verbs: ['list'], apiGroups: ['*'], resources: ['configmaps'], namespaces: ['*'] }],
          },
        ],
      },
    ],
  ];
  const seen: string[] = [];
  try {
    for (const [resource, spec] of objects) {
      const objectKind = resource === 'flowschemas' ? 'FlowSchema' : 'PriorityLevelConfiguration';
      const answer = await admin.ask('POST', `${group}/${version}/${resource}`, {
        apiVersion,
        kind: objectKind,
        metadata: { name: 'narrow' },
        spec,
      });
      if (answer.status !== 201) throw new Error(answer.text);
    }
    for (const way of ['cluster', 'kexer', 'aggregated'] as const) {
      const client = RawClient.open(stage, way, 'robot');
      const refusals = new Set<string>();
      let asked = 0;
      await until(`there are refusals by ${way}`, async () => {
        const answers = await Promise.all(
          Array.from({ length: 24 }, () => client.ask('GET', `${configMaps}?labelSelector=big`)),
        );
        asked += answers.length;
        for (const { status, headers, text } of answers) {
          if (status === 200) continue;
          refusals.add(JSON.stringify([status, headers['retry-after'], headers['content-type'], text.trim()]));
        }
        return refusals.size > 0;
      });
      seen.push([...refusals].join(' '));
      client.close();
      if (refusals.size !== 1) throw new Error(`different refusals of ${asked} by ${way}: ${[...refusals].join(' ')}`);
    }
    same('the refusals are one', new Set(seen).size, 1);
    return seen[0] ?? '';
  } finally {
    for (const [resource] of objects.toReversed()) await admin.ask('DELETE', `${group}/${version}/${resource}/narrow`);
    admin.close();
  }
}

/** Each request over HTTP/2 has its connection end with a chance of 2 %, the most that kube-apiserver takes. */
async function goaway(stage: Stage): Promise<string> {
  const { apiserver } = stage.controlPlane;
  await apiserver.restart(['--goaway-chance=0.02']);
  const client = RawClient.open(stage, 'kexer', 'robot');
  try {
    await until(
      'it serves again',
      async () => (await client.ask('GET', '/api/v1/namespaces/default/pods')).status === 200,
    );
    const watches = Array.from({ length: 80 }, () => client.watch('/api/v1/namespaces/default/pods?watch=1'));
    await Promise.all(watches.map(({ status }) => status));
    // Lists go over HTTP/1.1, which knows no GOAWAY; each watch that begins, and each object that is got, may bring one upon those of its connection.
    const outcomes = new Map<string, number>();
    const path = '/api/v1/namespaces/default/pods';
    for (let round = 0; round < 30; round += 1) {
      const answers = await Promise.allSettled([
        ...Array.from({ length: 15 }, () => client.ask('GET', path)),
        ...Array.from({ length: 15 }, () => client.ask('GET', `${path}/demo`)),
        ...Array.from({ length: 50 }, () => client.ask('GET', `${path}?watch=1&timeoutSeconds=1`)),
      ]);
      for (const answer of answers) {
        const outcome = answer.status === 'fulfilled' ? String(answer.value.status) : String(answer.reason);
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      }
    }
    same('what the calls came to', Object.fromEntries(outcomes), { 200: 2400 });
    const ended = watches.filter(({ hasEnded }) => hasEnded()).length;
    for (const { close } of watches) close();
    same('watches that ended', ended, 0);
    return '900 calls and 1,500 short watches answered, none of 80 long ones ended';
  } finally {
    client.close();
    await apiserver.restart([]);
  }
}

export const loadChecks: readonly Check[] = [
  { name: 'load: 1,000 watches share connections', run: manyWatches },
  { name: 'load: a list of 100 MB is the same', run: longList },
  { name: 'load: what priority and fairness refuses is refused alike', run: fairness },
  { name: 'load: GOAWAY of kube-apiserver reaches nobody', run: goaway },
];
