// Rows against the rows of a real apiserver (recordings), with the clock at the moment they were made; and the cases of the STATUS
// column that the recordings do not have.

import { expect } from 'chai';
import { humanDuration } from '../../../../src/kube/human-duration.ts';
import { podPrinter } from '../../../../src/sandbox/apiserver/tables/pod-printer.ts';
import { TableMaker } from '../../../../src/sandbox/apiserver/tables/table.ts';
import type { KubeObject } from '../../../../src/sandbox/apiserver/store.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { readAnswers } from '../../../support/recordings.ts';

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

describe('humanDuration', () => {
  const cases: readonly [durationMs: number, text: string][] = [
    [-3 * second, '<invalid>'],
    [-second, '0s'],
    [0, '0s'],
    [119 * second, '119s'],
    [120 * second, '2m'],
    [9 * minute + 59 * second, '9m59s'],
    [10 * minute + 59 * second, '10m'],
    [179 * minute, '179m'],
    [180 * minute, '3h'],
    [7 * hour + 59 * minute, '7h59m'],
    [8 * hour + 59 * minute, '8h'],
    [47 * hour, '47h'],
    [48 * hour, '2d'],
    [7 * day + 5 * hour, '7d5h'],
    [8 * day + 5 * hour, '8d'],
    [729 * day, '729d'],
    [730 * day, '2y'],
    [3 * 365 * day + 4 * day, '3y4d'],
    [9 * 365 * day, '9y'],
  ];
  for (const [durationMs, text] of cases) it(text, () => expect(humanDuration(durationMs)).to.equal(text));
});

interface Row {
  cells: unknown[];
  conditions?: unknown;
  object: { metadata: { name: string } };
}

const answers = readAnswers('apiserver-answers');
const bodyOf = (name: string): string => answers.find((it) => it.name === name)?.response.body ?? '';
/** When the tables were recorded. */
const recordedAt = Date.parse('2026-11-20T21:37:28Z');

describe('TableMaker', () => {
  const rowsOf = (name: string): Row[] => (JSON.parse(bodyOf(name)) as { rows: Row[] }).rows;
  const objectsOf = (name: string): KubeObject[] =>
    bodyOf(name)
      .split('\n')
      .filter((line) => line.includes('"ADDED"'))
      .map((line) => (JSON.parse(line) as { object: KubeObject }).object);
  const make = (resource: string): TableMaker =>
    new TableMaker({ clock: new FakeClock(recordedAt) }, { resource: { group: '', resource }, include: 'Metadata' });

  it('shows the recorded pods as they were shown', () => {
    const table = make('pods');
    const rows = objectsOf('watch with bookmarks').map((pod) => table.row(pod) as Row);
    const plain = (row: Row): object => ({ cells: row.cells, conditions: row.conditions });
    expect(rows.map(plain)).to.deep.equal(rowsOf('pods as table').map(plain));
  });

  it('shows the recorded node as it was shown', () => {
    const node = JSON.parse(bodyOf('node')) as KubeObject;
    expect((make('nodes').row(node) as Row).cells).to.deep.equal(rowsOf('nodes as table')[0]?.cells);
  });

  it('shows the recorded config maps as they were shown', () => {
    const table = make('configmaps');
    const rows = objectsOf('watch list').map((it) => (table.row(it) as Row).cells);
    expect(rows).to.deep.equal(rowsOf('configmaps as table').map(({ cells }) => cells));
  });

  it('puts into a row what the client asked for', () => {
    const node = JSON.parse(bodyOf('node')) as KubeObject;
    const include = (it: 'None' | 'Object'): unknown =>
      (
        new TableMaker({ clock: new FakeClock() }, { resource: { group: '', resource: 'nodes' }, include: it }).row(
          node,
        ) as Row
      ).object;
    expect([include('None'), include('Object')]).to.deep.equal([null, node]);
  });
});

