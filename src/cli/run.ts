// A command line to an exit code. Commands are loaded when they are called: `kexer serve` needs nothing of the sandbox.

import { describeError, KexerError } from '../base/errors.ts';
import { quote } from '../base/quote.ts';
import { nearestName } from '../config/nearest.ts';

import type { Command, CommandIo } from './command.ts';

const commands: ReadonlyMap<string, () => Promise<Command>> = new Map([
  ['serve', async () => (await import('./serve.ts')).runServe],
  ['doctor', async () => (await import('./doctor.ts')).runDoctor],
  ['certs', async () => (await import('./certs.ts')).runCerts],
  ['kubeconfig', async () => (await import('./kubeconfig.ts')).runKubeconfig],
  ['sandbox', async () => (await import('./sandbox.ts')).runSandbox],
  ['version', async () => (await import('./version.ts')).runVersion],
  ['help', async () => (await import('./help.ts')).runHelp],
]);

const aliases: ReadonlyMap<string, string> = new Map([
  ['--help', 'help'],
  ['-h', 'help'],
  ['--version', 'version'],
]);

/** Never rejects for anything a user or the surroundings did wrong. */
export async function run(argv: readonly string[], io: CommandIo): Promise<number> {
  const [word = 'help', ...rest] = argv;
  const name = aliases.get(word) ?? word;
  const load = commands.get(name);
  if (load === undefined) {
    const nearest = nearestName(name, [...commands.keys()]);
    const hint = nearest === undefined ? 'see kexer help' : `did you mean ${nearest}?`;
    io.complain(`kexer: Cannot run ${quote(word)}: there is no such command, ${hint}`);
    return 1;
  }
  try {
    const command = await load();
    return await command(rest, io);
  } catch (error) {
    // One sentence each for what an operator can repair; only a defect deserves a stack.
    const text = error instanceof KexerError ? describeError(error) : error instanceof Error ? error.stack : error;
    for (const line of String(text).split('\n')) io.complain(`kexer: ${line}`);
    return 1;
  }
}
