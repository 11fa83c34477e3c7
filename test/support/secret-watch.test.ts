// That the suite-wide look for secrets sees what it is for: outputs of children, log files of sandboxes, secrets that sandboxes make.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { exceptions } from './printed-on-purpose.ts';
import { secretWatch, SecretWatch, watchedLog } from './secret-watch.ts';
import { useTempDir } from './temp-dir.ts';

const secret = 'a-secret-of-this-test-alone-0123456789';

describe('SecretWatch', function () {
  this.timeout(60_000);
  const tempDir = useTempDir();
  let watch: SecretWatch;

  beforeEach(() => {
    // What is planted here is not for the suite's own.
    secretWatch.stop();
    watch = new SecretWatch();
    watch.search.add('the secret', secret);
    watch.search.during = 'this test';
    watch.start();
  });

  afterEach(() => {
    watch.stop();
    secretWatch.start();
  });

  /** Runs a script with Node. @returns what came on its standard output */
  async function run(script: string, ...words: readonly string[]): Promise<string> {
    const child = spawn(process.execPath, ['-e', script, '--', ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
    const closed = once(child, 'close');
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (piece: string) => (text += piece));
    child.stderr.resume();
    await closed;
    return text;
  }

  it('sees both outputs of a child, which come to their reader whole', async () => {
    const text = await run(`console.log('before ${secret}'); console.error(btoa('${secret}'))`, '--word');
    expect(text).to.equal(`before ${secret}\n`);
    const told = await watch.report();
    expect(told.length).to.equal(2);
    expect(told[0]).to.match(/^the secret \(raw\) stands in stdout of node -e --word, during this test$/);
    expect(told[1]).to.match(/^the secret \(base64\) stands in stderr of node -e /);
    expect(told.join()).to.not.contain(secret.slice(0, 12));
  });

  it('sees an audit log when its writer has ended', async () => {
    const dir = tempDir();
    const file = join(dir, 'audit.log');
    await run(`fs.writeFileSync(process.argv[2], '${secret}')`, '--audit-log-path', file);
    await run(`fs.writeFileSync('${file}', '${secret}')`, `--audit-log-path=${file}`);
    await run('', '--audit-log-path=-');
    await run('', `--audit-log-path=${dir}`);
    expect(await watch.report()).to.deep.equal(['the secret (raw) stands in the file audit.log, during this test']);
  });

  it('learns what a sandbox of its own process has, from where its kubeconfig is', async () => {
    const dir = tempDir();
    await mkdir(join(dir, 'certs'));
    await writeFile(join(dir, 'certs', 'some.token'), 'the-token-in-a-file-0123456789\n');
    const key = 'any-key-of-a-kubeconfig-0123456789';
    await writeFile(
      join(dir, 'kubeconfig'),
      `users:\n- user:\n    token: the-token-of-a-user-0123456789\n- user:\n    client-key-data: ${btoa(key)}\n`,
    );
    const said = `the-token-in-a-file-0123456789\nuse ${dir}/kubeconfig\nthe-token-of-a-user-0123456789 ${key}`;
    await run(`console.log(${JSON.stringify(said)})`, 'sandbox');
    expect((await watch.report()).map((line) => line.split(' stands in ')[0])).to.have.members([
      'a secret in some.token of a sandbox (raw)',
      'a secret in kubeconfig of a sandbox (raw)',
    ]);
    await run(`console.log('${btoa(key)}')`);
    expect((await watch.report()).at(-1)).to.match(
      /^a secret in kubeconfig of a sandbox \(base64\) stands in stdout of node/,
    );
  });

  it('learns it from the folder that the sandbox is given, too', async () => {
    const dir = tempDir();
    await writeFile(join(dir, 'some.key'), 'the-key-in-a-file-0123456789');
    await run(`console.log('the-key-in-a-file-0123456789')`, 'sandbox', '--dir', dir);
    expect(await watch.report()).to.have.lengthOf(1);
  });

  it('sees the log of a kexer in this process', async () => {
    const log = watchedLog(watch);
    log.on('error', () => {}); // standard error is not what is looked at
    log.write(`{"msg":"x"}\n`);
    expect(await watch.report()).to.deep.equal([]);
    expect(watch.search.scannedBytes).to.equal(12);
  });

  it('knows what a sandbox makes, and reads its logs before they go', async () => {
    const before = watch.search.needleCount;
    const sandbox = await startSandbox({ hasKubelets: false });
    const token = sandbox.serviceAccountToken('kexec-system', 'kexer');
    const { key } = await sandbox.clientCertificate({ name: 'somebody' });
    sandbox.store.create(
      { group: '', resource: 'secrets' },
      {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: 'far', namespace: 'default' },
        data: { token: btoa('the-token-of-a-far-cluster'), endpointUrl: btoa('https://far.example.com:6443') },
      },
    );
    await appendFile(
      sandbox.files.auditLog,
      [token, sandbox.tokens.alice, 'the-token-of-a-far-cluster', 'https://far.example.com:6443', key].join('\n'),
    );
    await writeFile(join(sandbox.dir, 'no-log.txt'), secret);
    await sandbox.stop();
    expect(watch.search.needleCount).to.be.above(before + 50);
    expect((await watch.report()).toSorted()).to.deep.equal(
      [
        'a token of the service account kexec-system/kexer',
        "the sandbox's aliceToken",
        '"token" of the Secret default/far',
        'the private key of the client certificate of somebody',
      ]
        .map((kind) => `${kind} (raw) stands in the file audit.log, during this test`)
        .toSorted(),
    );
  });

  it('leaves out what is printed because somebody asked for it, and no more than that', async () => {
    await run(`console.log('${secret}'); console.error('${secret}')`, 'kubeconfig');
    expect((await watch.report()).map((line) => line.split(' of ')[0])).to.deep.equal([
      'the secret (raw) stands in stderr',
    ]);
    expect(exceptions.every(({ why }) => why.length > 20)).to.equal(true);
  });
});
