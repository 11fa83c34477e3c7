// The sample pods: a shell, two containers behind an init container, a log line a second, and a database to dump on node2, whose
// kubelet is of the older generation.

import type { KubeObject } from './apiserver/store.ts';

export const sampleNamespace = 'default';

interface SampleContainer {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly ports?: readonly number[];
}

interface SamplePod {
  readonly name: string;
  readonly nodeName: string;
  readonly initContainers?: readonly SampleContainer[];
  readonly containers: readonly SampleContainer[];
}

/** Waits for ever and ends at once when asked to. */
const wait = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done'];

const samples: readonly SamplePod[] = [
  { name: 'demo', nodeName: 'node1', containers: [{ name: 'shell', image: 'debian', command: wait }] },
  {
    name: 'multi',
    nodeName: 'node1',
    initContainers: [{ name: 'setup', image: 'busybox', command: ['sh', '-c', 'echo set up'] }],
    containers: [
      { name: 'one', image: 'busybox', command: ['sh', '-c', `echo one runs; ${wait[2]}`] },
      { name: 'two', image: 'busybox', command: ['sh', '-c', `echo two runs; ${wait[2]}`] },
    ],
  },
  {
    name: 'ticker',
    nodeName: 'node1',
    containers: [
      {
        name: 'ticker',
        image: 'busybox',
        command: [
          'sh',
          '-c',
          'trap "exit 0" TERM; i=0; while :; do i=$((i+1)); echo "tick $i"; sleep 1 & wait $!; done',
        ],
      },
    ],
  },
  {
    name: 'db',
    nodeName: 'node2',
    containers: [
      { name: 'db', image: 'postgres', command: ['sh', '-c', `echo ready to accept connections; ${wait[2]}`] },
    ],
  },
];

export const samplePodNames: readonly string[] = samples.map(({ name }) => name);

/** The pods as a client would create them, already bound to their nodes. */
export function samplePods(): KubeObject[] {
  return samples.map(({ name, nodeName, initContainers, containers }) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: sampleNamespace, labels: { app: name } },
    spec: {
      nodeName,
      ...(initContainers === undefined ? {} : { initContainers }),
      containers,
      terminationGracePeriodSeconds: 1,
    },
  }));
}
