// `npm run test:faults -- --seed S --runs N [--first I] [--quiet]`: the fault campaign as a command, for as many runs as there is time for.
// Each run's line says what was done; a failing one is had again by `--seed S --first I --runs 1`.

import { parseArgs } from 'node:util';

import { secretWatch } from '../support/secret-watch.ts';
import { runCampaign } from './campaign.ts';
import { FaultStage } from './support/stage.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    runs: { type: 'string', default: '300' },
    first: { type: 'string', default: '0' },
    quiet: { type: 'boolean', default: false },
  },
});

function print(line: string): void {
  console.log(line);
}

const seed = Number(values.seed);
console.log(`seed ${seed}`);
secretWatch.start();
const stage = await FaultStage.start();
// Its kexers must not outlive it; the sandbox ends with the process.
process.once('SIGTERM', () => {
  void stage.stop().finally(() => process.exit(143));
});
try {
  const result = await runCampaign(stage, {
    seed,
    runs: Number(values.runs),
    first: Number(values.first),
    complain: print,
    ...(values.quiet ? {} : { log: print }),
  });
  const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  console.log(`\n${result.runs} runs, seed ${seed}: ${result.violations.length} violations`);
  for (const [outcome, count] of Object.entries(result.outcomes).toSorted((a, b) => b[1] - a[1])) {
    console.log(`  ${String(count).padStart(6)}  ${outcome}`);
  }
  console.log(
    `kexer: RSS ${mib(result.rssBefore)} → ${mib(result.rssAfter)}, heap ${mib(result.heapBefore)} → ${mib(result.heapAfter)}`,
  );
  const written = await secretWatch.report();
  for (const violation of [...result.violations, ...written]) console.log(`VIOLATION: ${violation}`);
  process.exitCode = result.violations.length + written.length === 0 ? 0 : 1;
} finally {
  await stage.stop();
}
