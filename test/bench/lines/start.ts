// A cold start: from the command to the line `ready`, and what the process holds when nobody has asked anything of it.

import { type Line, Samples } from '../support/line.ts';
import { residentBytes } from '../support/process-stat.ts';
import type { Stage } from '../support/stage.ts';

const readyGoalMs = 500;
const idleGoalMiB = 70;

export async function start(stage: Stage, options: { rounds: number }): Promise<Line[]> {
  const ready = new Samples();
  const idle = new Samples();
  for (let round = 0; round < options.rounds; round += 1) {
    for (const contestant of await stage.kexers()) {
      ready.add(contestant.name, contestant.readyMs);
      await new Promise((resolve) => {
        setTimeout(resolve, 1500);
      });
      idle.add(contestant.name, residentBytes(contestant.pid) / 1024 / 1024);
      await contestant.stop();
    }
  }
  return [
    {
      name: 'cold start to ready',
      unit: 'ms',
      goal: `≤ ${readyGoalMs} ms`,
      kexer: ready.median('kexer'),
      peers: ready.peers(),
      ratio: ready.median('kexer') / readyGoalMs,
      limit: 1,
    },
    {
      name: 'RSS idle',
      unit: 'MiB',
      goal: `≤ ${idleGoalMiB} MiB`,
      kexer: idle.median('kexer'),
      peers: idle.peers(),
      ratio: idle.median('kexer') / idleGoalMiB,
      limit: 1,
    },
  ];
}
