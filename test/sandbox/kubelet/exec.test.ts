// exec and attach over the wire: exit codes, ends of streams, terminals, backpressure, and what a broken client, runtime or kubelet
// leaves behind.

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { expect } from 'chai';
import { markedProcesses } from '../../../src/sandbox/kubelet/runtime/process-mark.ts';
import { dumpCommand } from '../../../src/sandbox/kubelet/commands.ts';
import { ExecClient, exitCodeIn, runExec } from './exec-client.ts';
import { Harness } from './harness.ts';

const sh = (script: string): string[] => ['sh', '-c', script];

function containerId(harness: Harness, pod: string): string {
  return harness.pod(pod)?.status?.containerStatuses?.[0]?.containerID?.replace('containerd://', '') ?? '';
}

describe('kubelet: exec', () => {
  let harness: Harness;
  before(async () => {
    harness = await Harness.start({ commands: new Map([['dump', dumpCommand]]) });
    harness.createSimplePod('shell', { command: ['sleep', '1000'], env: [{ name: 'GREETING', value: 'hello' }] });
    await harness.waitUntilReady('shell');
  });
  after(() => harness.close());

  for (const [script, code] of [
    ['exit 0', 0],
    ['exit 1', 1],
    ['exit 255', 255],
    ['kill -9 $$', 137],
    ['kill -TERM $$', 143],
  ] as const) {
    it(`tells exit code ${code} of ${script}`, async () => {
      expect(exitCodeIn(await runExec(harness, { pod: 'shell', command: sh(script) }))).to.equal(code);
    });
  }

  it('separates stdout from stderr, also through /dev/stdout and /dev/stderr', async () => {
    const { stdout, stderr } = await runExec(harness, {
      pod: 'shell',
      command: sh('echo out > /dev/stdout; echo err > /dev/stderr; echo more >&2'),
    });
    expect({ stdout, stderr }).to.deep.equal({ stdout: 'out\n', stderr: 'err\nmore\n' });
  });

  it('gives the environment of the pod', async () => {
    const { stdout } = await runExec(harness, { pod: 'shell', command: sh('echo $GREETING $HOSTNAME') });
    expect(stdout).to.equal('hello shell\n');
  });

  it('ends stdin when the client half-closes, and sends what is printed after it', async () => {
    const result = await runExec(harness, {
      pod: 'shell',
      command: sh('wc -c; echo after'),
      input: 'x'.repeat(300_000),
    });
    expect(result.stdout.trim().split(/\s+/)).to.deep.equal(['300000', 'after']);
  });

  it('answers a client that never ends stdin when the command does not read it', async () => {
    const client = await ExecClient.start(harness, { pod: 'shell', command: ['true'], stdin: true });
    expect(exitCodeIn(await client.done)).to.equal(0);
  });

  it("runs a command that does not exist into the runtime's error, by path too", async () => {
    const texts: string[] = [];
    for (const command of ['nosuch', '/no/such', '/etc/passwd', '/tmp']) {
      const { status } = await runExec(harness, { pod: 'shell', command: [command] });
      texts.push(String((JSON.parse(status) as { message: string }).message.split('container process: ')[1]));
    }
    expect(texts).to.deep.equal([
      'exec: "nosuch": executable file not found in $PATH',
      'exec: "/no/such": stat /no/such: no such file or directory',
      'exec: "/etc/passwd": permission denied',
      'exec: "/tmp": is a directory',
    ]);
  });

  it('does not wait for ever for a background child that keeps stdout', async () => {
    const result = await runExec(harness, { pod: 'shell', command: sh('sleep 1000 & echo done') });
    expect({ stdout: result.stdout, code: exitCodeIn(result) }).to.deep.equal({ stdout: 'done\n', code: 0 });
  }).timeout(30_000);

  it('sends 64 MiB whole, the last line being the checksum of all before it', async () => {
    const client = await ExecClient.start(harness, { pod: 'shell', command: ['dump'], isHashing: true });
    const result = await client.done;
    const total = 64 * 1024 * 1024;
    const sum = /-- sha256: ([0-9a-f]{64})\n$/.exec(result.stdout)?.[1] ?? '';
    const line = `-- sha256: ${sum}\n`;
    expect({ code: exitCodeIn(result), bytes: client.bytes - result.status.length }).to.deep.equal({
      code: 0,
      bytes: total + line.length,
    });
    const again = await ExecClient.start(harness, { pod: 'shell', command: ['dump'], isHashing: true });
    await again.done;
    expect(client.hash.digest('hex')).to.equal(again.hash.digest('hex'));
  }).timeout(60_000);

  it('prints a dump whose checksum is right', async () => {
    const { stdout } = await runExec(harness, { pod: 'shell', command: ['dump', '1'] });
    const body = stdout.slice(0, 1024 * 1024);
    const sum = createHash('sha256').update(body).digest('hex');
    expect(stdout.slice(1024 * 1024)).to.equal(`-- sha256: ${sum}\n`);
  });

  it('stops the process when the client does not read, and loses nothing when it reads again', async () => {
    const client = await ExecClient.start(harness, { pod: 'shell', command: ['dump'], isHashing: true });
    client.connection.pause();
    // Another session passes meanwhile, and the paused one has had all the time it needs to fill up.
    await runExec(harness, { pod: 'shell', command: ['dump', '8'] });
    const received = client.bytes;
    client.connection.resume();
    const result = await client.done;
    expect(received).to.be.below(16 * 1024 * 1024);
    expect({ code: exitCodeIn(result), bytes: client.bytes > 64 * 1024 * 1024 }).to.deep.equal({
      code: 0,
      bytes: true,
    });
  }).timeout(60_000);

  it('opens a terminal with the size the client gives, and follows its changes', async () => {
    const client = await ExecClient.start(harness, {
      pod: 'shell',
      tty: true,
      stdin: true,
      command: sh('trap "stty size; exit 7" WINCH; stty size; echo ready; while :; do sleep 0.05; done'),
    });
    client.resize?.write(Buffer.from('{"Width":100,"Height":30}\n'));
    await client.until('ready');
    client.resize?.write(Buffer.from('{"Width":120,"Hei'));
    client.resize?.write(Buffer.from('ght":40}\n'));
    const result = await client.done;
    expect({ ends: result.stdout.endsWith('40 120\r\n'), code: exitCodeIn(result) }).to.deep.equal({
      ends: true,
      code: 7,
    });
  });

  it("interrupts by the terminal's own key", async () => {
    const client = await ExecClient.start(harness, {
      pod: 'shell',
      tty: true,
      stdin: true,
      command: sh('echo ready; exec sleep 1000'),
    });
    await client.until('ready');
    client.stdin?.write(Buffer.from('\u0003'));
    expect(exitCodeIn(await client.done)).to.equal(130);
  });

  it('hangs a terminal up when its client goes', async () => {
    const script = 'trap "echo hup > /tmp/hup; exit" HUP; echo ready; while :; do sleep 0.02; done';
    const client = await ExecClient.start(harness, { pod: 'shell', tty: true, stdin: true, command: sh(script) });
    await client.until('ready');
    client.connection.destroy();
    const waiter = await runExec(harness, {
      pod: 'shell',
      command: sh('while [ ! -e /tmp/hup ]; do sleep 0.02; done; cat /tmp/hup'),
    });
    expect(waiter.stdout).to.equal('hup\n');
  });

  it('ends without a status when the runtime dies, after what was printed before', async () => {
    const client = await ExecClient.start(harness, { pod: 'shell', command: sh('echo begun; exec sleep 1000') });
    await client.until('begun');
    harness.kubelet.cutRuntime();
    expect(await client.done).to.deep.equal({ stdout: 'begun\n', stderr: '', status: '', end: 'fin' });
  });

  it('resets every connection when it is killed, and serves again when it is revived', async () => {
    const client = await ExecClient.start(harness, { pod: 'shell', command: sh('echo begun; exec sleep 1000') });
    await client.until('begun');
    await harness.kubelet.kill('rst');
    const { end, status } = await client.done;
    expect({ end, status }).to.deep.equal({ end: 'error', status: '' });
    await harness.kubelet.revive();
    expect(exitCodeIn(await runExec(harness, { pod: 'shell', command: ['true'] }))).to.equal(0);
  });

  it('holds every connection while it is stalled', async () => {
    const client = await ExecClient.start(harness, { pod: 'shell', command: sh('cat; echo end'), stdin: true });
    client.stdin?.write(Buffer.from('one\n'));
    await client.until('one');
    harness.kubelet.stall(true);
    client.stdin?.write(Buffer.from('two\n'));
    client.stdin?.end();
    let isDone = false;
    void client.done.then(() => (isDone = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(isDone).to.equal(false);
    harness.kubelet.stall(false);
    expect((await client.done).stdout).to.equal('one\ntwo\nend\n');
  });

  it('speaks the text statuses of the older protocols', async () => {
    const results: string[] = [];
    for (const version of ['v3.channel.k8s.io', 'v2.channel.k8s.io', 'channel.k8s.io']) {
      const { status } = await runExec(harness, { pod: 'shell', command: sh('exit 3'), version });
      results.push(status);
    }
    const text = 'command terminated with non-zero exit code: error executing command [sh -c exit 3], exit code 3';
    expect(results).to.deep.equal([text, text, '']);
  });

  it('leaves no process when the pod is deleted, not even one that left its session', async () => {
    harness.createSimplePod('forker', {
      command: sh('setsid sleep 1000 & (trap "" TERM HUP; sleep 1000 & touch /tmp/set; wait) & exec sleep 1000'),
    });
    await harness.waitUntilReady('forker');
    const id = containerId(harness, 'forker');
    const client = await ExecClient.start(harness, {
      pod: 'forker',
      command: sh('while [ ! -e /tmp/set ]; do sleep 0.01; done; setsid sleep 1000 & echo started; exec sleep 1000'),
    });
    await client.until('started');
    // The shells have gone on, but a child that is just becoming its program shows no mark; the test's time limit ends the waiting.
    while ((await markedProcesses(id)).length < 5) await Promise.resolve();
    harness.deletePod('forker', 0.2);
    const result = await client.done;
    await harness.waitForPod('forker', (pod) => pod === undefined);
    expect({ left: await markedProcesses(id), code: exitCodeIn(result) }).to.deep.equal({ left: [], code: 137 });
  });
});

describe('kubelet: attach', () => {
  let harness: Harness;
  before(async () => {
    harness = await Harness.start();
  });
  after(() => harness.close());

  it('joins the streams of a running container and ends with it as success', async () => {
    harness.createSimplePod(
      'reader',
      { stdin: true, stdinOnce: true, command: sh('cat; echo bye >&2; exit 4') },
      { restartPolicy: 'Never' },
    );
    await harness.waitUntilReady('reader');
    const client = await ExecClient.start(harness, { kind: 'attach', pod: 'reader', stdin: true });
    client.stdin?.write(Buffer.from('hello\n'));
    await client.until('hello');
    client.stdin?.end();
    const { stdout, stderr, status } = await client.done;
    expect({ stdout, stderr, status: JSON.parse(status) as unknown }).to.deep.equal({
      stdout: 'hello\n',
      stderr: 'bye\n',
      status: { metadata: {}, status: 'Success' },
    });
    const pod = await harness.waitForPod('reader', (it) => it?.status?.phase === 'Failed');
    expect(pod?.status?.containerStatuses?.[0]?.state.terminated?.exitCode).to.equal(4);
  });

  it('keeps stdin open for the next client unless it is for one only', async () => {
    harness.createSimplePod('shared', { stdin: true, command: ['cat'] });
    await harness.waitUntilReady('shared');
    for (const text of ['one\n', 'two\n']) {
      const client = await ExecClient.start(harness, { kind: 'attach', pod: 'shared', stdin: true });
      client.stdin?.write(Buffer.from(text));
      await client.until(text);
      client.connection.destroy();
    }
  });

  it('gives a container its own terminal', async () => {
    harness.createSimplePod(
      'term',
      { stdin: true, tty: true, command: sh('read line; echo "got $line"; tty > /dev/null && exit 0; exit 1') },
      { restartPolicy: 'Never' },
    );
    await harness.waitUntilReady('term');
    const client = await ExecClient.start(harness, { kind: 'attach', pod: 'term', tty: true, stdin: true });
    client.stdin?.write(Buffer.from('word\n'));
    expect((await client.done).stdout).to.contain('got word\r\n');
    const pod = await harness.waitForPod('term', (it) => it?.status?.phase !== 'Running');
    expect(pod?.status?.phase).to.equal('Succeeded');
  });
});

describe('kubelet: stop', () => {
  it('leaves no process and no folder', async () => {
    const harness = await Harness.start();
    harness.createSimplePod('a', { command: ['sleep', '1000'] });
    await harness.waitUntilReady('a');
    const id = containerId(harness, 'a');
    await harness.kubelet.stop();
    expect({ left: await markedProcesses(id), folder: existsSync(`${harness.dir}/node1`) }).to.deep.equal({
      left: [],
      folder: false,
    });
    await harness.close();
  });
});
