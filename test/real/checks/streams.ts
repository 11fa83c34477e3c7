// Streams of a real kubelet with every kubectl: what passes is counted and hashed, not only its end looked at.

import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { Kubectl } from '../kubectl.ts';
import { until } from '../kexer.ts';
import { contextOf, type Stage } from '../stage.ts';
import { type Check, matches, same } from './check.ts';

const through = ['kexer', 'aggregated'] as const;
const mib = 1024 * 1024;

function kubectlOf(stage: Stage, version: string): Kubectl {
  const kubectl = stage.kubectls.find((one) => one.version === version);
  if (kubectl === undefined) throw new Error(`there is no kubectl ${version}`);
  return kubectl;
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

async function copies(stage: Stage, version: string): Promise<string> {
  const dir = join(stage.dir, 'copies');
  await mkdir(dir, { recursive: true });
  const bytes = randomBytes(16 * mib);
  const there = join(dir, 'there.bin');
  await writeFile(there, bytes);
  for (const way of through) {
    const context = contextOf(way, 'alice');
    const back = join(dir, `${way}-${version}.bin`);
    await kubectlOf(stage, version).output(['cp', there, `demo:/tmp/${way}.bin`], { context });
    await kubectlOf(stage, version).output(['cp', `demo:/tmp/${way}.bin`, back], { context });
    same(`what came back by ${way}`, sha256(await readFile(back)), sha256(bytes));
  }
  return '16 MiB there and back, twice';
}

/** A dump from inside the pod whose last line is the checksum of the rest, as backup tools make it. */
async function dump(stage: Stage): Promise<string> {
  const make = 'dd if=/dev/urandom of=/tmp/dump bs=1M count=256 2>/dev/null; sha256sum /tmp/dump';
  const context = contextOf('kexer', 'alice');
  const [wanted = ''] = (await stage.kubectl.output(['exec', 'demo', '--', 'sh', '-c', make], { context })).split(' ');
  const seen: string[] = [];
  for (const kubectl of stage.kubectls) {
    for (const way of through) {
      const from = Date.now();
      const hash = await kubectl.outputHash(['exec', 'demo', '--', 'cat', '/tmp/dump'], {
        context: contextOf(way, 'alice'),
      });
      same(`256 MiB by ${way}, kubectl ${kubectl.version}`, hash, wanted);
      seen.push(`${kubectl.version} ${way} ${Math.round((256 * 1000) / (Date.now() - from))} MiB/s`);
    }
  }
  return seen.join(', ');
}

async function uploads(stage: Stage): Promise<string> {
  const bytes = randomBytes(64 * mib);
  for (const kubectl of stage.kubectls) {
    for (const way of through) {
      const { stdout, stderr } = await kubectl.run(['exec', '-i', 'demo', '--', 'sha256sum'], {
        context: contextOf(way, 'alice'),
        stdin: bytes,
      });
      same(`64 MiB of stdin by ${way}, kubectl ${kubectl.version} ${stderr}`, stdout.split(' ')[0], sha256(bytes));
    }
  }
  return '64 MiB of stdin, hashed in the pod';
}

async function forwards(stage: Stage, version: string): Promise<string> {
  for (const way of through) {
    const running = kubectlOf(stage, version).start(['port-forward', 'demo', ':8080'], {
      context: contextOf(way, 'alice'),
    });
    try {
      await until('it forwards', async () => running.output().includes('Forwarding from 127.0.0.1'));
      const port = Number(/127\.0\.0\.1:(\d+)/.exec(running.output())?.[1]);
      for (let i = 0; i < 20; i += 1) same(`page ${i} by ${way}`, await page(port), 'from demo\n');
      const many = await Promise.all(Array.from({ length: 20 }, () => page(port)));
      same(`20 pages at once by ${way}`, new Set(many).size, 1);
    } finally {
      running.kill('SIGINT');
      await running.ended;
    }
  }
  return '20 connections one by one and 20 at once, twice';
}

function page(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path: '/index.html', agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (piece: string) => (text += piece));
      answer.once('end', () => resolve(text));
    }).once('error', reject);
  });
}

