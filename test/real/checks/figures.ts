// What kexer adds to a call of a real kube-apiserver, and what its process spends on it. Figures, not limits: the machine is shared. Five alternating
// rounds, so that what else happens there meets both ways.

import { readFileSync } from 'node:fs';

import { RawClient } from '../http.ts';
import type { Stage, Way } from '../stage.ts';
import { type Check, same } from './check.ts';

const rounds = 5;
const callsPerRound = 400;
const microsecondsPerTick = 10_000;

/** User and system time of a process, in µs. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * microsecondsPerTick;
}

function quantile(sorted: readonly number[], part: number): string {
  return `${(sorted[Math.floor((sorted.length - 1) * part)] ?? 0).toFixed(2)} ms`;
}

async function smallCalls(stage: Stage): Promise<string> {
  const ways: readonly Way[] = ['cluster', 'kexer', 'aggregated'];
  const clients = new Map(ways.map((way) => [way, RawClient.open(stage, way, 'robot')] as const));
  const times = new Map(ways.map((way) => [way, [] as number[]] as const));
  let cpu = 0;
  try {
    for (let round = 0; round <= rounds; round += 1) {
      for (const [way, client] of clients) {
        const before = cpuOf(stage.kexer.process.pid);
        for (let call = 0; call < callsPerRound; call += 1) {
          const from = performance.now();
          const { status } = await client.ask('GET', '/api/v1/namespaces/default/pods/demo');
          same('its status', status, 200);
          if (round > 0) times.get(way)?.push(performance.now() - from); // the first round warms
        }
        if (way === 'kexer' && round > 0) cpu += cpuOf(stage.kexer.process.pid) - before;
      }
    }
  } finally {
    for (const client of clients.values()) client.close();
  }
  const words = ways.map((way) => {
    const sorted = (times.get(way) ?? []).toSorted((a, b) => a - b);
    return `${way} p50 ${quantile(sorted, 0.5)}, p99 ${quantile(sorted, 0.99)}`;
  });
  return `${words.join('; ')}; ${Math.round(cpu / (rounds * callsPerRound))} µs of kexer's CPU a call`;
}

async function execs(stage: Stage): Promise<string> {
  const words: string[] = [];
  const runs = 12;
  const { kubectl } = stage;
  const times: Record<'cluster' | 'kexer', number[]> = { cluster: [], kexer: [] };
  const before = cpuOf(stage.kexer.process.pid);
  for (let run = 0; run < runs; run += 1) {
    for (const way of ['cluster', 'kexer'] as const) {
      const from = performance.now();
      await kubectl.output(['exec', 'demo', '--', 'true'], {
        context: `${way}-robot`,
        env: { KUBECTL_REMOTE_COMMAND_WEBSOCKETS: 'false' },
      });
      times[way].push(performance.now() - from);
    }
  }
  const cpu = (cpuOf(stage.kexer.process.pid) - before) / runs / 1000;
  for (const [way, all] of Object.entries(times)) {
    words.push(
      `${way} p50 ${quantile(
        all.toSorted((a, b) => a - b),
        0.5,
      )}`,
    );
  }
  return `kubectl exec true, from its start to its end: ${words.join('; ')}; ${cpu.toFixed(1)} ms of kexer's CPU each`;
}

export const figureChecks: readonly Check[] = [
  { name: 'figures: a small call', run: smallCalls },
  { name: 'figures: an exec of true', needsNode: true, run: execs },
];
