// What the preflight costs: the time from a client's upgrade request on an open connection to its 101, with the preflight, without it, and on the
// detour, on a warm kexer. Run: node test/bench/preflight.ts [sessions] [ms]
// The sandbox (kube-apiserver and kubelets) is a child process, so that only kexer and the client share this one. The three ways take turns,
// so that what else the machine does hits them alike. [ms] is a round trip to kube-apiserver that is added to each of kexer's questions.
// "Without" is no setting of kexer's: here the question is answered on the spot.

import { fork } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import { systemClock } from '../../src/base/clock.ts';
import { Scope } from '../../src/base/scope.ts';
import { composeServer } from '../../src/cli/compose.ts';
import { ClusterCalls } from '../../src/clusters/cluster-calls.ts';
import { LocalCluster } from '../../src/clusters/local-cluster.ts';
import { LocalStreamRoute } from '../../src/clusters/stream-route.ts';
import { loadConfig } from '../../src/config/load.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { badRequest, encodeStatus } from '../../src/kube/status.ts';
import { dialTls } from '../../src/net/dial.ts';
import { requestUpgrade } from '../../src/net/upgrade.ts';
import { createLogger } from '../../src/observe/logger.ts';
import { startSandbox } from '../../src/sandbox/sandbox.ts';

const sessions = Number(process.argv[2] ?? 300);
const roundTripMs = Number(process.argv[3] ?? 0);
const warmUps = 30;

interface SandboxReport {
  readonly kexerConfig: string;
  readonly servingCaFile: string;
  readonly token: string;
}

/** The child: a sandbox that lives until its parent has no more use for it. */
async function runSandbox(): Promise<void> {
  const sandbox = await startSandbox();
  await sandbox.ready();
  const { kexerConfig, servingCaFile } = sandbox.files;
  process.send?.({ kexerConfig, servingCaFile, token: sandbox.tokens.alice } satisfies SandboxReport);
  await once(process, 'disconnect');
  await sandbox.stop();
}

/** What is measured; each says how to make kexer take it. */
const ways = ['with preflight', 'without', 'detour'] as const;
type Way = (typeof ways)[number];

/** Replaces a method of a class; gives what puts it back. */
function replace(prototype: object, name: string, make: (plain: Method) => Method): () => void {
  const plain = Object.getOwnPropertyDescriptor(prototype, name);
  if (plain === undefined) throw new Error(`no method ${name}`);
  Object.defineProperty(prototype, name, { ...plain, value: make(plain.value as Method) });
  return () => Object.defineProperty(prototype, name, plain);
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

/** Every answer of kube-apiserver comes so much later, as over a network. */
const delayed = (plain: Method): Method =>
  async function wait(...args) {
    await new Promise((resolve) => {
      setTimeout(resolve, roundTripMs);
    });
    return plain.apply(this, args);
  };

function takeWay(way: Way): () => void {
  if (way === 'without') {
    const body = encodeStatus(badRequest('Upgrade request required'));
    return replace(ClusterCalls.prototype, 'post', () => async () => ({ status: 400, headers: [], body }));
  }
  if (way === 'with preflight') return () => {};
  const detour = { reason: 'setting', detail: 'a benchmark' };
  return replace(LocalStreamRoute.prototype, 'detourOf', () => () => detour);
}

/** Milliseconds from the upgrade request to the 101. */
async function open(port: number, ca: string, token: string): Promise<number> {
  const socket = await dialTls({ host: '127.0.0.1', port, ca: [ca], isVerified: true, timeoutMs: 10_000 });
  const startedMs = performance.now();
  const { head } = await requestUpgrade(
    socket,
    {
      method: 'POST',
      target:
        '/apis/backup.cv.io/v1/namespaces/default/clusters/local/exec/api/v1/namespaces/default/pods/demo/exec?command=true&stdout=true',
      headers: [
        ['Host', 'kexer'],
        ['Authorization', `Bearer ${token}`],
        ['Connection', 'Upgrade'],
        ['Upgrade', 'SPDY/3.1'],
        ['X-Stream-Protocol-Version', 'v4.channel.k8s.io'],
      ],
    },
    { timeoutMs: 10_000 },
  );
  const tookMs = performance.now() - startedMs;
  socket.destroy();
  await once(socket, 'close');
  if (head.status !== 101) throw new Error(`kexer answered ${head.status}`);
  return tookMs;
}

function percentile(sorted: readonly number[], share: number): string {
  return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(1).padStart(7);
}

async function runBench(): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), ['sandbox']);
  const scope = new Scope();
  try {
    const [report] = (await once(child, 'message')) as [SandboxReport];
    const config = await loadConfig({
      argv: ['--config', report.kexerConfig, '--secure-port', '0', '--log-level', 'error'],
      environment: {},
    });
    const log = createLogger({ level: 'error' });
    const deps = { clock: systemClock, log, scope, environment: process.env, version: 'bench' };
    const { port, whenReady } = await composeServer(deps, config);
    await whenReady(scope.signal);
    const ca = await readFile(report.servingCaFile, 'utf8');
    if (roundTripMs > 0) {
      replace(ClusterCalls.prototype, 'post', delayed);
      replace(LocalCluster.prototype, 'pod', delayed);
      // Stands before the dial of the detour.
      replace(KubeClient.prototype, 'dialSettings', delayed);
    }
    const times = new Map<Way, number[]>(ways.map((way) => [way, []]));
    for (let index = -warmUps; index < sessions; index += 1) {
      for (const way of ways) {
        const undo = takeWay(way);
        const tookMs = await open(port, ca, report.token).finally(undo);
        if (index >= 0) times.get(way)?.push(tookMs);
      }
    }
    console.log(`from upgrade request to 101, ${sessions} sessions each, ms:\n`);
    console.log(`${''.padEnd(16)}    p50    p90    p99`);
    for (const [way, list] of times) {
      const sorted = list.toSorted((a, b) => a - b);
      const columns = [0.5, 0.9, 0.99].map((share) => percentile(sorted, share)).join('');
      console.log(`${way.padEnd(14)}${columns}`);
    }
  } finally {
    await scope.close();
    child.disconnect();
    await once(child, 'exit');
  }
}

await (process.argv[2] === 'sandbox' ? runSandbox() : runBench());
