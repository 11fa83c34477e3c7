// Ordinary calls through kexer against the same calls straight to the sandbox's kube-apiserver: small objects, a long list, watches.

import { inTurn, type Line, Samples } from '../support/line.ts';
import { percentile } from '../support/numbers.ts';
import { residentBytes } from '../support/process-stat.ts';
import type { Stage } from '../support/stage.ts';
import { cpuOf } from './throughput.ts';

const smallPath = '/api/v1/namespaces/default/configmaps/kube-root-ca.crt';
const listPath = '/api/v1/namespaces/default/configmaps';
const watchPath = '/api/v1/namespaces/default/pods?watch=true';
const connections = 16;
const addedGoalMs = 0.4;
const callsPerCoreGoal = 6000;
const watchGoalKiB = 40;

export async function smallCalls(stage: Stage, options: { rounds: number; count: number }): Promise<Line[]> {
  const { rounds, count } = options;
  const kexers = await stage.kexers();
  const perCore = new Samples();
  const added = new Samples();
  for (let round = -1; round < rounds; round += 1) {
    const alone = { path: smallPath, count: count >> 3, connections: 1 };
    const straight = await stage.client.call('callMany', { ...alone, route: stage.apiserver });
    const startedMs = performance.now();
    await stage.client.call('callMany', { route: stage.apiserver, path: smallPath, count, connections });
    if (round >= 0) perCore.add('straight', count / ((performance.now() - startedMs) / 1000));
    for (const kexer of inTurn(kexers, round)) {
      const { route, name } = kexer;
      const times = await stage.client.call('callMany', { ...alone, route });
      const seconds = await cpuOf(kexer, () =>
        stage.client.call('callMany', { route, path: smallPath, count, connections }),
      );
      if (round < 0) continue;
      added.add(name, percentile(times, 0.5) - percentile(straight, 0.5));
      perCore.add(name, count / seconds);
    }
  }
  for (const kexer of kexers) await kexer.stop();
  return [
    {
      name: 'GET of a small object, for a CPU second',
      unit: 'calls',
      goal: `≥ ${callsPerCoreGoal.toLocaleString('en')}`,
      kexer: perCore.median('kexer'),
      peers: perCore.peers(),
      ratio: perCore.median('kexer') / callsPerCoreGoal,
      limit: 1,
      isMoreBetter: true,
    },
    {
      name: 'GET of a small object, added p50',
      unit: 'ms',
      goal: `≤ ${addedGoalMs} ms`,
      kexer: added.median('kexer'),
      peers: added.peers(),
      ratio: added.median('kexer') / addedGoalMs,
      limit: 1,
    },
  ];
}

export async function longCalls(
  stage: Stage,
  options: { rounds: number; mebibytes: number; watches: number },
): Promise<Line[]> {
  const speed = new Samples();
  const kexer = await stage.kexer();
  await stage.sandbox.call('fill', { mebibytes: options.mebibytes });
  for (let round = -1; round < options.rounds; round += 1) {
    for (const { name, route } of inTurn([kexer, { name: 'straight', route: stage.apiserver }], round)) {
      const { bytes, seconds } = await stage.client.call('readLong', { route, path: listPath });
      if (round >= 0) speed.add(name, bytes / 1e6 / seconds);
    }
  }
  await stage.sandbox.call('empty', undefined);
  await kexer.stop();
  const memory = new Samples();
  for (let round = 0; round < options.rounds; round += 1) {
    const watcher = await stage.kexer();
    // Few at a time: code is compiled, and what they leave behind is not much to be used again.
    for (let batch = 0; batch < 15; batch += 1) {
      await stage.client.call('openWatches', { route: watcher.route, path: watchPath, count: 20 });
      await stage.client.call('closeWatches', undefined);
    }
    await rest();
    const before = residentBytes(watcher.pid);
    await stage.client.call('openWatches', { route: watcher.route, path: watchPath, count: options.watches });
    await rest();
    memory.add('kexer', (residentBytes(watcher.pid) - before) / options.watches / 1024);
    await stage.client.call('closeWatches', undefined);
    await watcher.stop();
  }
  return [
    {
      name: `list of ${options.mebibytes} MiB`,
      unit: 'MB/s',
      goal: '≥ 0.8 × straight',
      kexer: speed.median('kexer'),
      peers: speed.peers(),
      ratio: speed.median('kexer') / speed.median('straight'),
      limit: 0.8,
      isMoreBetter: true,
    },
    {
      name: `RSS of a watch, ${options.watches.toLocaleString('en')} open`,
      unit: 'KiB',
      goal: `≤ ${watchGoalKiB} KiB`,
      kexer: memory.median('kexer'),
      peers: memory.peers(),
      ratio: memory.median('kexer') / watchGoalKiB,
      limit: 1,
    },
  ];
}

function rest(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 1000);
  });
}
