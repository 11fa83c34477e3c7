// The seeded loop: runs one after the other, judges each, looks after each whether anything of it is left, and at the end whether kexer
// holds more than before. A run that fails can be had again by its seed and number.

import { performance } from 'node:perf_hooks';

import { judge } from './judge.ts';
import { needsVictim, performRun } from './perform.ts';
import { describePlan, planRun, type RunPlan } from './plan.ts';
import { Residue, residueDeadlineMs } from './residue.ts';
import type { ProbeAnswer } from './support/probe.ts';
import { type FaultStage, pause } from './support/stage.ts';

export interface CampaignOptions {
  readonly seed: number;
  readonly runs: number;
  /** Number of the first run. */
  readonly first?: number;
  /** Each run's line, as it ends. */
  readonly log?: (line: string) => void;
  /** Each violation, as soon as it is seen; left out: `log`. */
  readonly complain?: (line: string) => void;
}

export interface CampaignResult {
  readonly runs: number;
  readonly violations: readonly string[];
  /** How often each ending was seen. */
  readonly outcomes: Readonly<Record<string, number>>;
  readonly rssBefore: number;
  readonly rssAfter: number;
  readonly heapBefore: number;
  readonly heapAfter: number;
}

/** Runs after which kexer has loaded and compiled nearly all it ever will: memory is compared with the state then. */
const warmUpRuns = 60;
/** The same of the kexer of the detour, where a tenth of the runs go. */
const detourWarmUpRuns = 120;
/** Growth that is no leak: a leak of one session's buffers a run would be more after 300 runs. */
const maxRssGrowthBytes = 64 * 1024 * 1024;
const maxHeapGrowthBytes = 8 * 1024 * 1024;

export async function runCampaign(stage: FaultStage, options: CampaignOptions): Promise<CampaignResult> {
  const { seed, runs, first = 0, log = () => {}, complain = log } = options;
  const residue = new Residue(stage);
  const violations: string[] = [];
  const outcomes: Record<string, number> = {};
  const plans = Array.from({ length: runs }, (_, number) => planRun(seed, first + number));
  const childrenBefore = await stage.children();
  let before: ProbeAnswer | undefined;
  let detourBefore: ProbeAnswer | undefined;
  for (const [number, plan] of plans.entries()) {
    const startedMs = performance.now();
    // The next one that will be killed starts beside the runs before it.
    if (plans.slice(number, number + 3).some(needsVictim)) stage.prepareVictim();
    const { outcome, problems } = await runOne(stage, residue, plan);
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    const line = `${describePlan(plan)} → ${outcome} (${Math.round(performance.now() - startedMs)} ms)`;
    log(line);
    if (problems.length > 0) violations.push([line, ...problems].join('\n    '));
    if (problems.length > 0 && complain !== log) complain(line);
    for (const problem of problems) complain(`    VIOLATION: ${problem}`);
    if (number + 1 === warmUpRuns) before = await stage.kexer.probe(true);
    if (number + 1 === detourWarmUpRuns) detourBefore = await stage.detourKexer.probe(true);
  }
  const after = await stage.kexer.probe(true);
  before ??= after;
  violations.push(...memoryProblems(before, after));
  if (detourBefore !== undefined) {
    violations.push(...memoryProblems(detourBefore, await stage.detourKexer.probe(true)));
  }
  const left = await settledChildren(stage, childrenBefore);
  if (left.length > 0) violations.push(`processes are left after the campaign: ${left.join('; ')}`);
  return {
    runs,
    violations,
    outcomes,
    rssBefore: before.rssBytes,
    rssAfter: after.rssBytes,
    heapBefore: before.heapBytes + before.externalBytes,
    heapAfter: after.heapBytes + after.externalBytes,
  };
}

async function runOne(
  stage: FaultStage,
  residue: Residue,
  plan: RunPlan,
): Promise<{ outcome: string; problems: string[] }> {
  let seen;
  try {
    seen = await performRun(stage, plan);
  } catch (error) {
    return {
      outcome: 'broken run',
      problems: [`the run itself failed: ${error instanceof Error ? error.stack : String(error)}`],
    };
  }
  const { violations, exception } = judge(plan, seen);
  const problems = [...violations, ...(await residue.report())];
  const { report } = seen;
  const fired = seen.isFired ? '' : ' (fault not reached)';
  if (report === undefined) return { outcome: `hang${fired}`, problems };
  const { result, phase } = report;
  if (exception !== undefined) return { outcome: `exception: ${exception}${fired}`, problems };
  if (result.kind !== 'failure') return { outcome: `${result.kind}${fired}`, problems };
  return { outcome: `failure, ${phase}, ${result.isTold ? 'told' : 'connection lost'}${fired}`, problems };
}

function memoryProblems(before: ProbeAnswer, after: ProbeAnswer): string[] {
  const problems: string[] = [];
  const rss = after.rssBytes - before.rssBytes;
  if (rss > maxRssGrowthBytes) problems.push(`kexer's RSS has grown by ${(rss / 2 ** 20).toFixed(1)} MiB`);
  const heap = after.heapBytes + after.externalBytes - before.heapBytes - before.externalBytes;
  if (heap > maxHeapGrowthBytes) problems.push(`kexer's heap has grown by ${(heap / 2 ** 20).toFixed(1)} MiB`);
  const timers = (after.resources['Timeout'] ?? 0) - (before.resources['Timeout'] ?? 0);
  if (timers > 0) problems.push(`${timers} timers are left in kexer`);
  return problems;
}

/** What processes there are beyond those before: they end a little after the sessions that started them. */
async function settledChildren(stage: FaultStage, before: ReadonlyMap<number, string>): Promise<string[]> {
  const deadline = performance.now() + residueDeadlineMs;
  for (;;) {
    const now = await stage.children();
    const left = [...now].filter(([pid]) => !before.has(pid)).map(([pid, command]) => `${pid} ${command}`);
    if (now.size <= before.size || performance.now() > deadline) return now.size <= before.size ? [] : left;
    await pause(20);
  }
}