describe('podPrinter', () => {
  const container = (name: string, state: object, more: object = {}): object => ({
    name,
    state,
    restartCount: 0,
    ...more,
  });
  const running = { running: { startedAt: '2026-11-20T00:00:00Z' } };
  const ended = (exitCode: number, more: object = {}): object => ({ terminated: { exitCode, ...more } });

  function status(pod: { spec?: object; status?: object; metadata?: object }): unknown[] {
    const object = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p', ...pod.metadata },
      spec: { containers: [{ name: 'a' }], ...pod.spec },
      status: { phase: 'Running', ...pod.status },
    };
    return podPrinter.cells(object, Date.parse('2026-11-20T01:00:00Z')).slice(1, 4);
  }

  const cases: readonly [name: string, pod: Parameters<typeof status>[0], cells: unknown[]][] = [
    [
      'waiting with a reason',
      { status: { containerStatuses: [container('a', { waiting: { reason: 'ImagePullBackOff' } })] } },
      ['0/1', 'ImagePullBackOff', '0'],
    ],
    [
      'ended with a reason',
      { status: { containerStatuses: [container('a', ended(1, { reason: 'Error' }))] } },
      ['0/1', 'Error', '0'],
    ],
    [
      'ended by a signal',
      { status: { containerStatuses: [container('a', ended(137, { signal: 9 }))] } },
      ['0/1', 'Signal:9', '0'],
    ],
    ['ended with a code', { status: { containerStatuses: [container('a', ended(3))] } }, ['0/1', 'ExitCode:3', '0']],
    [
      'restarted an hour ago',
      {
        status: {
          containerStatuses: [
            container('a', running, {
              ready: true,
              restartCount: 2,
              lastState: ended(1, { finishedAt: '2026-11-20T00:00:00Z' }),
            }),
          ],
        },
      },
      ['1/1', 'Running', '2 (60m ago)'],
    ],
    [
      'second init container runs',
      {
        spec: { initContainers: [{ name: 'i' }, { name: 'j' }] },
        status: { phase: 'Pending', initContainerStatuses: [container('i', ended(0)), container('j', running)] },
      },
      ['0/1', 'Init:1/2', '0'],
    ],
    [
      'init container failed',
      {
        spec: { initContainers: [{ name: 'i' }] },
        status: { phase: 'Pending', initContainerStatuses: [container('i', ended(1, { reason: 'Error' }))] },
      },
      ['0/1', 'Init:Error', '0'],
    ],
    [
      'init container waits',
      {
        spec: { initContainers: [{ name: 'i' }] },
        status: {
          phase: 'Pending',
          initContainerStatuses: [container('i', { waiting: { reason: 'CrashLoopBackOff' } })],
        },
      },
      ['0/1', 'Init:CrashLoopBackOff', '0'],
    ],
    [
      'sidecar counts as a container',
      {
        spec: { initContainers: [{ name: 's', restartPolicy: 'Always' }] },
        status: {
          initContainerStatuses: [container('s', running, { started: true, ready: true })],
          containerStatuses: [container('a', running, { ready: true })],
        },
      },
      ['2/2', 'Running', '0'],
    ],
    [
      'one container completed, one runs, not ready',
      {
        spec: { containers: [{ name: 'a' }, { name: 'b' }] },
        status: {
          containerStatuses: [
            container('a', ended(0, { reason: 'Completed' })),
            container('b', running, { ready: true }),
          ],
        },
      },
      ['1/2', 'NotReady', '0'],
    ],
    ['being deleted', { metadata: { deletionTimestamp: '2026-11-20T00:00:00Z' } }, ['0/1', 'Terminating', '0']],
    [
      'deleted after it ended',
      { metadata: { deletionTimestamp: '2026-11-20T00:00:00Z' }, status: { phase: 'Succeeded' } },
      ['0/1', 'Succeeded', '0'],
    ],
    [
      'on a lost node',
      { metadata: { deletionTimestamp: '2026-11-20T00:00:00Z' }, status: { reason: 'NodeLost' } },
      ['0/1', 'Unknown', '0'],
    ],
    ['evicted', { status: { phase: 'Failed', reason: 'Evicted' } }, ['0/1', 'Evicted', '0']],
    [
      'gated',
      { status: { phase: 'Pending', conditions: [{ type: 'PodScheduled', reason: 'SchedulingGated' }] } },
      ['0/1', 'SchedulingGated', '0'],
    ],
  ];
  for (const [name, pod, cells] of cases) it(name, () => expect(status(pod)).to.deep.equal(cells));
});

