// How much later a keystroke's echo comes than straight from the kubelet: alone on the machine, and in a crowd of which some sessions run at
// full speed.

import { inTurn, type Line, Samples } from '../support/line.ts';
import { percentile } from '../support/numbers.ts';
import type { Stage } from '../support/stage.ts';

const addedP50Ms = 0.15;
const addedP99Ms = 1;
const fairP99Ms = 20;

export async function typing(stage: Stage, options: { rounds: number; count: number }): Promise<Line[]> {
  const { rounds, count } = options;
  const contestants = [...(await stage.kexers()), await stage.nginx(), await stage.relay()];
  const all = [{ name: 'straight', route: stage.straight.route }, ...contestants];
  const p50 = new Samples();
  const p99 = new Samples();
  for (let round = -1; round < rounds; round += 1) {
    const inRound = new Map<string, number[]>();
    for (const { name, route } of inTurn(all, round)) {
      inRound.set(name, await stage.client.call('type', { route, count, pauseMs: 0 }));
    }
    const straight = inRound.get('straight') ?? [];
    if (round < 0) continue;
    for (const { name } of contestants) {
      const times = inRound.get(name) ?? [];
      p50.add(name, percentile(times, 0.5) - percentile(straight, 0.5));
      p99.add(name, percentile(times, 0.99) - percentile(straight, 0.99));
    }
  }
  for (const contestant of contestants) await contestant.stop();
  const line = (name: string, samples: Samples, goalMs: number): Line => ({
    name: `keystroke echo, added ${name}`,
    unit: 'ms',
    goal: `≤ ${goalMs} ms`,
    kexer: samples.median('kexer'),
    peers: samples.peers(),
    ratio: samples.median('kexer') / goalMs,
    limit: 1,
  });
  return [line('p50', p50, addedP50Ms), line('p99', p99, addedP99Ms)];
}

/** 2,000 sessions, 50 of them at full speed, and somebody who types at another kubelet. */
export async function fairness(
  stage: Stage,
  options: { rounds: number; crowd: number; busy: number },
): Promise<Line[]> {
  const { rounds, crowd, busy } = options;
  const typist = stage.moreClients();
  const p99 = new Samples();
  const starts = [() => stage.kexer(), () => stage.relay(), () => stage.nginx()];
  for (const start of starts) {
    const contestant = await start();
    const { route, quietRoute } = contestant;
    await stage.client.call('openCrowd', { route, count: crowd - busy });
    await stage.client.call('flood', { route, count: busy });
    for (let round = 0; round < rounds; round += 1) {
      const times = await typist.call('type', { route: quietRoute, count: 100, pauseMs: 10 });
      p99.add(contestant.name, percentile(times, 0.99));
    }
    await stage.client.call('calm', undefined);
    await stage.client.call('closeCrowd', undefined);
    await contestant.stop();
  }
  await typist.stop();
  return [
    {
      name: `keystroke echo beside ${busy} busy of ${crowd.toLocaleString('en')} sessions, p99`,
      unit: 'ms',
      goal: `≤ ${fairP99Ms} ms`,
      kexer: p99.median('kexer'),
      peers: p99.peers(),
      ratio: p99.median('kexer') / fairP99Ms,
      limit: 1,
    },
  ];
}
