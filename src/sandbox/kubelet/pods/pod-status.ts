// Puts a pod's status together from what its containers say: phase and conditions by the kubelet's rules, in its words. Pure.

import { qosClass } from '../../apiserver/lifecycle/pod-defaults.ts';
import type { ContainerSlot } from './container-slot.ts';
import type { Pod, PodCondition, PodStatus } from './pod.ts';

export interface PodSlots {
  readonly init: readonly ContainerSlot[];
  readonly regular: readonly ContainerSlot[];
  readonly ephemeral: readonly ContainerSlot[];
}

export interface StatusContext {
  readonly pod: Pod;
  readonly slots: PodSlots;
  readonly hostIp: string;
  /** Volumes are made and namespaces may be. */
  readonly isPrepared: boolean;
  readonly startTime: string;
  readonly now: string;
}

/** Down for good: ended, and the policy does not start it again. */
function isOver(slot: ContainerSlot, policy: string): boolean {
  const { exitCode } = slot;
  if (exitCode === undefined) return false;
  return policy === 'Never' || (policy === 'OnFailure' && exitCode === 0);
}

function isInitialized(slots: PodSlots): boolean {
  return slots.init.every((slot) => slot.exitCode === 0 || (slot.spec.restartPolicy === 'Always' && slot.isRunning));
}

function phaseOf(pod: Pod, slots: PodSlots): string {
  const policy = pod.spec.restartPolicy ?? 'Always';
  const failedInit = slots.init.some(
    (slot) => slot.exitCode !== undefined && slot.exitCode !== 0 && policy === 'Never',
  );
  if (failedInit) return 'Failed';
  if (slots.regular.every((slot) => isOver(slot, policy))) {
    return slots.regular.every((slot) => slot.exitCode === 0) ? 'Succeeded' : 'Failed';
  }
  const hasStarted = slots.regular.every((slot) => slot.status().containerID !== undefined);
  return hasStarted && isInitialized(slots) ? 'Running' : 'Pending';
}

type Fact = Pick<PodCondition, 'status' | 'reason' | 'message'>;

const yes: Fact = { status: 'True' };

function no(reason: string, message?: string): Fact {
  return { status: 'False', reason, ...(message === undefined ? {} : { message }) };
}

function readiness(phase: string, slots: PodSlots): Fact {
  if (phase === 'Succeeded') return no('PodCompleted');
  if (phase === 'Failed') return no('PodFailed');
  const unready = slots.regular.filter((slot) => !slot.isRunning).map((slot) => slot.spec.name);
  return unready.length === 0
    ? yes
    : no('ContainersNotReady', `containers with unready status: [${unready.join(' ')}]`);
}

function initialized(phase: string, slots: PodSlots): Fact {
  if (phase === 'Succeeded') return { status: 'True', reason: 'PodCompleted' };
  const missing = slots.init.filter((slot) => slot.exitCode !== 0 && !slot.isRunning).map((slot) => slot.spec.name);
  if (isInitialized(slots)) return yes;
  return no('ContainersNotInitialized', `containers with incomplete status: [${missing.join(' ')}]`);
}

/** Order in which the kubelet lists them. */
function factsOf({ pod, slots, isPrepared }: StatusContext, phase: string): [string, Fact][] {
  const isOverNow = phase === 'Succeeded' || phase === 'Failed';
  return [
    ['PodReadyToStartContainers', isPrepared && !isOverNow ? yes : { status: 'False' }],
    ['Initialized', initialized(phase, slots)],
    ['Ready', readiness(phase, slots)],
    ['ContainersReady', readiness(phase, slots)],
    ['PodScheduled', pod.spec.nodeName === undefined ? no('Unschedulable') : yes],
  ];
}

function conditionsOf(context: StatusContext, phase: string): PodCondition[] {
  const before = context.pod.status?.conditions ?? [];
  const { generation } = context.pod.metadata;
  const facts = factsOf(context, phase);
  const own = facts.map(([type, fact]): PodCondition => {
    const old = before.find((condition) => condition.type === type);
    return {
      type,
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      status: fact.status,
      lastProbeTime: null,
      lastTransitionTime: old !== undefined && old.status === fact.status ? old.lastTransitionTime : context.now,
      ...(fact.reason === undefined ? {} : { reason: fact.reason }),
      ...(fact.message === undefined ? {} : { message: fact.message }),
    };
  });
  const names = new Set(facts.map(([type]) => type));
  return [...own, ...before.filter(({ type }) => !names.has(type))];
}

export function podStatusOf(context: StatusContext): PodStatus {
  const { pod, slots, hostIp, startTime } = context;
  const phase = phaseOf(pod, slots);
  const { generation } = pod.metadata;
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    phase,
    conditions: conditionsOf(context, phase),
    hostIP: hostIp,
    hostIPs: [{ ip: hostIp }],
    podIP: hostIp,
    podIPs: [{ ip: hostIp }],
    startTime,
    ...(slots.init.length === 0 ? {} : { initContainerStatuses: slots.init.map((slot) => slot.status()) }),
    containerStatuses: slots.regular.map((slot) => slot.status()),
    qosClass: qosClass(pod),
    ...(slots.ephemeral.length === 0
      ? {}
      : { ephemeralContainerStatuses: slots.ephemeral.map((slot) => slot.status()) }),
  };
}
