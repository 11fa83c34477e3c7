// The words that the kexer of this pod was started with, so that `kubectl exec … kexer doctor` needs none: in a container it is process 1.

import { readFile } from 'node:fs/promises';

export const firstProcess = '/proc/1/cmdline';

/** What follows `serve`; undefined: the process is no kexer that serves, or cannot be seen. */
export async function servingWords(file: string): Promise<string[] | undefined> {
  const text = await readFile(file, 'utf8').catch(() => '');
  const words = text.split('\0').slice(0, -1);
  // Behind the program, whatever starts that: `kexer serve`, `tini -- node /kexer/dist/main.js serve`.
  const at = words.findIndex((word, index) => word === 'serve' && isKexer(words[index - 1] ?? ''));
  return at === -1 ? undefined : words.slice(at + 1);
}

function isKexer(word: string): boolean {
  return /(?:^|\/)(?:kexer|main\.[jt]s)$/.test(word);
}
