// node test/bench/flame.ts KIND OUT.svg [--root DIR]: a flame graph of a built kexer under one of the bench's transfers: spdyOut, webSocketOut,
// tunnelOut, spdyIn or webSocketIn. DIR is a folder with a `dist`; default: this repository.

import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import type { TransferKind } from './processes/client.ts';
import { type CpuProfile, drawFlameGraph } from './support/flame-graph.ts';
import { Stage } from './support/stage.ts';

const mebibytes = 1024;
const kinds: readonly string[] = [
  'spdyOut',
  'webSocketOut',
  'tunnelOut',
  'spdyIn',
  'webSocketIn',
] satisfies TransferKind[];

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { root: { type: 'string' }, title: { type: 'string' } },
});
const [kind = '', file = ''] = positionals;
if (!kinds.includes(kind) || file === '') throw new Error(`want KIND (${kinds.join(', ')}) and OUT.svg`);

const dir = await mkdtemp(join(tmpdir(), 'kexer-flame-'));
const stage = await Stage.start({
  ...(values.root === undefined ? {} : { root: values.root }),
  kexerArgv: ['--cpu-prof', '--cpu-prof-interval', '250', '--cpu-prof-dir', dir],
});
try {
  const kexer = await stage.kexer();
  await stage.client.call('transfer', { route: kexer.route, kind: kind as TransferKind, mebibytes });
  await kexer.stop(); // writes the profile
  const [name = ''] = await readdir(dir);
  const profile = JSON.parse(await readFile(join(dir, name), 'utf8')) as CpuProfile;
  await writeFile(file, drawFlameGraph(profile, values.title ?? `${kind}, ${mebibytes} MiB`));
} finally {
  await stage.stop();
  await rm(dir, { recursive: true, force: true });
}
