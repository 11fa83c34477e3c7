// `node test/clients/table.ts` runs the client matrix and writes its result into docs/compatibility.md; format it afterwards with
// `npm run format`. Exit code 1 if a cell did not pass.

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { makeTable, withTable } from './support/table.ts';

interface Report {
  readonly passes: readonly { readonly fullTitle: string }[];
  readonly failures: readonly { readonly fullTitle: string }[];
}

const root = join(import.meta.dirname, '../..');
const file = join(root, 'docs/compatibility.md');
const mocha = join(root, 'node_modules/mocha/bin/mocha.js');
const run = spawnSync(process.execPath, [mocha, '--reporter', 'json', 'test/clients/matrix.test.ts'], {
  cwd: root,
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'inherit'],
});
// Lines about skipped clients come before it.
const report = JSON.parse(run.stdout.slice(run.stdout.indexOf('{\n'))) as Report;
const passed = new Set(report.passes.map(({ fullTitle }) => fullTitle));
const failed = new Set(report.failures.map(({ fullTitle }) => fullTitle));
const table = makeTable((client, kubelet, kind) => {
  const title = `client matrix ${client} ${kubelet} ${kind}`;
  if (passed.has(title)) return 'pass';
  return failed.has(title) ? 'FAIL' : undefined;
});
writeFileSync(file, withTable(readFileSync(file, 'utf8'), table));
process.exitCode = table.some((line) => /FAIL|not run/.test(line)) ? 1 : 0;
