// `kexer version`, and where the version comes from: package.json, two folders above both the sources and the build.

import { readFileSync } from 'node:fs';

import type { CommandIo } from './command.ts';

/** The version in package.json. */
export function kexerVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const manifest: unknown = JSON.parse(text);
  if (typeof manifest === 'object' && manifest !== null && 'version' in manifest) return String(manifest.version);
  return '0.0.0';
}

export async function runVersion(_argv: readonly string[], io: CommandIo): Promise<number> {
  io.print(`kexer ${kexerVersion()}`);
  return 0;
}
