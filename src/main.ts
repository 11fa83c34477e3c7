#!/usr/bin/env node
// The command line's end of kexer, and the only place that ends the process.

import { run } from './cli/run.ts';
import type { CommandIo } from './cli/command.ts';

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
};

// A reader that left (`kexer help | head`) is no error.
process.stdout.on('error', () => {});

process.exit(await run(process.argv.slice(2), io));
