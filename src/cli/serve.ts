// `kexer serve`: settings, composition, then serving until the order to stop.

import { systemClock } from '../base/clock.ts';
import { Scope } from '../base/scope.ts';
import { loadConfig } from '../config/load.ts';
import * as lines from '../observe/log-lines.ts';
import { createLogger } from '../observe/logger.ts';

import type { CommandIo } from './command.ts';
import { composeServer } from './compose.ts';
import { runHelp } from './help.ts';
import { kexerVersion } from './version.ts';

/** What Node can time. */
const longestTimerMs = 2 ** 31 - 1;
/** Until what a start sets going has run once, too. */
const settlingMs = 500;

/** @throws KexerError config before it serves; afterwards it resolves with the exit code. */
export async function runServe(argv: readonly string[], io: CommandIo): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) return runHelp([], io);
  const config = await loadConfig({ argv, environment: io.environment });
  const log = createLogger(config.log);
  const version = kexerVersion();
  const scope = new Scope();
  const stopOrder = waitForStop(io);
  // What kexer waits with holds no process: before it listens, a cluster that refuses everything would let it end as if it were done.
  const alive = setInterval(() => {}, longestTimerMs);
  try {
    const deps = { clock: systemClock, log, scope, environment: io.environment, version };
    const { port, whenReady, hurry } = await composeServer(deps, config);
    const startMs = Math.round(performance.now());
    lines.serving(log, { address: config.server.bindAddress, port, version, startMs });
    whenReady(scope.signal)
      .then(() => {
        lines.ready(log);
        const settled = systemClock.after(settlingMs, () => io.onSettled?.());
        scope.add(() => settled.cancel());
      })
      .catch(() => {
        // Stopped before it was ready: there is nothing to say.
      });
    const signal = await stopOrder.first;
    lines.stopping(log, { reason: signal });
    // A second signal does not wait for anybody; sessions are still told why they end.
    void stopOrder.second.then(hurry);
    await scope.close();
    lines.stopped(log);
    return 0;
  } finally {
    stopOrder.forget();
    await scope.close();
    clearInterval(alive);
  }
}

interface StopOrder {
  readonly first: Promise<string>;
  readonly second: Promise<void>;
  forget(): void;
}

/** Listens from the start, so that a signal during the start is not lost. */
function waitForStop(io: CommandIo): StopOrder {
  let count = 0;
  let onFirst: (signal: string) => void = () => {};
  let onSecond: () => void = () => {};
  const first = new Promise<string>((resolve) => {
    onFirst = resolve;
  });
  const second = new Promise<void>((resolve) => {
    onSecond = resolve;
  });
  const forget = io.onStopSignal((signal) => {
    count += 1;
    if (count === 1) onFirst(signal);
    else onSecond();
  });
  return { first, second, forget };
}
