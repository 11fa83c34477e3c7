import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { expect } from 'chai';

const engineUrl = new URL('../../src/cli/engine.ts', import.meta.url).href;

/** Runs a script in a process of its own; what it prints is JSON. */
async function inProcess(
  script: string,
  execArgv: readonly string[] = [],
  environment: Record<string, string> = {},
): Promise<unknown> {
  return JSON.parse(await outputOf(script, execArgv, environment));
}

async function outputOf(
  script: string,
  execArgv: readonly string[] = [],
  environment: Record<string, string> = {},
): Promise<string> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...execArgv, '--input-type=module', '--eval', script],
    {
      cwd: fileURLToPath(new URL('../../', import.meta.url)),
      env: { PATH: process.env['PATH'] ?? '', ...environment },
    },
  );
  return stdout;
}

describe('keepYoungGenerationSmall', () => {
  const mib = 1024 * 1024;
  /** Bytes of the young generation after much short-lived garbage. */
  const youngBytes = (execArgv: readonly string[], environment: Record<string, string> = {}): Promise<unknown> => {
    const script = `
      import { getHeapSpaceStatistics } from 'node:v8';
      import { keepYoungGenerationSmall } from '${engineUrl}';
      if (process.env.KEEP === 'yes') keepYoungGenerationSmall(process.env);
      let kept = [];
      for (let round = 0; round < 200; round += 1) {
        kept = Array.from({ length: 5000 }, (_, index) => ({ index, text: String(index) }));
      }
      console.log(getHeapSpaceStatistics().find((space) => space.space_name === 'new_space').space_size + kept.length * 0);
    `;
    return inProcess(script, execArgv, environment);
  };

  it('keeps the young generation at its first size, which would grow otherwise', async () => {
    expect(await youngBytes([], { KEEP: 'yes' })).to.be.at.most(2 * mib);
    expect(await youngBytes([])).to.be.above(4 * mib);
  });

  it('has it collected without the help of other threads, which wake up for nothing', async function () {
    if (availableParallelism() === 1) this.skip();
    /** For each collection V8 writes a line of each thread that took part, with what was copied by all. @returns how many threads helped */
    const helpers = async (isKept: boolean): Promise<number> => {
      // In two pieces: a script is an argument of its process, where the size would look like the user's.
      const small = "'--semi-' + 'space-growth-factor=1'";
      const script = `
        import { setFlagsFromString } from 'node:v8';
        import { keepYoungGenerationSmall } from '${engineUrl}';
        if (${isKept}) keepYoungGenerationSmall(process.env);
        else setFlagsFromString(${small});
        setFlagsFromString('--trace-parallel-scavenge');
        let kept = [];
        for (let round = 0; round < 30; round += 1) {
          kept = Array.from({ length: 20_000 }, (_, index) => ({ index, text: String(index) }));
        }
        setFlagsFromString('--no-trace-parallel-scavenge');
      `;
      const copied = (await outputOf(script)).split('\n').map((line) => /copied=.*/.exec(line)?.[0]);
      expect(copied.length).to.be.above(20);
      return copied.filter((text, index) => text !== undefined && text === copied[index - 1]).length;
    };
    expect(await helpers(true)).to.equal(0);
    expect(await helpers(false)).to.be.above(5);
  });

  it('leaves it to who sets a size of their own', async () => {
    expect(await youngBytes(['--max-semi-space-size=8'], { KEEP: 'yes' })).to.be.above(4 * mib);
    expect(await youngBytes([], { KEEP: 'yes', NODE_OPTIONS: '--max-semi-space-size=8' })).to.be.above(4 * mib);
  });
});

describe('giveBackMemory', () => {
  it('gives back pages of what has become garbage, in an engine that is otherwise as before', async () => {
    const script = `
      import { giveBackMemory } from '${engineUrl}';
      import { getHeapStatistics } from 'node:v8';
      let kept = Array.from({ length: 300_000 }, (_, index) => ({ index }));
      const before = getHeapStatistics().total_physical_size;
      kept = kept.length;
      giveBackMemory();
      console.log(JSON.stringify([before, getHeapStatistics().total_physical_size, typeof globalThis.gc]));
    `;
    const [before, after, gc] = (await inProcess(script)) as [number, number, string];
    expect(after).to.be.below(before / 2);
    expect(gc).to.equal('undefined');
  });
});
