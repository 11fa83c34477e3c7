// What kubectl does in another cluster whichever way leads there: commands, logs, forwarded ports and copies. Each way's tests run it with a name
// that leads by theirs.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';

import { expect } from 'chai';

import { collect } from './stage.ts';
import type { TwoClusters } from './two-clusters.ts';

const mebibyte = 1024 * 1024;

export interface FarCommandOptions {
  /** Of what `cp` carries, each way. */
  readonly mebibytes: number;
  /** After each command that was run. */
  readonly afterExec?: () => void;
  /** Breaks a stream that runs, and gives what mends it. */
  readonly breakStreams: () => Promise<() => Promise<void>>;
}

/** @param clusters once they run. @param name of the Secret that leads there. */
export function itWorksThere(clusters: () => TwoClusters, name: string, options: FarCommandOptions): void {
  const { mebibytes, afterExec = () => {}, breakStreams } = options;
  const spawn = (args: readonly string[], isWebSocket = true): ReturnType<TwoClusters['near']['spawnKubectl']> =>
    clusters().near.spawnKubectl([...clusters().args(name), ...args], { context: 'kexer-alice', isWebSocket });

  for (const isWebSocket of [true, false]) {
    it(`runs commands, ${isWebSocket ? 'WebSocket' : 'SPDY'}`, async () => {
      const script = 'cat; echo out; echo err >&2; exit 3';
      const run = await clusters().kubectl(name, ['exec', '-i', 'demo', '--', 'sh', '-c', script], {
        stdin: Buffer.from('in\n'),
        isWebSocket,
      });
      const stderr = 'err\ncommand terminated with exit code 3\n';
      expect([run.code, run.stdout.toString(), run.stderr]).to.deep.equal([3, 'in\nout\n', stderr]);
      afterExec();
    });
  }

  it('reads logs, whole and followed', async () => {
    const whole = await clusters().kubectl(name, ['logs', 'multi', '-c', 'one']);
    expect([whole.code, whole.stdout.toString()]).to.deep.equal([0, 'one runs\n']);
    const child = spawn(['logs', '-f', 'ticker', '--tail=1']);
    const first = await firstOutput(child);
    child.kill();
    await collect(child);
    expect(first).to.match(/^tick \d+\n/);
  });

  it('forwards ports', async () => {
    const server = createServer((socket) => socket.end('from the pod\n'));
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const child = spawn(['port-forward', 'demo', `:${(server.address() as AddressInfo).port}`]);
    try {
      const local = Number(/127\.0\.0\.1:(\d+)/.exec(await firstOutput(child))?.[1]);
      expect(await fetchText(local)).to.equal('from the pod\n');
    } finally {
      child.kill();
      await collect(child);
      await new Promise((resolve) => {
        server.close(resolve);
      });
    }
  });

  it(`copies ${mebibytes} MiB there and back, unchanged`, async () => {
    const { near } = clusters();
    const [file, back] = [near.path(`${name}-big`), near.path(`${name}-back`)];
    const sum = await writeBlocks(file, mebibytes);
    const up = await clusters().kubectl(name, ['cp', file, 'demo:/tmp/big']);
    expect([up.code, up.stderr]).to.deep.equal([0, '']);
    const down = await clusters().kubectl(name, ['cp', 'demo:/tmp/big', back], { isWebSocket: false });
    expect([down.code, await sha256(back)]).to.deep.equal([0, sum]);
    await clusters().kubectl(name, ['exec', 'demo', '--', 'rm', '/tmp/big']);
    await writeFile(file, '');
    await writeFile(back, '');
  });

  it('never makes a success of a stream that breaks', async () => {
    const lines = 'i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo "line $i"; sleep 0.01; done; echo whole';
    for (const isWebSocket of [true, false]) {
      const child = spawn(['exec', 'demo', '--', 'sh', '-c', lines], isWebSocket);
      const result = collect(child);
      await firstOutput(child);
      const mend = await breakStreams();
      const { code, stdout, stderr } = await result;
      await mend();
      expect([code, /^(line \d+\n)+$/.test(stdout.toString())]).to.deep.equal([1, true]);
      expect(stderr).to.not.equal('');
    }
  });
}

/** @throws Error if there is none */
export function firstOutput(child: ReturnType<TwoClusters['near']['spawnKubectl']>): Promise<string> {
  return new Promise((resolve, reject) => {
    child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString()));
    child.once('close', (code) => reject(new Error(`kubectl ended with ${code} and without output`)));
  });
}

async function writeBlocks(file: string, count: number): Promise<string> {
  const handle = await open(file, 'w');
  const hash = createHash('sha256');
  // A counter in front of each block: a block lost or doubled changes the sum.
  const block = Buffer.alloc(mebibyte, 'kexer');
  for (let index = 0; index < count; index += 1) {
    block.writeUInt32BE(index);
    hash.update(block);
    await handle.write(block);
  }
  await handle.close();
  return hash.digest('hex');
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

async function fetchText(port: number): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port });
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text;
}
