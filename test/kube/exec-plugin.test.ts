// What bounds a credential plugin: its time and its output, whatever it leaves running.

import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { describeError } from '../../src/base/errors.ts';
import { execCredential } from '../../src/kube/exec-plugin.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { useTempDir } from '../support/temp-dir.ts';

const apiVersion = 'client.authentication.k8s.io/v1';

describe('execCredential', () => {
  const dir = useTempDir();
  let clock: FakeClock;
  let helper: number | undefined;

  beforeEach(() => {
    clock = new FakeClock();
    helper = undefined;
  });
  afterEach(() => {
    if (helper !== undefined) process.kill(helper, 'SIGKILL');
  });

  async function start(script: string): Promise<Promise<string>> {
    const file = join(dir(), 'plugin');
    await writeFile(file, `#!/bin/sh\n${script}\n`);
    await chmod(file, 0o755);
    const credential = execCredential(
      { clock },
      {
        apiVersion,
        command: file,
        args: [],
        env: [],
        installHint: '',
        cluster: undefined,
        folder: dir(),
        environment: { PATH: process.env['PATH'], DIR: dir() },
      },
    );
    if (credential.kind !== 'both') throw new Error('a plugin gives both');
    return credential.token.read().then(
      (token) => token,
      (error: unknown) => describeError(error),
    );
  }

  /** The process that the plugin has left behind, once it runs. */
  async function helperOf(): Promise<number> {
    for (;;) {
      const text = await readFile(join(dir(), 'helper'), 'utf8').catch(() => '');
      if (text.endsWith('\n')) return Number(text);
    }
  }

  it('ends a plugin that takes too long, though what it has started holds its output', async () => {
    const answer = start('sleep 600 & echo $! > "$DIR/helper"; wait');
    helper = await helperOf();
    clock.advance(60_000);
    expect(await answer).to.match(/^Cannot get a credential from the plugin ".*plugin": it was not done within 60 s$/);
    expect(clock.pendingCount).to.equal(0);
  });

  it('ends a plugin that prints without end, though what it has started holds its output', async () => {
    const answer = start('sleep 600 & echo $! > "$DIR/helper"; yes 2> /dev/null');
    helper = await helperOf();
    expect(await answer).to.match(/: it printed more than 1048576 bytes$/);
    expect(clock.pendingCount).to.equal(0);
  });

  it('takes no notice of what a plugin has left behind that holds nothing', async () => {
    const status = JSON.stringify({ apiVersion, kind: 'ExecCredential', status: { token: 'from-plugin' } });
    const answer = start(`sleep 600 > /dev/null & echo $! > "$DIR/helper"; echo '${status}'`);
    helper = await helperOf();
    expect(await answer).to.equal('from-plugin');
  });
});
