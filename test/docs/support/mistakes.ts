// What `kexer serve` says of a config with ten mistakes, word for word.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describeError } from '../../../src/base/errors.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { mistakes } from './configuration-page.ts';

/** The lines on standard error; the file is called kexer.yaml. @throws if it is taken. */
export async function complaintAboutMistakes(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'kexer-mistakes-'));
  try {
    const file = join(dir, 'kexer.yaml');
    await writeFile(file, mistakes.file);
    // As cli/run.ts prints it.
    const told = await loadConfig({ argv: ['--config', file, ...mistakes.argv], environment: {} }).then(
      () => undefined,
      (error: unknown) => describeError(error),
    );
    if (told === undefined) throw new Error('it was taken');
    return told
      .split('\n')
      .map((line) => `kexer: ${line}`)
      .join('\n')
      .replaceAll(`${dir}/`, '');
  } finally {
    await rm(dir, { recursive: true });
  }
}
