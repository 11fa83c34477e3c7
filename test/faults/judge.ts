// What a run may and may not have led to. The rules are the promises of DESIGN section 2: success only with the whole of it, what came is
// a prefix of what was sent, and a failure that kexer knows of is told with its reason.

import type { Performance } from './perform.ts';
import type { RunPlan } from './plan.ts';
import type { SessionReport } from './sessions/session.ts';

export interface Judgement {
  /** Empty: nothing is wrong. */
  readonly violations: readonly string[];
  /**
   * A false success that kexer cannot prevent: SPDY v1 to v3, whose success is an empty stream, with a lost connection to the client; or a log
   * on the detour, which kube-apiserver ends in order when its kubelet has died.
   */
  readonly exception: string | undefined;
}

/** Nothing that the client could notice was broken: it must get everything. */
export function isHarmless(plan: RunPlan, seen: Pick<Performance, 'isFired' | 'wasOpen'>): boolean {
  if (!seen.isFired) return true;
  const { act } = plan.fault;
  switch (act.kind) {
    case 'none':
    case 'drip':
    case 'stallKubelet':
    case 'slowClient':
      return true;
    case 'stall':
      return act.forMs !== undefined;
    case 'killApiserver':
    case 'stopApiserver':
      // Promise 2: on the direct path a running session does not depend on it.
      return plan.path === 'direct' && seen.wasOpen;
    case 'cutRuntime':
      return plan.kind === 'forward' || plan.kind === 'logs';
    default:
      return false;
  }
}

/** The client's own connection was lost, or everything behind it at once. */
function isClientLegLost(plan: RunPlan): boolean {
  const { act, leg } = plan.fault;
  switch (act.kind) {
    case 'cut':
    case 'reset':
    case 'halfClose':
    case 'stall':
      return leg === 'client';
    case 'killKexer':
    case 'deadClient':
      return true;
    case 'killApiserver':
    case 'stopApiserver':
      return plan.path === 'aggregated';
    default:
      return false;
  }
}

/** kexer knows what broke and the client can still be told. */
function mustBeTold(plan: RunPlan): boolean {
  if (isClientLegLost(plan)) return false;
  const { act, leg } = plan.fault;
  switch (act.kind) {
    case 'cut':
    case 'reset':
    case 'halfClose':
      return leg === 'kubelet';
    case 'killKubelet':
    case 'cutRuntime':
    case 'stopKexer':
      return true;
    case 'killApiserver':
      return plan.path === 'detour';
    default:
      return false;
  }
}

export function judge(plan: RunPlan, seen: Performance): Judgement {
  const { report, expected } = seen;
  if (report === undefined) return { violations: ['the session hangs'], exception: undefined };
  const violations: string[] = [];
  let exception: string | undefined;
  const { result, received } = report;
  const isWhole = received.equals(expected);
  if (!isWhole && !isPrefix(received, expected)) {
    violations.push(`what came is no prefix of what was sent: ${difference(received, expected)}`);
  }
  if (result.kind === 'failure') {
    if (isHarmless(plan, seen)) violations.push(`it failed although nothing was broken: ${result.message}`);
    else if (mustBeTold(plan)) violations.push(...untold(plan, report));
  } else {
    const code = result.kind === 'success' ? 0 : result.code;
    const isTrue = isWhole && code === plan.exitCode;
    if (!isTrue && seen.isFired) exception = excuse(plan);
    if (!isTrue && exception === undefined) {
      violations.push(
        `false success: exit code ${code} (want ${plan.exitCode}) with ${received.length} of ${expected.length} bytes`,
      );
    }
  }
  return { violations, exception };
}

/** Why a false success is not kexer's, if it is not. */
function excuse(plan: RunPlan): string | undefined {
  if (isLegacySpdy(plan) && isClientLegLost(plan)) return 'false success that SPDY v1 to v3 cannot avoid';
  const isCutLog = plan.kind === 'logs' && plan.path === 'detour' && plan.fault.act.kind === 'killKubelet';
  return isCutLog ? 'false end of a log by kube-apiserver itself' : undefined;
}

/** Success is an empty error stream there, so that a lost connection is no different. */
function isLegacySpdy(plan: RunPlan): boolean {
  return plan.kind !== 'forward' && plan.protocol.transport === 'spdy' && plan.protocol.name !== 'v4.channel.k8s.io';
}

/** What is missing of a failure that the client could have been told. */
function untold(plan: RunPlan, { phase, result }: SessionReport): string[] {
  if (result.kind !== 'failure') return [];
  const isStopping = plan.fault.act.kind === 'stopKexer';
  // Its door may be shut already.
  if (isStopping && phase !== 'open') return [];
  if (phase === 'unreached') return [`no answer at all although only the kubelet's leg broke: ${result.message}`];
  // A body has no place for a reason; a stream that could not be opened has its own.
  if (phase === 'open' && plan.kind === 'logs' && plan.protocol.transport !== 'ws') return [];
  // Nobody waits for streams that a client still opens when kexer stops without grace, and port-forward has no place for a reason before.
  const isOpening = phase === 'open' && result.message.startsWith('cannot open a stream');
  if (isOpening && (isStopping || plan.kind === 'forward')) return [];
  if (!result.isTold) return [`the client was not told what broke: ${result.message}`];
  // What kube-apiserver says of a kubelet that it cannot reach is its own answer.
  if (phase !== 'open' && plan.path === 'detour') return [];
  const culprit = isStopping ? 'kexer' : plan.path === 'detour' ? 'kube-apiserver' : plan.node;
  const isNamed = result.message.includes(culprit);
  return isNamed || plan.kind === 'logs' ? [] : [`the failure does not name what broke: ${result.message}`];
}

function isPrefix(part: Buffer, whole: Buffer): boolean {
  return part.length <= whole.length && part.equals(whole.subarray(0, part.length));
}

function difference(received: Buffer, expected: Buffer): string {
  let at = 0;
  while (at < received.length && at < expected.length && received[at] === expected[at]) at += 1;
  const excerpt = (bytes: Buffer): string => JSON.stringify(bytes.subarray(at, at + 40).toString('latin1'));
  return `${received.length} bytes came, ${expected.length} were sent, the first other one is ${at}: ${excerpt(received)}, want ${excerpt(expected)}`;
}
