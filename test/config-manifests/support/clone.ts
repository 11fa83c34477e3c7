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
  // Files that are new but not ignored belong to the next clone.
  const listed = await run('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard', 'config'], {
    cwd: root,
  });
  for (const file of new Set(listed.stdout.split('\0').filter((name) => name !== ''))) {
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
