// Carries one run out: prepares what flows, starts the session through the proxies, lets the fault happen, repairs what it broke, and tells
// what was seen. What is right or wrong about that is the judge's to say.

import { unreachable } from '../../src/base/unreachable.ts';
import type { Act, RunPlan } from './plan.ts';
import { isVictimAct, patienceMs } from './plan.ts';
import { SpdyExecSession } from './sessions/exec-spdy.ts';
import { WebSocketExecSession } from './sessions/exec-websocket.ts';
import { ChannelForwardSession, SpdyForwardSession } from './sessions/forward.ts';
import { Http1LogSession, Http2LogSession, WebSocketLogSession } from './sessions/logs.ts';
import type { RunningSession, SessionReport, SessionTarget, Work } from './sessions/session.ts';
import type { ProxyAction, ProxyFault } from './support/fault-proxy.ts';
import type { KexerProcess } from './support/kexer-process.ts';
import { Random } from './support/random.ts';
import { clusterPath, type FaultStage, pause } from './support/stage.ts';
import {
  echo,
  payload,
  PortServer,
  removePod,
  sequence,
  serveSequence,
  sha256Line,
  startPod,
  wideSequence,
} from './support/workload.ts';

export interface Performance {
  readonly report: SessionReport | undefined;
  /** Everything that an undisturbed client would get. */
  readonly expected: Buffer;
  /** The fault went off. */
  readonly isFired: boolean;
  /** The session was open when it did. */
  readonly wasOpen: boolean;
}

/** No session of these sizes takes longer, whatever happens to it; one that does hangs. */
const deadlineMs = 20_000;

interface Prepared {
  readonly work: Work;
  readonly expected: Buffer;
  dispose(): Promise<void>;
}

/** Its kexer does not live through it. */
export function needsVictim({ fault }: RunPlan): boolean {
  return isVictimAct(fault.act);
}

export async function performRun(stage: FaultStage, plan: RunPlan): Promise<Performance> {
  const victim = needsVictim(plan) ? await stage.takeVictim() : undefined;
  try {
    const total = plan.fault.where.kind === 'beforeEnd' ? await measure(stage, plan, victim) : undefined;
    return await new Run(stage, plan, victim, total).perform();
  } finally {
    await victim?.kill();
  }
}

/** Bytes that the same session takes without a fault, on the leg and in the direction of the fault. */
async function measure(stage: FaultStage, plan: RunPlan, victim: KexerProcess | undefined): Promise<number> {
  const { leg, direction } = plan.fault;
  const quiet: RunPlan = {
    ...plan,
    fault: { ...plan.fault, act: { kind: 'none' }, where: { kind: 'share', share: 9 } },
  };
  await new Run(stage, quiet, victim, undefined).perform();
  const proxy = leg === 'client' ? stage.clientProxy : stage.proxyOf(plan.node);
  return proxy.passed[direction];
}

class Run {
  readonly #stage: FaultStage;
  readonly #plan: RunPlan;
  readonly #victim: KexerProcess | undefined;
  readonly #total: number | undefined;
  readonly #repairs: (() => Promise<void> | void)[] = [];
  #session: RunningSession | undefined;
  #isFired = false;
  #wasOpen = false;
  #hasLeft = false;
  #isOver = false;
  #leaveTimer: NodeJS.Timeout | undefined;

  constructor(stage: FaultStage, plan: RunPlan, victim: KexerProcess | undefined, total: number | undefined) {
    this.#stage = stage;
    this.#plan = plan;
    this.#victim = victim;
    this.#total = total;
  }

