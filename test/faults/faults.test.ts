// The fault campaign, bounded: a seeded loop that breaks sessions at random bytes and looks whether a broken one ever looked whole, whether
// its failure was told, and whether anything of it is left. `npm run test:faults -- --seed S --runs N` runs as many as there is time for.
//
// KEXER_TEST_SEED repeats a run of this test; without it the seed is a new one each time, and printed.

import { spawn } from 'node:child_process';
import { join } from 'node:path';

import { expect } from 'chai';

import { describePlan, planRun } from './plan.ts';

const seed = Number(process.env['KEXER_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const runs = process.env['CI'] === 'true' ? 300 : 60;

interface Outcome {
  readonly code: number | null;
  readonly output: string;
}

/** About 0.3 s a run; the rest is for machines that do other things besides. */
const limitMs = 270_000;
/** For the command to stop its kexers, before it is killed. */
const stopMs = 10_000;

/** The campaign as a process of its own: it kills and cuts its peers at any byte, and what that leaves in them shall not outlive it. */
function runCommand(): Promise<Outcome> {
  const args = [join(import.meta.dirname, 'main.ts'), '--seed', String(seed), '--runs', String(runs)];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    let killing: NodeJS.Timeout | undefined;
    const limit = setTimeout(() => {
      output += `\nstopped after ${limitMs / 1000} s\n`;
      child.kill('SIGTERM');
      killing = setTimeout(() => child.kill('SIGKILL'), stopMs);
    }, limitMs);
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(limit);
      clearTimeout(killing);
      resolve({ code, output });
    });
  });
}

describe('faults', function () {
  this.timeout(limitMs + 2 * stopMs);

  it(`never look like success and leave nothing behind, ${runs} times with seed ${seed}`, async () => {
    const { code, output } = await runCommand();
    const summary = `${runs} runs, seed ${seed}: 0 violations`;
    const why = `\n${output}\nagain: npm run test:faults -- --seed ${seed} --runs ${runs}\n`;
    expect([code, output.includes(summary)], why).to.deep.equal([0, true]);
  });
});

describe('planRun', () => {
  it('gives the same plan for the same seed and number, and another one otherwise', () => {
    expect(describePlan(planRun(7, 3))).to.equal(describePlan(planRun(7, 3)));
    const plans = new Set(Array.from({ length: 50 }, (_, index) => describePlan(planRun(7, index))));
    expect(plans.size).to.equal(50);
  });

  it('reaches every kind, protocol, node, path and fault within what CI runs', () => {
    const plans = Array.from({ length: 300 }, (_, index) => planRun(1, index));
    const seen = (of: (plan: ReturnType<typeof planRun>) => string): number => new Set(plans.map(of)).size;
    expect({
      kinds: seen(({ kind }) => kind),
      protocols: seen(({ protocol }) => protocol.label),
      nodes: seen(({ node }) => node),
      paths: seen(({ path }) => path),
      acts: seen(({ fault }) => fault.act.kind),
    }).to.deep.equal({ kinds: 6, protocols: 18, nodes: 2, paths: 3, acts: 15 });
  });
});
