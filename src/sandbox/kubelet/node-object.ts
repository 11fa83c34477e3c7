// The Node that a sandbox kubelet registers: Ready, on loopback, with the version and the declared features of its generation, by
// which kube-apiserver (and whoever imitates it) chooses how to talk to it.

import { arch, availableParallelism, release, totalmem } from 'node:os';
import { kubeTime } from '../apiserver/objects/object.ts';
import type { KubeObject } from '../apiserver/store.ts';

export const nodeResource = { group: '', resource: 'nodes' } as const;

export interface NodeFacts {
  readonly name: string;
  readonly generation: '1.36' | '1.35';
  readonly port: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly uid: string;
  readonly nowMs: number;
}

const versions = { '1.36': 'v1.36.2', '1.35': 'v1.35.5' } as const;

const declaredFeatures = {
  '1.36': [
    'ExtendWebSocketsToKubelet',
    'InPlacePodLevelResourcesVerticalScaling',
    'InPlacePodVerticalScalingInitContainers',
    'RestartAllContainersOnContainerExits',
  ],
  '1.35': [],
} as const;

/** Go's names of architectures. */
function goArch(): string {
  const name = arch();
  if (name === 'x64') return 'amd64';
  return name === 'ia32' ? '386' : name;
}

function condition(type: string, status: 'True' | 'False', reason: string, message: string, time: string): object {
  return { type, status, lastHeartbeatTime: time, lastTransitionTime: time, reason, message };
}

function statusOf({ name, generation, port, uid, nowMs }: NodeFacts): object {
  const time = kubeTime(nowMs);
  const resources = {
    cpu: String(availableParallelism()),
    'ephemeral-storage': '10Gi',
    'hugepages-1Gi': '0',
    'hugepages-2Mi': '0',
    memory: `${Math.floor(totalmem() / 1024)}Ki`,
    pods: '110',
  };
  const features = declaredFeatures[generation];
  return {
    capacity: resources,
    allocatable: resources,
    conditions: [
      condition(
        'MemoryPressure',
        'False',
        'KubeletHasSufficientMemory',
        'kubelet has sufficient memory available',
        time,
      ),
      condition('DiskPressure', 'False', 'KubeletHasNoDiskPressure', 'kubelet has no disk pressure', time),
      condition('PIDPressure', 'False', 'KubeletHasSufficientPID', 'kubelet has sufficient PID available', time),
      condition('Ready', 'True', 'KubeletReady', 'kubelet is posting ready status', time),
    ],
    addresses: [
      { type: 'InternalIP', address: '127.0.0.1' },
      { type: 'Hostname', address: name },
    ],
    daemonEndpoints: { kubeletEndpoint: { Port: port } },
    nodeInfo: {
      machineID: uid.replaceAll('-', ''),
      systemUUID: uid,
      bootID: uid,
      kernelVersion: release(),
      osImage: 'kexer sandbox (local processes)',
      containerRuntimeVersion: 'sandbox://0.1.0',
      kubeletVersion: versions[generation],
      kubeProxyVersion: '',
      operatingSystem: 'linux',
      architecture: goArch(),
    },
    ...(features.length === 0 ? {} : { declaredFeatures: [...features] }),
  };
}

export function nodeObject(facts: NodeFacts): KubeObject {
  const architecture = goArch();
  return {
    kind: 'Node',
    apiVersion: 'v1',
    metadata: {
      name: facts.name,
      labels: {
        'beta.kubernetes.io/arch': architecture,
        'beta.kubernetes.io/os': 'linux',
        'kubernetes.io/arch': architecture,
        'kubernetes.io/hostname': facts.name,
        'kubernetes.io/os': 'linux',
        ...facts.labels,
      },
      annotations: {
        'node.alpha.kubernetes.io/ttl': '0',
        'volumes.kubernetes.io/controller-managed-attach-detach': 'true',
      },
    },
    spec: {},
    status: statusOf(facts),
  };
}