  async perform(): Promise<Performance> {
    const stage = this.#stage;
    const plan = this.#plan;
    const prepared = await prepare(stage, plan, this.#total === undefined ? 'a' : 'b');
    try {
      stage.setKubeletLeg(plan.path === 'detour' && plan.kind !== 'logs' ? 'of the apiserver' : 'of kexer');
      stage.clientProxy.aimAt(this.#clientPort());
      stage.clientProxy.arm(plan.fault.leg === 'client' ? this.#proxyFault(prepared) : undefined);
      stage.proxyOf(plan.node).arm(plan.fault.leg === 'kubelet' ? this.#proxyFault(prepared) : undefined);
      this.#session = startSession(plan, this.#target(), prepared.work);
      const report = this.#ownEnd(await this.#withDeadline(this.#session.done));
      return { report, expected: prepared.expected, isFired: this.#isFired, wasOpen: this.#wasOpen };
    } finally {
      // Its last bytes may pass after its end: what they set off then, nobody would repair.
      this.#isOver = true;
      clearTimeout(this.#leaveTimer);
      stage.clientProxy.drop();
      for (const repair of this.#repairs) await repair();
      await prepared.dispose();
    }
  }

  #clientPort(): number {
    if (this.#victim !== undefined) return this.#victim.port;
    switch (this.#plan.path) {
      case 'direct':
        return this.#stage.kexer.port;
      case 'detour':
        return this.#stage.detourKexer.port;
      case 'aggregated':
        return this.#stage.sandbox.apiserver.port;
      default:
        return unreachable(this.#plan.path);
    }
  }

  #target(): SessionTarget {
    const { ca, certificate, clientProxy } = this.#stage;
    return { port: clientProxy.port, base: clusterPath, ca, certificate };
  }

  #proxyFault(prepared: Prepared): ProxyFault {
    const { act, direction, where } = this.#plan.fault;
    const total = this.#total ?? estimate(this.#plan, prepared);
    const atByte = Math.max(0, Math.round(where.kind === 'share' ? where.share * total : total - where.bytes));
    return { trigger: { direction, atByte }, action: proxyAction(act), onFired: () => this.#fire(act) };
  }

  #fire(act: Act): void {
    if (this.#isOver) return;
    this.#isFired = true;
    this.#wasOpen = this.#session?.isOpen ?? false;
    const stage = this.#stage;
    const { sandbox } = stage;
    const kubelet = stage.kubeletOf(this.#plan.node);
    switch (act.kind) {
      case 'none':
      case 'cut':
      case 'reset':
      case 'halfClose':
      case 'drip':
        return;
      case 'stall':
        if (act.forMs === undefined) this.#leaveLater('fin');
        return;
      case 'killKubelet': {
        const killed = kubelet.kill(act.how);
        this.#repairs.push(async () => {
          await killed;
          await kubelet.revive();
        });
        return;
      }
      case 'stallKubelet':
        kubelet.stall(true);
        this.#later(act.forMs, () => kubelet.stall(false));
        return;
      case 'cutRuntime':
        kubelet.cutRuntime();
        return;
      case 'killApiserver':
      case 'stopApiserver': {
        const down = act.kind === 'killApiserver' ? sandbox.apiserver.kill() : sandbox.apiserver.stop();
        this.#repairs.push(async () => {
          await down;
          await sandbox.apiserver.restart();
          await stage.whenReachable();
        });
        return;
      }
      case 'killKexer':
        void this.#victim?.kill();
        return;
      case 'stopKexer':
        this.#victim?.terminate();
        return;
      case 'slowClient':
        this.#session?.pause();
        this.#later(act.forMs, () => this.#session?.resume());
        return;
      case 'deadClient':
        this.#session?.pause();
        this.#leaveLater(act.leaves);
        return;
    }
  }

  #later(ms: number, act: () => void): void {
    const timer = setTimeout(act, ms);
    this.#repairs.push(() => {
      clearTimeout(timer);
      act(); // idempotent: what is undone already stays undone
    });
  }

  /** The client's own patience; a client that cannot even close its socket is one whose machine is gone. */
  #leaveLater(how: 'rst' | 'fin'): void {
    this.#leaveTimer = setTimeout(() => {
      this.#hasLeft = true;
      // On the wire: a TLS socket cannot reset, and behind a stalled wire nobody would hear of the end.
      if (how === 'rst') this.#stage.clientProxy.reset();
      this.#session?.leave();
      this.#stage.clientProxy.drop();
    }, patienceMs);
  }

  /** Who goes away reads nothing into what is not there then. */
  #ownEnd(report: SessionReport | undefined): SessionReport | undefined {
    if (!this.#hasLeft || report === undefined) return report;
    return { ...report, result: { kind: 'failure', message: 'the client has left', isTold: false } };
  }

  async #withDeadline(done: Promise<SessionReport>): Promise<SessionReport | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), deadlineMs);
    });
    const report = await Promise.race([done, late]);
    clearTimeout(timer);
    if (report === undefined) {
      this.#session?.leave();
      this.#stage.clientProxy.drop();
      await Promise.race([done, pause(1000)]);
    }
    return report;
  }
}

function proxyAction(act: Act): ProxyAction {
  switch (act.kind) {
    case 'cut':
    case 'reset':
    case 'halfClose':
    case 'stall':
    case 'drip':
      return act;
    default:
      return { kind: 'none' };
  }
}

/** TLS handshake, upgrade and frames around the payload: what such a session takes, more or less. */
function estimate(plan: RunPlan, prepared: Prepared): number {
  const { work, expected } = prepared;
  const sent = work.stdin?.length ?? work.connections.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const received = plan.kind === 'forward' ? expected.length * work.connections.length : expected.length;
  const bytes = plan.fault.direction === 'up' ? sent : received;
  const isBase64 = plan.fault.leg === 'client' && plan.protocol.name.includes('base64');
  // Measured on sessions of nothing: 3,000 to 4,000, and 5,200 to 5,700 from a kubelet.
  const overhead = plan.fault.leg === 'kubelet' && plan.fault.direction === 'down' ? 5400 : 3300;
  return overhead + bytes * (isBase64 ? 1.36 : 1.005);
}

