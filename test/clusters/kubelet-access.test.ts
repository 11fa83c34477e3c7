// Files of kubelet settings are followed, and a bad moment of a file does no harm.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { createKubeletAccess, RotatedFile } from '../../src/clusters/kubelet-access.ts';
import { FakeClock } from '../support/fake-clock.ts';

describe('RotatedFile', () => {
  let folder: string;
  let file: string;
  let clock: FakeClock;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kexer-rotated-'));
    file = join(folder, 'token');
    clock = new FakeClock();
    await writeFile(file, 'one\n');
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('gives the new text after at most ten seconds, and the old one while there is none', async () => {
    const rotated = new RotatedFile({ clock }, { file, setting: '--kubelet-token-file' });
    const access = createKubeletAccess(
      { clock },
      {
        ca: rotated,
        caSource: 'a test',
        isVerified: true,
        preferredAddressTypes: [],
        certificate: undefined,
        token: rotated,
        accountName: file,
      },
    );
    await writeFile(file, 'second');
    expect(access.token()).to.equal('one');
    clock.advance(10_000);
    expect([access.token(), access.ca]).to.deep.equal(['second', ['second']]);
    await rm(file);
    clock.advance(10_000);
    expect(access.token()).to.equal('second');
  });

  it('names the setting of a file that cannot be read at the start', async () => {
    await rm(file);
    expect(() => new RotatedFile({ clock }, { file, setting: '--kubelet-token-file' })).to.throw(
      `Cannot read --kubelet-token-file "${file}"`,
    );
  });
});
