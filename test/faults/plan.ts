// What one run of the campaign does: a kind of session over a protocol to a node by a path, with an amount of data, and one fault at one
// byte. Everything follows from the seed and the run's number.

import type { Direction } from './support/fault-proxy.ts';
import { Random } from './support/random.ts';
import type { NodeName, Path } from './support/stage.ts';

export type Kind = 'dump' | 'upload' | 'echo' | 'attach' | 'forward' | 'logs';

/** What a client speaks; `spdy v1` to `spdy v4`, `ws v5` and its like, `http/1.1` and `http/2` for logs. */
export interface Protocol {
  readonly label: string;
  readonly transport: 'spdy' | 'ws' | 'tunnel' | 'h1' | 'h2';
  /** Subprotocol or X-Stream-Protocol-Version. */
  readonly name: string;
  /** Whether the end of stdin (or of a forwarded connection's direction) can be said. */
  readonly canHalfClose: boolean;
}

function spdy(version: 1 | 2 | 3 | 4): Protocol {
  const name = version === 1 ? 'channel.k8s.io' : `v${version}.channel.k8s.io`;
  return { label: `spdy v${version}`, transport: 'spdy', name, canHalfClose: true };
}

function webSocket(label: string, name: string): Protocol {
  return { label: `ws ${label}`, transport: 'ws', name, canHalfClose: name === 'v5.channel.k8s.io' };
}

const execProtocols: readonly (readonly [Protocol, number])[] = [
  [spdy(4), 5],
  [spdy(3), 1],
  [spdy(2), 1],
  [spdy(1), 1],
  [webSocket('v5', 'v5.channel.k8s.io'), 5],
  [webSocket('v4', 'v4.channel.k8s.io'), 3],
  [webSocket('v4.base64', 'v4.base64.channel.k8s.io'), 1],
  [webSocket('channel', 'channel.k8s.io'), 1],
  [webSocket('base64', 'base64.channel.k8s.io'), 1],
  [webSocket('none', ''), 1],
];

const forwardProtocols: readonly (readonly [Protocol, number])[] = [
  [{ label: 'spdy portforward', transport: 'spdy', name: 'portforward.k8s.io', canHalfClose: true }, 2],
  [{ label: 'ws tunnel', transport: 'tunnel', name: 'SPDY/3.1+portforward.k8s.io', canHalfClose: true }, 2],
  [webSocket('v4 portforward', 'v4.channel.k8s.io'), 1],
  [webSocket('v4.base64 portforward', 'v4.base64.channel.k8s.io'), 1],
];

const logProtocols: readonly (readonly [Protocol, number])[] = [
  [{ label: 'http/1.1', transport: 'h1', name: '', canHalfClose: false }, 2],
  [{ label: 'http/2', transport: 'h2', name: '', canHalfClose: false }, 2],
  [webSocket('binary log', 'binary.k8s.io'), 1],
  [webSocket('base64 log', 'base64.binary.k8s.io'), 1],
];

export type Leg = 'client' | 'kubelet';

/** Where on the wire it goes off: after so many bytes, as a share of what such a session takes, or so many bytes before its end. */
export type Where =
  | { readonly kind: 'share'; readonly share: number }
  | { readonly kind: 'beforeEnd'; readonly bytes: number };

export type Act =
  | { readonly kind: 'none' }
  | { readonly kind: 'cut' }
  | { readonly kind: 'reset' }
  | { readonly kind: 'halfClose' }
  | { readonly kind: 'stall'; readonly forMs: number | undefined }
  | { readonly kind: 'drip'; readonly pieceBytes: number; readonly everyMs: number; readonly pieces: number }
  | { readonly kind: 'killKubelet'; readonly how: 'rst' | 'fin' }
  | { readonly kind: 'stallKubelet'; readonly forMs: number }
  | { readonly kind: 'cutRuntime' }
  | { readonly kind: 'killApiserver' }
  | { readonly kind: 'stopApiserver' }
  | { readonly kind: 'killKexer' }
  /** SIGTERM, without any grace. */
  | { readonly kind: 'stopKexer' }
  | { readonly kind: 'slowClient'; readonly forMs: number }
  | { readonly kind: 'deadClient'; readonly leaves: 'rst' | 'fin' };

export interface Fault {
  readonly act: Act;
  readonly leg: Leg;
  readonly direction: Direction;
  readonly where: Where;
}

export interface RunPlan {
  readonly seed: number;
  readonly index: number;
  readonly kind: Kind;
  readonly protocol: Protocol;
  readonly node: NodeName;
  readonly path: Path;
  /** About how many bytes flow. */
  readonly size: number;
  readonly exitCode: number;
  /** Forwarded connections at once, for the protocols that have several. */
  readonly connections: number;
  /** The log is followed while it is written. */
  readonly isLive: boolean;
  readonly fault: Fault;
}

/** How long a client waits for a stalled or forgotten session before it leaves. */
export const patienceMs = 300;

