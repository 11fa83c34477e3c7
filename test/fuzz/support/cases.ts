// Runs seeded cases some at a time within a budget of time, and names the case that failed.

import { Random } from '../../faults/support/random.ts';

export interface CaseBudget {
  readonly seed: number;
  /** No new case is begun after this; a few seconds, KEXER_TEST_FUZZ_MS for more. */
  readonly budgetMs: number;
  readonly atOnce: number;
}

/** What `promise` resolves with, or undefined after `ms`; leaves no timer. */
export async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export function newSeed(): number {
  return Number(process.env['KEXER_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
}

export function budgetMs(): number {
  return Number(process.env['KEXER_TEST_FUZZ_MS'] ?? 2500);
}

/** @returns problems, each with its case. @param run gives what is wrong, or undefined */
export async function runCases(
  budget: CaseBudget,
  run: (random: Random, index: number) => Promise<string | undefined>,
): Promise<{ problems: string[]; cases: number }> {
  const problems: string[] = [];
  const endMs = performance.now() + budget.budgetMs;
  let next = 0;
  const worker = async (): Promise<void> => {
    while (performance.now() < endMs) {
      const index = next;
      next += 1;
      const problem = await run(Random.of(budget.seed, index), index).catch((error: unknown) =>
        error instanceof Error ? (error.stack ?? error.message) : String(error),
      );
      if (problem !== undefined) problems.push(`case ${index}: ${problem}`);
    }
  };
  await Promise.all(Array.from({ length: budget.atOnce }, worker));
  // A longer run is for its figures, too.
  if (process.env['KEXER_TEST_FUZZ_MS'] !== undefined) console.log(`      ${next} cases, seed ${budget.seed}`);
  return { problems, cases: next };
}
