import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { needsKubectl } from '../support/kubectl.ts';
import { Stage } from './support/stage.ts';

const mebibyte = 1024 * 1024;

describe('kubectl cp', function () {
  this.timeout(180_000);
  let stage: Stage;

  before(needsKubectl);
  before(async () => {
    stage = await Stage.start();
  });

  after(async () => {
    expect(await stage.connections()).to.deep.equal([]);
    await stage.stop();
  });

  it('copies a file of 256 MiB there and back, unchanged', async () => {
    const [file, back] = [stage.path('big'), stage.path('big-back')];
    const handle = await open(file, 'w');
    // A counter in front of each block: a block lost or doubled changes the sum.
    const block = Buffer.alloc(mebibyte, 'kexer');
    for (let index = 0; index < 256; index += 1) {
      block.writeUInt32BE(index);
      await handle.write(block);
    }
    await handle.close();
    const up = await stage.kubectl(['cp', file, 'demo:/tmp/big']);
    expect([up.code, up.stderr]).to.deep.equal([0, '']);
    const sum = await sha256(file);
    const inside = await stage.kubectl(['exec', 'demo', '--', 'sha256sum', '/tmp/big']);
    expect(inside.stdout.toString()).to.equal(`${sum}  /tmp/big\n`);
    const down = await stage.kubectl(['cp', 'demo:/tmp/big', back], { isWebSocket: false });
    expect([down.code, await sha256(back)]).to.deep.equal([0, sum]);
    await stage.kubectl(['exec', 'demo', '--', 'rm', '/tmp/big']);
  });

  it('copies a tree of 2,000 small files there and back, unchanged', async () => {
    const [tree, back] = [stage.path('tree'), stage.path('tree-back')];
    for (let index = 0; index < 2000; index += 1) {
      const folder = join(tree, `d${index % 20}`);
      if (index < 20) await mkdir(folder, { recursive: true });
      await writeFile(join(folder, `f${index}`), `file ${index} `.repeat(index % 300));
    }
    const up = await stage.kubectl(['cp', tree, 'db:/tmp/tree']);
    expect([up.code, up.stderr]).to.deep.equal([0, '']);
    const down = await stage.kubectl(['cp', 'db:/tmp/tree', back]);
    expect(down.code).to.equal(0);
    expect(await treeSum(back)).to.equal(await treeSum(tree));
  });
});

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

async function treeSum(root: string): Promise<string> {
  const names = (await readdir(root, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
    .toSorted();
  const hash = createHash('sha256');
  for (const name of names) hash.update(`${name}\n`).update(await readFile(join(root, name)));
  return `${names.length} ${hash.digest('hex')}`;
}
