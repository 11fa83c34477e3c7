// node test/bench/growth.ts [--root DIR] [--quick]: how cost grows, with the number of open sessions and with the size of chunks, as two plots in
// docs/ and their figures in docs/performance-growth.json. Some ten minutes: 8,000 sessions are opened for each of the contestants.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { cpuOf } from './lines/throughput.ts';
import { median } from './support/numbers.ts';
import { drawPlot, type Series } from './support/plot.ts';
import { residentBytes } from './support/process-stat.ts';
import { type Contestant, repositoryRoot, Stage } from './support/stage.ts';

const { values } = parseArgs({ options: { root: { type: 'string' }, quick: { type: 'boolean', default: false } } });
const counts = values.quick ? [10, 100, 1000] : [10, 30, 100, 300, 1000, 3000, 8000];
const rounds = values.quick ? 1 : 3;

/** Payload by size of chunk: so much that the CPU time of every relay is many of the kernel's ticks of 10 ms, and that a run takes seconds. */
const chunks: readonly (readonly [bytes: number, mebibytes: number])[] = [
  [1, 2],
  [16, 16],
  [256, 128],
  [4096, 256],
  [32_768, 512],
  [262_144, 512],
  [1_048_576, 512],
];

function rest(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 1500);
  });
}

async function sessionsOf(stage: Stage, start: () => Promise<Contestant>): Promise<Series> {
  const contestant = await start();
  const { client } = stage;
  const { route, pid } = contestant;
  await client.call('openCrowd', { route, count: 50 });
  await client.call('closeCrowd', undefined);
  await rest();
  const before = residentBytes(pid);
  const points: { x: number; y: number }[] = [];
  let open = 0;
  for (const count of counts) {
    await client.call('openCrowd', { route, count: count - open });
    open = count;
    await rest();
    points.push({ x: count, y: Math.max((residentBytes(pid) - before) / 2 ** 20, 0.1) });
  }
  await client.call('closeCrowd', undefined);
  await contestant.stop();
  return { name: contestant.name, points };
}

async function chunksOf(stage: Stage, contestant: Contestant): Promise<Series> {
  const points: { x: number; y: number }[] = [];
  for (const [chunkBytes, mebibytes] of chunks) {
    const costs: number[] = [];
    for (let round = -1; round < rounds; round += 1) {
      const transfer = { route: contestant.route, kind: 'spdyOut', mebibytes, chunkBytes } as const;
      const seconds = await cpuOf(contestant, () => stage.client.call('transfer', transfer));
      if (round >= 0) costs.push((seconds * 1024) / mebibytes);
    }
    points.push({ x: chunkBytes, y: median(costs) });
  }
  await contestant.stop();
  return { name: contestant.name, points };
}

const sizeText = (bytes: number): string =>
  bytes >= 2 ** 20 ? `${bytes / 2 ** 20} MiB` : bytes >= 1024 ? `${bytes / 1024} KiB` : `${bytes} B`;

const stage = await Stage.start(values.root === undefined ? {} : { root: values.root });
try {
  const starts = [() => stage.kexer(), () => stage.relay(), () => stage.nginx()];
  const sessions: Series[] = [];
  for (const start of starts) sessions.push(await sessionsOf(stage, start));
  const sizes: Series[] = [];
  for (const start of starts) sizes.push(await chunksOf(stage, await start()));
  const docs = join(repositoryRoot, 'docs');
  await writeFile(
    join(docs, 'performance-sessions.svg'),
    drawPlot(sessions, {
      title: 'Memory of idle sessions',
      xLabel: 'open sessions',
      yLabel: 'RSS above none, MiB',
      isYLogarithmic: true,
      xText: String,
    }),
  );
  await writeFile(
    join(docs, 'performance-chunks.svg'),
    drawPlot(sizes, {
      title: 'CPU of stdout by the size of what a process writes',
      xLabel: 'payload of a DATA frame',
      yLabel: 'CPU seconds a GiB',
      isYLogarithmic: true,
      xText: sizeText,
    }),
  );
  await writeFile(join(docs, 'performance-growth.json'), `${JSON.stringify({ sessions, sizes }, undefined, 2)}\n`);
} finally {
  await stage.stop();
}
