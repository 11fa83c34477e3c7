// What the operating system and Node know of this process, read at the scrape: the recording side of process-definitions.ts. Where /proc is
// not, what it would tell is left out. Garbage collections are not observed: Node's observer of them costs 0.4 ms each, up to 7 % of a process that
// allocates (measured); what they do to others is in the event loop's delay.

import { readdir, readFile } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';

import type { Clock } from '../../base/clock.ts';

import { EventLoopDelay } from './event-loop-delay.ts';
import * as definitions from './process-definitions.ts';
import type { Registry } from './registry.ts';

/** What must be asked for before a scrape, because it takes a system call that may wait. */
interface ProcFacts {
  readonly virtualBytes: number | undefined;
  readonly openFds: number | undefined;
  readonly maxFds: number | undefined;
}

export class ProcessMetrics {
  readonly delay: EventLoopDelay;
  #proc: ProcFacts;

  constructor(deps: { clock: Clock; registry: Registry }, options: { version: string }) {
    const { clock, registry } = deps;
    this.delay = new EventLoopDelay({ clock });
    this.#proc = { virtualBytes: undefined, openFds: undefined, maxFds: undefined };
    const arch = process.arch === 'x64' ? 'amd64' : process.arch;
    const build = { version: options.version, node: process.versions.node, platform: `${process.platform}/${arch}` };
    registry.read(definitions.buildInfo, () => [[build, 1]]);
    registry.readOne(definitions.cpuSeconds, () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    });
    registry.readOne(definitions.residentMemory, () => process.memoryUsage.rss());
    registry.readOne(definitions.virtualMemory, () => this.#proc.virtualBytes);
    registry.readOne(definitions.openFds, () => this.#proc.openFds);
    registry.readOne(definitions.maxFds, () => this.#proc.maxFds);
    const startedSeconds = (clock.now() - performance.now()) / 1000;
    registry.readOne(definitions.startTime, () => startedSeconds);
    registry.readOne(definitions.eventLoopActive, () => performance.eventLoopUtilization().active / 1000);
    registry.readOne(definitions.eventLoopMean, () => this.delay.read().mean);
    registry.readOne(definitions.eventLoopP50, () => this.delay.read().p50);
    registry.readOne(definitions.eventLoopP99, () => this.delay.read().p99);
    registry.readOne(definitions.eventLoopMax, () => this.delay.read().max);
    registry.readOne(definitions.heapTotal, () => process.memoryUsage().heapTotal);
    registry.readOne(definitions.heapUsed, () => process.memoryUsage().heapUsed);
    registry.readOne(definitions.externalMemory, () => process.memoryUsage().external);
  }

  start(): void {
    this.delay.start();
  }

  stop(): void {
    this.delay.stop();
  }

  /** To be awaited before a scrape. Never rejects. */
  async refresh(): Promise<void> {
    const [status, fds, limits] = await Promise.all([
      readFile('/proc/self/status', 'utf8').catch(() => ''),
      readdir('/proc/self/fd').catch(() => undefined),
      readFile('/proc/self/limits', 'utf8').catch(() => ''),
    ]);
    const kilobytes = /^VmSize:\s+(\d+) kB$/m.exec(status)?.[1];
    const maximum = /^Max open files\s+(\d+|unlimited)/m.exec(limits)?.[1];
    this.#proc = {
      virtualBytes: kilobytes === undefined ? undefined : Number(kilobytes) * 1024,
      openFds: fds?.length,
      maxFds: maximum === undefined ? undefined : maximum === 'unlimited' ? Infinity : Number(maximum),
    };
  }
}
