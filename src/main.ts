#!/usr/bin/env node
// The command line's end of kexer, and the only place that ends the process. Imports next to nothing itself: what V8 is told before a server's
// modules are loaded must be told first.

import type { CommandIo } from './cli/command.ts';
import { giveBackMemory, keepYoungGenerationSmall } from './cli/engine.ts';

const io: CommandIo = {
  print: (line) => {
    process.stdout.write(`${line}\n`);
  },
  complain: (line) => {
    process.stderr.write(`${line}\n`);
  },
  environment: process.env,
  onStopSignal(listener) {
    process.on('SIGINT', listener);
    process.on('SIGTERM', listener);
    return () => {
      process.off('SIGINT', listener);
      process.off('SIGTERM', listener);
    };
  },
  onSettled: giveBackMemory,
};

// A reader that left (`kexer help | head`) is no error.
process.stdout.on('error', () => {});

const argv = process.argv.slice(2);
// The one command that stays; each other is over before it would matter, or is for a workstation.
if (argv[0] === 'serve') keepYoungGenerationSmall(process.env);
// Only now, and not above: an import at the top would be loaded before all this.
const { run } = await import('./cli/run.ts');
process.exit(await run(argv, io));
