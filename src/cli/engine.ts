// How V8 is told to keep house in a server whose payload is not in V8's heap at all, and which waits for hours between its calls. Two things,
// each measured (docs/performance.md): the young generation stays at its first size, and what the start left behind is given back. Not a third:
// holding V8's optimising compilers while kexer starts saves 2 MiB more, but V8 then gives what was called meanwhile so large budgets that an
// exec costs a quarter more CPU for thousands of execs.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Before much is allocated. The young generation would grow to 16 MiB twice over as soon as something happens, and is never given back; kept
 * at its first size it is collected more often, each time in a tenth of a millisecond: 5 MiB less when idle, 70 KiB less for each of 1,000
 * idle sessions, 100 MiB less after 20,000 calls, for 6 % more CPU on ordinary calls. What large it would be good for, many short-lived
 * buffers, kexer does not make.
 */
export function keepYoungGenerationSmall(environment: Environment): void {
  if (/semi[-_]space/.test(nodeFlags(environment))) return;
  // Read whenever the space would grow, and at no other time; the size itself is fixed before any script runs.
  setFlagsFromString('--semi-space-growth-factor=1');
  // A tenth of a millisecond's work is not worth waking V8's threads for, once for every second exec.
  setFlagsFromString('--no-parallel-scavenge');
}

/**
 * Gives back what the start needed and nothing needs any more: sources that were parsed, first lists, code that ran once. V8 would keep those pages,
 * because it looks for garbage only when something is allocated. Takes some 25 ms in which nothing else happens, more with thousands of nodes.
 */
export function giveBackMemory(): void {
  setFlagsFromString('--expose-gc');
  // A function of contexts that are made while the flag is on; this one ends with the call.
  const collect = runInNewContext('gc') as (options: object) => void;
  setFlagsFromString('--no-expose-gc');
  // The last resort of an engine that is short of memory: everything is collected, and pages that are nearly empty are emptied.
  collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}

function nodeFlags(environment: Environment): string {
  return [...process.execArgv, environment['NODE_OPTIONS'] ?? ''].join(' ');
}
