// From the request for a stream to its 101 on a warm kexer, with every check; and what a whole exec of `true` costs. Straight to the
// kubelet a client has to shake hands with it, as kexer does; the question to kube-apiserver is measured as a client's own.

import { type Line, Samples } from '../support/line.ts';
import { percentile } from '../support/numbers.ts';
import type { Stage } from '../support/stage.ts';
import { cpuOf } from './throughput.ts';

const preflightPath = '/api/v1/namespaces/default/pods/demo/exec?command=true&stdout=true';
const execGoalMs = 3;

export async function openings(stage: Stage, options: { rounds: number; count: number }): Promise<Line[]> {
  const { rounds, count } = options;
  const { client, apiserver } = stage;
  const { route: straight } = stage.straight;
  const kexers = await stage.kexers();
  const p50 = new Samples();
  const p99 = new Samples();
  const cpu = new Samples();
  for (let round = -1; round < rounds; round += 1) {
    for (const kexer of kexers) {
      const opened = await client.call('openings', { route: kexer.route, count });
      const seconds = await cpuOf(kexer, () => client.call('execs', { route: kexer.route, count }));
      if (round < 0) continue;
      const times = opened.map(({ upgradeMs }) => upgradeMs);
      p50.add(kexer.name, percentile(times, 0.5));
      p99.add(kexer.name, percentile(times, 0.99));
      cpu.add(kexer.name, (seconds * 1000) / count);
    }
    const dialled = await client.call('openings', { route: straight, count });
    const asked = await client.call('callMany', {
      route: apiserver,
      path: preflightPath,
      method: 'POST',
      count,
      connections: 1,
      wantedStatus: 400,
    });
    if (round < 0) continue;
    const whole = dialled.map(({ dialMs, upgradeMs }) => dialMs + upgradeMs);
    p50.add('straight', percentile(whole, 0.5));
    p50.add('question', percentile(asked, 0.5));
  }
  for (const kexer of kexers) await kexer.stop();
  const kexer = p50.median('kexer');
  return [
    {
      name: 'request to 101, p50',
      unit: 'ms',
      goal: '≤ 1.25 × straight to the kubelet + a question to the apiserver',
      kexer,
      peers: p50.peers(),
      ratio: kexer / (p50.median('straight') + p50.median('question')),
      limit: 1.25,
    },
    {
      name: 'request to 101, p99',
      unit: 'ms',
      goal: '≤ 2 × p50',
      kexer: p99.median('kexer'),
      peers: p99.peers(),
      ratio: p99.median('kexer') / kexer,
      limit: 2,
    },
    {
      name: 'CPU of an exec of `true`',
      unit: 'ms',
      goal: '≤ 3 ms',
      kexer: cpu.median('kexer'),
      peers: cpu.peers(),
      ratio: cpu.median('kexer') / execGoalMs,
      limit: 1,
    },
  ];
}
