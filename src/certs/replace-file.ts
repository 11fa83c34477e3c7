// Writes a file whole or not at all, so that nobody reads half of it: a new file beside it takes its name.

import { rename, writeFile } from 'node:fs/promises';

/** @param mode of the new file, whatever the old one's was: 0o600 for what is secret. */
export async function replaceFile(file: string, content: string, mode: number): Promise<void> {
  const next = `${file}.new`;
  await writeFile(next, content, { mode });
  await rename(next, file);
}
