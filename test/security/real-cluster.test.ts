// The matrix and the preflight's parity as they run on a real cluster, kept in working order: in a mocha of their own, against a sandbox in a
// process of its own, of which they know what KEXER_TEST_KUBECONFIG and its like say, and nothing else.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { expect } from 'chai';

import { isRealCluster } from './support/shared-arena.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

describe('a cluster that is known by its kubeconfig alone', function () {
  this.timeout(180_000);
  let cluster: ChildProcess;
  const variables: Record<string, string> = {};

  before(async function () {
    if (isRealCluster) this.skip();
    cluster = spawn(process.execPath, ['test/security/support/sandbox-cluster.ts'], {
      cwd: root,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    if (cluster.stdout === null) throw new Error('there is no pipe');
    for await (const line of createInterface({ input: cluster.stdout })) {
      if (line === 'ready') break;
      const [name = '', ...value] = line.split('=');
      variables[name] = value.join('=');
    }
  });

  after(async () => {
    if (cluster === undefined || cluster.exitCode !== null) return;
    const ended = once(cluster, 'exit');
    cluster.stdin?.end();
    await ended;
  });

  /** Runs files as a user would; gives what mocha wrote. */
  async function run(
    env: Record<string, string>,
    ...files: readonly string[]
  ): Promise<{ code: unknown; text: string }> {
    const child = spawn(process.execPath, ['node_modules/mocha/bin/mocha.js', '--reporter', 'spec', ...files], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const [code] = (await once(child, 'close')) as [unknown];
    return { code, text };
  }

  it('is asked all that its API can set up, twice over, and is left as it was', async () => {
    const files = ['test/security/identity-matrix.test.ts', 'test/security/preflight-parity.test.ts'];
    const { code, text } = await run(variables, ...files);
    expect(code, text).to.equal(0);
    const cells = Number(/ (\d+) of \d+ cells could be asked/.exec(text)?.[1]);
    expect(cells, text).to.be.at.least(1400);
    // Once more with nothing but a kubeconfig: what cannot be had is left out, and nothing of the first run is in the way.
    const { KEXER_TEST_KUBECONFIG = '', KEXER_TEST_KUBELET_CA = '' } = variables;
    const bare = await run({ KEXER_TEST_KUBECONFIG, KEXER_TEST_KUBELET_CA }, ...files);
    expect(bare.code, bare.text).to.equal(0);
    const fewer = Number(/ (\d+) of \d+ cells could be asked/.exec(bare.text)?.[1]);
    expect(fewer, bare.text).to.be.within(100, cells - 1);
  });
});