/** A terminal: kubectl wants one of its own, which `script` gives it. */
async function terminals(stage: Stage, version: string): Promise<string> {
  for (const way of through) {
    const running = kubectlOf(stage, version).start(['exec', '-it', 'demo', '--', 'sh'], {
      context: contextOf(way, 'alice'),
      hasTerminal: true,
    });
    running.write('stty size; tty; exit 5\n');
    const { code, stdout } = await running.ended;
    same(`the exit code by ${way}`, code, 5);
    matches(`the terminal by ${way}`, stdout, /\/dev\/pts\/\d/);
    matches(`its size by ${way}`, stdout, /\b33 77\b/);
  }
  return 'a shell in a terminal of 33 by 77';
}

async function attaches(stage: Stage, version: string): Promise<string> {
  for (const way of through) {
    const { stdout } = await kubectlOf(stage, version).run(['attach', 'ticker'], {
      context: contextOf(way, 'alice'),
      isEnough: (text) => text.split('\n').length > 3,
    });
    matches(`the attached output by ${way}`, stdout, /^tick \d+\ntick \d+\ntick \d+\n/m);
  }
  return 'three lines of a running container';
}

async function follows(stage: Stage): Promise<string> {
  const spec = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'short' },
    spec: {
      nodeName: 'node1',
      restartPolicy: 'Never',
      containers: [
        {
          name: 'short',
          image: 'busybox',
          command: ['sh', '-c', 'for i in $(seq 30); do echo line $i; sleep 0.1; done'],
        },
      ],
    },
  };
  await stage.kubectl.output(['create', '-f', '-'], { stdin: JSON.stringify(spec) });
  await stage.kubectl.output(['wait', 'pod/short', '--for=condition=Ready', '--timeout=30s']);
  const followers = through.flatMap((way) =>
    stage.kubectls.map((kubectl) => kubectl.run(['logs', '-f', 'short'], { context: contextOf(way, 'alice') })),
  );
  const wanted = Array.from({ length: 30 }, (_, index) => `line ${index + 1}\n`).join('');
  for (const { code, stdout } of await Promise.all(followers)) same('a followed log', [code, stdout], [0, wanted]);
  await stage.kubectl.output(['delete', 'pod', 'short', '--now']);
  return `${followers.length} followers to the container's end`;
}

/** A pod deleted under a session: told, never a success. */
async function deleted(stage: Stage): Promise<string> {
  const seen: string[] = [];
  for (const way of through) {
    const name = `victim-${way}`;
    await stage.kubectl.output(['run', name, '--image=busybox', '--restart=Never', '--', 'sleep', '3600']);
    await stage.kubectl.output(['wait', `pod/${name}`, '--for=condition=Ready', '--timeout=30s']);
    const running = stage.kubectl.start(['exec', name, '--', 'sh', '-c', 'echo in; sleep 600'], {
      context: contextOf(way, 'alice'),
    });
    await until('it is in', async () => running.output().includes('in'));
    await stage.kubectl.output(['delete', 'pod', name, '--now']);
    const { code, stderr } = await running.ended;
    if (code === 0) throw new Error(`exit code 0 by ${way}`);
    seen.push(`${way}: exit ${String(code)}, ${stderr.trim()}`);
    await sleep(100);
  }
  return seen.join('; ');
}

export function streamChecks(versions: readonly string[]): Check[] {
  const each = (what: string, run: (stage: Stage, version: string) => Promise<string>): Check[] =>
    versions.map((version) => ({
      name: `streams: ${what} with kubectl ${version}`,
      needsNode: true,
      run: (stage: Stage) => run(stage, version),
    }));
  return [
    ...each('cp keeps every byte', copies),
    ...each('port-forward serves many connections', forwards),
    ...each('a terminal has its size and its exit code', terminals),
    ...each('attach shows what a container prints', attaches),
    { name: 'streams: a followed log ends with its container', needsNode: true, run: follows },
    { name: 'streams: an upload arrives whole', needsNode: true, run: uploads },
    { name: 'streams: a dump of 256 MiB arrives whole', needsNode: true, run: dump },
    { name: 'streams: a session whose pod is deleted does not end well', needsNode: true, run: deleted },
  ];
}
