import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { expect } from 'chai';

/** Collections of the young generation in a process of its own, through which 256 MiB pass as records of TLS do. */
async function collections(isTold: boolean): Promise<number> {
  const file = new URL('../../src/base/young-garbage.ts', import.meta.url).href;
  const script = `
    import { PerformanceObserver, constants } from 'node:perf_hooks';
    import { setFlagsFromString } from 'node:v8';
    setFlagsFromString('--semi-space-growth-factor=1'); // as cli/engine.ts does
    const { YoungGarbage } = await import(${JSON.stringify(file)});
    const garbage = new YoungGarbage();
    let young = 0;
    const count = (list) => {
      for (const { detail } of list.getEntries()) {
        if (detail.kind === constants.NODE_PERFORMANCE_GC_MINOR) young += 1;
      }
    };
    const observer = new PerformanceObserver(count);
    observer.observe({ entryTypes: ['gc'] });
    const waiting = [];
    for (let turn = 0; turn < 2048; turn += 1) {
      for (let record = 0; record < 8; record += 1) {
        waiting.push(Buffer.allocUnsafeSlow(16_384));
        if (waiting.length > 16) waiting.shift();
        if (${isTold}) garbage.add(16_384);
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve)); // entries come late
    console.log(young);
  `;
  const argv = ['--input-type=module', '-e', script];
  const { stdout } = await promisify(execFile)(process.execPath, argv);
  return Number(stdout);
}

describe('YoungGarbage', function () {
  this.timeout(60_000);

  it('has the young generation collected for every four MiB, which it is not by itself', async () => {
    const told = await collections(true);
    const untold = await collections(false);
    expect(told).to.be.within(55, 140); // 64, and those of other objects
    expect(untold).to.be.below(50);
  });
});
