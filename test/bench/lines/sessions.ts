// What a session costs that only stands there: resident memory for each of 1,000, and of 8,000 in one process. Each round has processes of
// its own, which have opened some sessions before, so that code and certificates are loaded.

import { inTurn, type Line, Samples } from '../support/line.ts';
import { residentBytes } from '../support/process-stat.ts';
import type { Contestant, Stage } from '../support/stage.ts';

const goalBytes = 90 * 1024;
/** Few at a time: code is compiled, and what they leave behind is not much to be used again. */
const warmUps = 50;
const warmUpBatches = 6;
/** For what the opening leaves behind to be collected, as far as it is at all. */
const restMs = 2000;

/** Kibibytes for each session. @throws if one was lost */
async function costOf(stage: Stage, contestant: Contestant, counts: readonly number[]): Promise<number[]> {
  const { client } = stage;
  const { route, pid } = contestant;
  for (let batch = 0; batch < warmUpBatches; batch += 1) {
    await client.call('openCrowd', { route, count: warmUps });
    await client.call('closeCrowd', undefined);
  }
  await rest();
  const before = residentBytes(pid);
  const costs: number[] = [];
  let open = 0;
  for (const count of counts) {
    await client.call('openCrowd', { route, count: count - open });
    open = count;
    await rest();
    costs.push((residentBytes(pid) - before) / count / 1024);
  }
  const alive = await client.call('countCrowd', undefined);
  await client.call('closeCrowd', undefined);
  await contestant.stop();
  if (alive !== open) throw new Error(`${contestant.name} lost ${open - alive} of ${open} sessions`);
  return costs;
}

function rest(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, restMs);
  });
}

export async function sessions(stage: Stage, options: { rounds: number; most: number }): Promise<Line[]> {
  const some = 1000;
  const few = new Samples();
  const many = new Samples();
  for (let round = 0; round < options.rounds; round += 1) {
    for (const start of inTurn([() => stage.kexer(), () => stage.relay(), () => stage.nginx()], round)) {
      const contestant = await start();
      // Thousands once, and of kexer alone: opening them takes most of a minute.
      const isLong = contestant.name === 'kexer' && round === 0 && options.most > some;
      const counts = isLong ? [some, options.most] : [some];
      const [first = Number.NaN, second] = await costOf(stage, contestant, counts);
      few.add(contestant.name, first);
      if (second !== undefined) many.add(contestant.name, second);
    }
  }
  const line = (count: number, samples: Samples): Line => ({
    name: `RSS of an idle session, ${count.toLocaleString('en')} open`,
    unit: 'KiB',
    goal: '≤ 90 KiB, none lost',
    kexer: samples.median('kexer'),
    peers: samples.peers(),
    ratio: (samples.median('kexer') * 1024) / goalBytes,
    limit: 1,
  });
  return options.most > some ? [line(some, few), line(options.most, many)] : [line(some, few)];
}
