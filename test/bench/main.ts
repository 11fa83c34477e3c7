// `npm run bench`: what kexer costs, beside what its peers cost in the same run. docs/performance.md says how to read it.
//
//   --quick            a part of the lines in less than a minute, held against the committed table; fails if one is a quarter worse
//   --only NAME        one group of lines: throughput, sessions, openings, typing, fairness, calls, long, start (may be repeated)
//   --against NAME=DIR a further kexer, whose `dist` is in DIR, in every line where kexer is run beside others (may be repeated)
//   --root DIR         where kexer's own `dist` is; default: built from these sources
//   --json FILE        where the table is written as JSON; default: none, with --write docs/performance.json
//   --write            writes the table into docs/performance.md and docs/performance.json
//
// Peers: nginx (found on the PATH, or Debian's packages unpacked into node_modules/.cache), a pair of pipelines in Node, straight.

import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';

import { bundle } from '../../build/bundle.ts';
import { longCalls, smallCalls } from './lines/calls.ts';
import { openings } from './lines/openings.ts';
import { sessions } from './lines/sessions.ts';
import { start } from './lines/start.ts';
import { throughput } from './lines/throughput.ts';
import { fairness, typing } from './lines/typing.ts';
import type { Line } from './support/line.ts';
import { formatTable, makeReport, regressions, type Report, writeTable } from './support/report.ts';
import { repositoryRoot, Stage } from './support/stage.ts';

type Group = (stage: Stage) => Promise<Line[]>;

/** Five rounds each: a median of fewer follows a single disturbance. */
const full: Readonly<Record<string, Group>> = {
  throughput: (stage) => throughput(stage, { rounds: 5, mebibytes: 512 }),
  openings: (stage) => openings(stage, { rounds: 5, count: 200 }),
  typing: (stage) => typing(stage, { rounds: 5, count: 500 }),
  calls: (stage) => smallCalls(stage, { rounds: 5, count: 8000 }),
  long: (stage) => longCalls(stage, { rounds: 5, mebibytes: 100, watches: 1000 }),
  start: (stage) => start(stage, { rounds: 5 }),
  fairness: (stage) => fairness(stage, { rounds: 5, crowd: 2000, busy: 50 }),
  sessions: (stage) => sessions(stage, { rounds: 5, most: 8000 }),
};

const quick: Readonly<Record<string, Group>> = {
  throughput: (stage) => throughput(stage, { rounds: 3, mebibytes: 192 }),
  openings: (stage) => openings(stage, { rounds: 3, count: 200 }),
  calls: (stage) => smallCalls(stage, { rounds: 3, count: 8000 }),
  start: (stage) => start(stage, { rounds: 3 }),
};

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: [] },
    against: { type: 'string', multiple: true, default: [] },
    root: { type: 'string' },
    json: { type: 'string' },
    write: { type: 'boolean', default: false },
  },
});

const committedFile = join(repositoryRoot, 'docs/performance.json');
const pageFile = join(repositoryRoot, 'docs/performance.md');

/** As users run it: what `npm run build` makes. */
async function build(): Promise<void> {
  await bundle({ root: repositoryRoot, outDir: join(repositoryRoot, 'dist') });
}

async function run(): Promise<number> {
  const groups = options.quick ? quick : full;
  const names = options.only.length === 0 ? Object.keys(groups) : options.only;
  for (const name of names) {
    if (groups[name] === undefined) throw new Error(`--only ${name}: want one of ${Object.keys(groups).join(', ')}`);
  }
  const others = Object.fromEntries(
    options.against.map((text) => {
      const [name = '', ...folder] = text.split('=');
      return [name, folder.join('=')];
    }),
  );
  // The machine is seldom the bench's alone, and whoever else uses it comes first.
  setPriority(5);
  if (options.root === undefined) await build();
  const stage = await Stage.start({ others, ...(options.root === undefined ? {} : { root: options.root }) });
  const lines: Line[] = [];
  try {
    for (const name of names) {
      const startedMs = performance.now();
      lines.push(...((await groups[name]?.(stage)) ?? []));
      console.error(`${name}: ${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
    }
  } finally {
    await stage.stop();
  }
  const report = makeReport(lines, { node: process.version, nginx: stage.nginxVersion.replace('nginx/', '') });
  console.log(formatTable(report));
  const json = `${JSON.stringify(report, undefined, 2)}\n`;
  if (options.json !== undefined) await writeFile(options.json, json);
  if (options.write) {
    await writeFile(committedFile, json);
    await writeTable(pageFile, report);
    await promisify(execFile)(join(repositoryRoot, 'node_modules/.bin/oxfmt'), [committedFile, pageFile]);
  }
  if (!options.quick) return 0;
  const worse = regressions(report, JSON.parse(await readFile(committedFile, 'utf8')) as Report);
  for (const sentence of worse) console.error(`worse: ${sentence}`);
  return worse.length === 0 ? 0 : 1;
}

process.exitCode = await run();
