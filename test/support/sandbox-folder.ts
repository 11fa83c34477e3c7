// The secrets of a sandbox that runs in a process of its own, from the folder it writes: private keys, token files and what its kubeconfigs say.

import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

import type { MadeSecret } from '../../src/sandbox/made-secrets.ts';

/** What is there by now; nothing if there is no such folder. */
export function secretsInFolder(dir: string): MadeSecret[] {
  const secrets: MadeSecret[] = [];
  for (const file of [...filesIn(dir), ...filesIn(join(dir, 'certs'))]) {
    const name = basename(file);
    const kind = `a secret in ${name} of a sandbox`;
    if (/\.(?:key|token)$/.test(name)) secrets.push({ kind, value: readFileSync(file, 'latin1') });
    if (!name.endsWith('kubeconfig')) continue;
    const text = readFileSync(file, 'latin1');
    for (const [, value = ''] of text.matchAll(/\btoken: (\S+)/g)) secrets.push({ kind, value });
    for (const [, value = ''] of text.matchAll(/\bclient-key-data: (\S+)/g)) {
      secrets.push({ kind, value: Buffer.from(value, 'base64').toString('latin1') });
    }
  }
  return secrets;
}

/** The files of a folder, none if it is not there. */
export function filesIn(dir: string): string[] {
  try {
    return readdirSync(dir, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => join(dir, name));
  } catch {
    return []; // not written yet, or gone again
  }
}