function startSession(plan: RunPlan, target: SessionTarget, work: Work): RunningSession {
  const { kind, protocol } = plan;
  switch (kind) {
    case 'dump':
    case 'upload':
    case 'echo':
    case 'attach': {
      const subresource = kind === 'attach' ? 'attach' : 'exec';
      return protocol.transport === 'spdy'
        ? new SpdyExecSession(target, subresource, protocol.name, work)
        : new WebSocketExecSession(target, subresource, protocol.name, work);
    }
    case 'forward':
      return protocol.transport === 'ws'
        ? new ChannelForwardSession(target, protocol.name, work)
        : new SpdyForwardSession(target, { isTunnel: protocol.transport === 'tunnel' }, work);
    case 'logs':
      if (protocol.transport === 'h1') return new Http1LogSession(target, work);
      if (protocol.transport === 'h2') return new Http2LogSession(target, work);
      return new WebSocketLogSession(target, protocol.name, work);
    default:
      return unreachable(kind);
  }
}

const samplePods = { node1: 'demo', node2: 'db' } as const;

/** @param part of the run: a pod of the same name would be found while the one before it is still ending. */
async function prepare(stage: FaultStage, plan: RunPlan, part: string): Promise<Prepared> {
  const random = Random.of(plan.seed, -1 - plan.index);
  const work = { pod: samplePods[plan.node], command: [], stdin: undefined, connections: [], isFollowing: false };
  const dispose = (): Promise<void> => Promise.resolve();
  const { sandbox } = stage;
  const podName = `run-${plan.seed}-${plan.index}-${part}`;
  const removing = async (): Promise<void> => {
    removePod(sandbox, podName);
    await Promise.resolve();
  };
  switch (plan.kind) {
    case 'dump': {
      const { last, bytes } = sequence(plan.size);
      const script = `seq 1 ${last}; exit ${plan.exitCode}`;
      return { work: { ...work, command: ['sh', '-c', script] }, expected: bytes, dispose };
    }
    case 'upload': {
      const stdin = payload(random, plan.size);
      const script = plan.protocol.canHalfClose ? 'sha256sum' : `head -c ${stdin.length} | sha256sum`;
      return { work: { ...work, command: ['sh', '-c', script], stdin }, expected: sha256Line(stdin), dispose };
    }
    case 'echo': {
      const stdin = payload(random, plan.size);
      const command = plan.protocol.canHalfClose ? ['cat'] : ['head', '-c', String(stdin.length)];
      return { work: { ...work, command, stdin }, expected: stdin, dispose };
    }
    case 'attach': {
      const { last, bytes } = sequence(plan.size);
      await startPod(sandbox, { name: podName, node: plan.node, script: `read go; seq 1 ${last}` });
      return { work: { ...work, pod: podName, stdin: Buffer.from('go\n') }, expected: bytes, dispose: removing };
    }
    case 'logs': {
      const { last, format, bytes } = wideSequence(plan.size);
      const half = Math.ceil(last / 2);
      const print = `seq -f ${format}`;
      const script = plan.isLive ? `${print} 1 ${half}; sleep 0.1; ${print} ${half + 1} ${last}` : `${print} 1 ${last}`;
      await startPod(sandbox, { name: podName, node: plan.node, script, isFinished: !plan.isLive });
      return { work: { ...work, pod: podName, isFollowing: plan.isLive }, expected: bytes, dispose: removing };
    }
    case 'forward':
      return prepareForward(plan, random, work);
    default:
      return unreachable(plan.kind);
  }
}

async function prepareForward(plan: RunPlan, random: Random, work: Work): Promise<Prepared> {
  const size = Math.ceil(plan.size / plan.connections);
  if (plan.protocol.canHalfClose) {
    const server = await PortServer.start(echo);
    // The same bytes on each: the report of the one that broke is judged.
    const bytes = payload(random, size);
    const connection = { port: server.port, bytes, expected: bytes };
    const connections = Array.from({ length: plan.connections }, () => connection);
    return { work: { ...work, connections }, expected: bytes, dispose: () => server.close() };
  }
  const server = await PortServer.start(serveSequence);
  const { bytes: expected } = sequence(size);
  const connections = [{ port: server.port, bytes: Buffer.from(`${size}\n`), expected }];
  return { work: { ...work, connections }, expected, dispose: () => server.close() };
}
