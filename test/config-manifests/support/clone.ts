// What git has of config/, in a folder of its own: nothing that only this machine has may be needed. With a kustomization beside it, as an
// operator who combines variants writes one.

import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { root } from './manifests.ts';

const run = promisify(execFile);

/** @param into made if absent. @returns it. */
export async function cloneConfig(into: string): Promise<string> {
  mkdirSync(into, { recursive: true });
  for (const file of await filesOfGit()) {
    cpSync(join(root, file), join(into, file), { recursive: true, verbatimSymlinks: true });
  }
  return into;
}

/** @returns a folder for `kubectl apply -k`, whose kustomization is this text and whose `config` is that of a clone. */
export async function ownKustomization(into: string, text: string): Promise<string> {
  await cloneConfig(into);
  writeFileSync(join(into, 'kustomization.yaml'), text);
  return into;
}

/** Files that are new but not ignored belong to the next clone. Without git (a tree that was unpacked) it is the folder as it stands. */
async function filesOfGit(): Promise<ReadonlySet<string>> {
  const words = ['ls-files', '-z', '--cached', '--others', '--exclude-standard', 'config'];
  const listed = await run('git', words, { cwd: root }).catch(() => undefined);
  return new Set(listed === undefined ? ['config'] : listed.stdout.split('\0').filter((name) => name !== ''));
}
