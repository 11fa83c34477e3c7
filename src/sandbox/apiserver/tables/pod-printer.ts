// The row of a pod: the STATUS column is the only place in Kubernetes where a pod's many states become one word, so the order of
// the cases below is kube-apiserver's, case for case.

import { at, integer, isRecord, type Json, records, text } from '../objects/fields.ts';
import type { KubeObject } from '../objects/object.ts';
import { ageOf } from '../../../kube/human-duration.ts';
import {
  age,
  ageColumn,
  column,
  conditionOf,
  doc,
  nameColumn,
  none,
  type Printer,
  specOf,
  statusOf,
  wide,
} from './printer.ts';

interface Progress {
  reason: string;
  ready: number;
  restarts: number;
  /** Newest end of an earlier run, as an RFC 3339 text, which sorts by time. */
  lastRestart: string;
}

function isSidecar(container: Json | undefined): boolean {
  return container?.['restartPolicy'] === 'Always';
}

function later(a: string, b: unknown): string {
  return typeof b === 'string' && b > a ? b : a;
}

function terminationText(terminated: Json): string {
  const reason = text(terminated['reason']);
  if (reason !== '') return reason;
  const signal = integer(terminated['signal']);
  return signal === 0 ? `ExitCode:${integer(terminated['exitCode'])}` : `Signal:${signal}`;
}

/** Walks the init containers; returns whether the pod is still initializing. Fills `sidecars` with what counts after that. */
function readInitContainers(pod: KubeObject, all: Progress, sidecars: Progress): boolean {
  const specs = records(specOf(pod)['initContainers']);
  for (const [index, status] of records(statusOf(pod)['initContainerStatuses']).entries()) {
    const spec = specs.find((container) => container['name'] === status['name']);
    const restarts = integer(status['restartCount']);
    const finishedAt = at(status, 'lastState', 'terminated', 'finishedAt');
    all.restarts += restarts;
    all.lastRestart = later(all.lastRestart, finishedAt);
    if (isSidecar(spec)) {
      sidecars.restarts += restarts;
      sidecars.lastRestart = later(sidecars.lastRestart, finishedAt);
    }
    const terminated = at(status, 'state', 'terminated');
    const waiting = text(at(status, 'state', 'waiting', 'reason'));
    if (isRecord(terminated) && integer(terminated['exitCode']) === 0) continue;
    if (isSidecar(spec) && status['started'] === true) {
      if (status['ready'] === true) all.ready += 1;
      continue;
    }
    if (isRecord(terminated)) all.reason = `Init:${terminationText(terminated)}`;
    else if (waiting !== '' && waiting !== 'PodInitializing') all.reason = `Init:${waiting}`;
    else all.reason = `Init:${index}/${specs.length}`;
    return true;
  }
  return false;
}

function readContainers(pod: KubeObject, progress: Progress): void {
  let hasRunning = false;
  for (const status of records(statusOf(pod)['containerStatuses']).toReversed()) {
    progress.restarts += integer(status['restartCount']);
    progress.lastRestart = later(progress.lastRestart, at(status, 'lastState', 'terminated', 'finishedAt'));
    const terminated = at(status, 'state', 'terminated');
    const waiting = text(at(status, 'state', 'waiting', 'reason'));
    if (waiting !== '') progress.reason = waiting;
    else if (isRecord(terminated)) progress.reason = terminationText(terminated);
    else if (status['ready'] === true && at(status, 'state', 'running') !== undefined) {
      hasRunning = true;
      progress.ready += 1;
    }
  }
  if (progress.reason === 'Completed' && hasRunning) {
    progress.reason = conditionOf(pod, 'Ready')['status'] === 'True' ? 'Running' : 'NotReady';
  }
}

function progressOf(pod: KubeObject): Progress {
  const status = statusOf(pod);
  const phase = text(status['phase']);
  const all: Progress = { reason: text(status['reason']) || phase, ready: 0, restarts: 0, lastRestart: '' };
  if (conditionOf(pod, 'PodScheduled')['reason'] === 'SchedulingGated') all.reason = 'SchedulingGated';
  const sidecars: Progress = { ...all };
  const isInitializing = readInitContainers(pod, all, sidecars);
  if (!isInitializing || conditionOf(pod, 'Initialized')['status'] === 'True') {
    // Restarts of plain init containers are history by now.
    all.restarts = sidecars.restarts;
    all.lastRestart = sidecars.lastRestart;
    readContainers(pod, all);
  }
  if (pod.metadata.deletionTimestamp !== undefined) {
    if (status['reason'] === 'NodeLost') all.reason = 'Unknown';
    else if (phase !== 'Succeeded' && phase !== 'Failed') all.reason = 'Terminating';
  }
  return all;
}

function readinessGates(pod: KubeObject): string {
  const gates = records(specOf(pod)['readinessGates']);
  if (gates.length === 0) return none;
  const passed = gates.filter((gate) => conditionOf(pod, text(gate['conditionType']))['status'] === 'True');
  return `${passed.length}/${gates.length}`;
}

const ended: Readonly<Record<string, string>> = {
  Succeeded: 'The pod has completed successfully.',
  Failed: 'The pod failed.',
};

export const podPrinter: Printer = {
  columns: [
    nameColumn,
    column('Ready', 'The aggregate readiness state of this pod for accepting traffic.'),
    column('Status', 'The aggregate status of the containers in this pod.'),
    column(
      'Restarts',
      'The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.',
    ),
    ageColumn,
    wide('IP', doc('core.v1.PodStatus', 'podIP')),
    wide('Node', doc('core.v1.PodSpec', 'nodeName')),
    wide('Nominated Node', doc('core.v1.PodStatus', 'nominatedNodeName')),
    wide('Readiness Gates', doc('core.v1.PodSpec', 'readinessGates')),
  ],
  cells(pod, nowMs) {
    const spec = specOf(pod);
    const status = statusOf(pod);
    const { reason, ready, restarts, lastRestart } = progressOf(pod);
    const total = records(spec['containers']).length + records(spec['initContainers']).filter(isSidecar).length;
    const ips = records(status['podIPs']);
    return [
      pod.metadata.name,
      `${ready}/${total}`,
      reason,
      restarts !== 0 && lastRestart !== '' ? `${restarts} (${ageOf(lastRestart, nowMs)} ago)` : String(restarts),
      age(pod, nowMs),
      text(ips[0]?.['ip']) || text(status['podIP']) || none,
      text(spec['nodeName']) || none,
      text(status['nominatedNodeName']) || none,
      readinessGates(pod),
    ];
  },
  conditions(pod) {
    const phase = text(statusOf(pod)['phase']);
    const message = ended[phase];
    return message === undefined ? undefined : [{ type: 'Completed', status: 'True', reason: phase, message }];
  },
};