describe('other printers', () => {
  const cells = (group: string, resource: string, object: object): unknown[] =>
    (
      new TableMaker({ clock: new FakeClock() }, { resource: { group, resource }, include: 'None' }).row({
        apiVersion: 'v1',
        kind: 'X',
        metadata: { name: 'n', creationTimestamp: '2026-11-19T23:59:55Z' },
        ...object,
      }) as Row
    ).cells;
  const template = { spec: { containers: [{ name: 'c', image: 'i' }] } };

  const cases: readonly [group: string, resource: string, object: object, row: unknown[]][] = [
    [
      '',
      'services',
      {
        spec: {
          type: 'NodePort',
          clusterIP: '10.96.0.9',
          ports: [{ port: 80, nodePort: 30000, protocol: 'TCP' }],
          selector: { b: '2', a: '1' },
        },
      },
      ['n', 'NodePort', '10.96.0.9', '<none>', '80:30000/TCP', '5s', 'a=1,b=2'],
    ],
    [
      '',
      'services',
      { spec: { type: 'LoadBalancer', ports: [] } },
      ['n', 'LoadBalancer', '<none>', '<pending>', '<none>', '5s', '<none>'],
    ],
    [
      '',
      'services',
      { spec: { type: 'ExternalName', externalName: 'x.example' } },
      ['n', 'ExternalName', '<none>', 'x.example', '<none>', '5s', '<none>'],
    ],
    [
      '',
      'endpoints',
      { subsets: [{ addresses: [1, 2, 3, 4].map((it) => ({ ip: `10.0.0.${it}` })), ports: [{ port: 80 }] }] },
      ['n', '10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 1 more...', '5s'],
    ],
    [
      '',
      'events',
      {
        involvedObject: { kind: 'Pod', name: 'p' },
        type: 'Normal',
        reason: 'R',
        message: ' m\n',
        source: { component: 'c', host: 'h' },
        eventTime: '2026-11-19T23:59:50.000000Z',
      },
      ['10s', 'Normal', 'R', 'pod/p', '', 'c, h', 'm', '10s', 1, 'n'],
    ],
    [
      '',
      'nodes',
      {
        metadata: { name: 'n', labels: { 'node-role.kubernetes.io/worker': '', 'node-role.kubernetes.io/a': '' } },
        spec: { unschedulable: true },
      },
      [
        'n',
        'Unknown,SchedulingDisabled',
        'a,worker',
        '<unknown>',
        '',
        '<none>',
        '<none>',
        '<unknown>',
        '<unknown>',
        '<unknown>',
      ],
    ],
    [
      'apps',
      'deployments',
      {
        spec: {
          replicas: 3,
          template,
          selector: { matchLabels: { a: '1' }, matchExpressions: [{ key: 'k', operator: 'In', values: ['y', 'x'] }] },
        },
        status: { readyReplicas: 1, updatedReplicas: 2 },
      },
      ['n', '1/3', 2, 0, '5s', 'c', 'i', 'a=1,k in (x,y)'],
    ],
    [
      'apps',
      'daemonsets',
      { spec: { template }, status: { desiredNumberScheduled: 2, numberReady: 1 } },
      ['n', 2, 0, 1, 0, 0, '<none>', '5s', 'c', 'i', '<none>'],
    ],
    [
      'batch',
      'jobs',
      {
        spec: { completions: 2, template },
        status: {
          succeeded: 2,
          startTime: '2026-11-19T23:59:56Z',
          completionTime: '2026-11-19T23:59:59Z',
          conditions: [{ type: 'Complete', status: 'True' }],
        },
      },
      ['n', 'Complete', '2/2', '3s', '5s', 'c', 'i', '<none>'],
    ],
    [
      'rbac.authorization.k8s.io',
      'rolebindings',
      {
        roleRef: { kind: 'Role', name: 'r' },
        subjects: [
          { kind: 'User', name: 'u' },
          { kind: 'ServiceAccount', namespace: 's', name: 'a' },
        ],
      },
      ['n', 'Role/r', '5s', 'u', '', 's/a'],
    ],
    [
      'apiregistration.k8s.io',
      'apiservices',
      {
        spec: { service: { namespace: 's', name: 'k' } },
        status: { conditions: [{ type: 'Available', status: 'False', reason: 'MissingEndpoints' }] },
      },
      ['n', 's/k', 'False (MissingEndpoints)', '5s'],
    ],
    ['admissionregistration.k8s.io', 'validatingwebhookconfigurations', { webhooks: [{}, {}] }, ['n', 2, '5s']],
    [
      'discovery.k8s.io',
      'endpointslices',
      { addressType: 'IPv4', endpoints: [{ addresses: ['127.0.0.1'] }], ports: [{ port: 6443 }] },
      ['n', 'IPv4', '6443', '127.0.0.1', '5s'],
    ],
    ['coordination.k8s.io', 'leases', { spec: { holderIdentity: 'node1' } }, ['n', 'node1', '5s']],
  ];
  for (const [group, resource, object, row] of cases) {
    it(`${resource} ${JSON.stringify(row.slice(1, 3))}`, () =>
      expect(cells(group, resource, object)).to.deep.equal(row));
  }
});
