import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { expect } from 'chai';

const engineUrl = new URL('../../src/cli/engine.ts', import.meta.url).href;

/** Bytes of the young generation after much short-lived garbage, in a process of its own. */
async function youngBytes(execArgv: readonly string[], environment: Record<string, string> = {}): Promise<number> {
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
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...execArgv, '--input-type=module', '--eval', script],
    {
      cwd: fileURLToPath(new URL('../../', import.meta.url)),
      env: { PATH: process.env['PATH'] ?? '', ...environment },
    },
  );
  return Number(stdout);
}

describe('keepYoungGenerationSmall', () => {
  const mib = 1024 * 1024;

  it('keeps the young generation at its first size, which would grow otherwise', async () => {
    expect(await youngBytes([], { KEEP: 'yes' })).to.be.at.most(2 * mib);
    expect(await youngBytes([])).to.be.above(4 * mib);
  });

  it('leaves it to who sets a size of their own', async () => {
    expect(await youngBytes(['--max-semi-space-size=8'], { KEEP: 'yes' })).to.be.above(4 * mib);
    expect(await youngBytes([], { KEEP: 'yes', NODE_OPTIONS: '--max-semi-space-size=8' })).to.be.above(4 * mib);
  });
});