const acts: readonly (readonly [Act['kind'], number])[] = [
  ['none', 4],
  ['cut', 9],
  ['reset', 9],
  ['halfClose', 7],
  ['stall', 5],
  ['drip', 4],
  ['killKubelet', 7],
  ['stallKubelet', 2],
  ['cutRuntime', 6],
  ['killApiserver', 3],
  ['stopApiserver', 1],
  ['killKexer', 3],
  ['stopKexer', 2],
  ['slowClient', 4],
  ['deadClient', 4],
];

export function planRun(seed: number, index: number): RunPlan {
  const random = Random.of(seed, index);
  const kind = random.weighted<Kind>([
    ['dump', 5],
    ['upload', 4],
    ['echo', 2],
    ['attach', 2],
    ['forward', 4],
    ['logs', 3],
  ]);
  const protocol = random.weighted(
    kind === 'forward' ? forwardProtocols : kind === 'logs' ? logProtocols : execProtocols,
  );
  const node = random.pick(['node1', 'node2'] as const);
  const size = random.weighted([
    [random.between(0, 64), 1],
    [random.between(64, 20_000), 3],
    [random.between(20_000, 400_000), 4],
    [random.between(400_000, 3_000_000), 3],
  ]);
  const drawn = planFault(random, kind);
  const path = random.weighted<Path>([
    ['direct', 7],
    ['aggregated', 2],
    // Those that are killed are started for the direct way.
    ['detour', isVictimAct(drawn.act) ? 0 : 1.5],
  ]);
  // The apiserver keeps its connections for logs, so that none of them is this session's: the client's leg says when.
  const fault: Fault = path === 'detour' && kind === 'logs' ? { ...drawn, leg: 'client' } : drawn;
  return {
    seed,
    index,
    kind,
    protocol,
    node,
    path,
    size,
    // An attach does not learn the exit code, a dump does.
    exitCode: kind === 'dump' ? random.pick([0, 0, 3]) : 0,
    connections: protocol.canHalfClose ? random.between(1, 3) : 1,
    isLive: random.chance(0.5),
    fault,
  };
}

/** The kexer of the run does not live through it. */
export function isVictimAct({ kind }: Act): boolean {
  return kind === 'killKexer' || kind === 'stopKexer';
}

function planFault(random: Random, kind: Kind): Fault {
  const actKind = random.weighted(acts);
  const act = planAct(random, actKind);
  const onWire = act.kind === 'cut' || act.kind === 'reset' || act.kind === 'halfClose' || act.kind === 'stall';
  // The others only need a moment, and the kubelet's leg is where every protocol looks alike.
  const leg = onWire || act.kind === 'drip' ? random.pick(['client', 'kubelet'] as const) : 'kubelet';
  const mainDirection = kind === 'upload' ? 'up' : 'down';
  const direction = random.chance(onWire ? 0.75 : 1) ? mainDirection : mainDirection === 'up' ? 'down' : 'up';
  const where: Where = random.chance(0.2)
    ? { kind: 'beforeEnd', bytes: random.between(0, 500) }
    : { kind: 'share', share: random.chance(0.15) ? random.next() * 0.02 : random.next() * 1.02 };
  return { act, leg, direction, where };
}

function planAct(random: Random, kind: Act['kind']): Act {
  switch (kind) {
    case 'stall':
      return { kind, forMs: random.chance(0.5) ? random.between(20, 200) : undefined };
    case 'drip':
      return {
        kind,
        pieceBytes: random.pick([1, 7, 100, 1400]),
        everyMs: random.pick([0, 1, 3]),
        pieces: random.between(5, 60),
      };
    case 'killKubelet':
      return { kind, how: random.pick(['rst', 'fin'] as const) };
    case 'stallKubelet':
    case 'slowClient':
      return { kind, forMs: random.between(20, 200) };
    case 'deadClient':
      return { kind, leaves: random.pick(['rst', 'fin'] as const) };
    default:
      return { kind };
  }
}

/** One line that says what a run does. */
export function describePlan(plan: RunPlan): string {
  const { fault, kind, protocol, node, path } = plan;
  const { kind: act, ...details } = fault.act;
  const what = [act, ...Object.entries(details).map(([name, value]) => `${name}=${String(value)}`)].join(' ');
  const where =
    fault.where.kind === 'share'
      ? `at ${(fault.where.share * 100).toFixed(1)} %`
      : `${fault.where.bytes} bytes before the end`;
  const extras = [
    `${plan.size} bytes`,
    ...(plan.exitCode === 0 ? [] : [`exit ${plan.exitCode}`]),
    ...(kind === 'forward' ? [`${plan.connections} connections`] : []),
    ...(kind === 'logs' ? [plan.isLive ? 'followed' : 'static'] : []),
  ].join(', ');
  const fate = act === 'none' ? 'no fault' : `${what} on the ${fault.leg} leg ${fault.direction} ${where}`;
  return `seed ${plan.seed} run ${plan.index}: ${kind} over ${protocol.label} to ${node} ${path} (${extras}): ${fate}`;
}
