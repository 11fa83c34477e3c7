// kexer's own resources and commands on a real cluster: `get clusters`, `get sessions` and their watches, `delete session`, `kexer doctor`, `kexer kubeconfig`;
// and rights that are taken away while a session has them.

import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { until } from '../kexer.ts';
import { contextOf, type Stage } from '../stage.ts';
import { type Check, matches, same } from './check.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../..', import.meta.url));

/** A command of kexer itself. */
async function kexer(
  stage: Stage,
  ...args: readonly string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = { PATH: process.env['PATH'] ?? '', KUBECONFIG: stage.kubeconfig, HOME: stage.dir, NODE_NO_WARNINGS: '1' };
  try {
    const { stdout, stderr } = await run(process.execPath, ['src/main.ts', ...args], { cwd: root, env });
    return { code: 0, stdout, stderr };
  } catch (error) {
    const { code = 1, stdout = '', stderr = '' } = error as { code?: number; stdout?: string; stderr?: string };
    return { code, stdout, stderr };
  }
}

async function clusters(stage: Stage): Promise<string> {
  for (const kubectl of stage.kubectls) {
    for (const way of ['kexer', 'aggregated'] as const) {
      const text = await kubectl.output(['get', 'clusters.backup.cv.io'], { context: contextOf(way, 'alice') });
      matches(`clusters by ${way}, kubectl ${kubectl.version}`, text, /^local .* True +v1\.\d+/m);
    }
  }
  return stage.kubectl.output(['get', 'clusters.backup.cv.io', 'local', '-o', 'jsonpath={.status.version}']);
}

async function sessions(stage: Stage): Promise<string> {
  const seen: string[] = [];
  for (const kubectl of stage.kubectls) {
    for (const way of ['kexer', 'aggregated'] as const) {
      const exec = kubectl.start(['exec', 'demo', '--', 'sh', '-c', 'echo in; sleep 300'], {
        context: contextOf(way, 'alice'),
      });
      await until('it is in', async () => exec.output().includes('in'));
      const list = await stage.kubectl.output(['get', 'sessions.backup.cv.io', '--no-headers']);
      const line = list.split('\n').find((text) => text.includes(' alice ') && text.includes('sleep 300')) ?? '';
      matches('the session', line, /exec +alice +demo +shell/);
      const [name = ''] = line.split(/ +/);
      await stage.kubectl.output(['delete', 'session.backup.cv.io', name]);
      const { code, stderr } = await exec.ended;
      same(`the exit code of an ended session by ${way}`, code, 1);
      matches(`what it says by ${way}`, stderr, /session ended by admin/);
      seen.push(/(websocket|SPDY)\S*(?: v\d)?/i.exec(line)?.[0] ?? '');
    }
  }
  return `ended: ${seen.join(', ')}`;
}

async function doctor(stage: Stage): Promise<string> {
  const { code, stdout, stderr } = await kexer(stage, 'doctor', ...stage.kexer.flags);
  await writeFile(join(stage.dir, 'doctor.txt'), stdout);
  if (code !== 0) throw new Error(`exit ${code}: ${stdout}${stderr}`);
  return stdout.trim().split('\n').at(-1) ?? '';
}

async function kubeconfig(stage: Stage): Promise<string> {
  const { code, stdout, stderr } = await kexer(stage, 'kubeconfig', '--context', contextOf('cluster', 'alice'));
  if (code !== 0) throw new Error(`exit ${code}: ${stderr}`);
  const file = join(stage.dir, 'made.kubeconfig');
  await writeFile(file, stdout, { mode: 0o600 });
  same('a pod by it', await stage.kubectl.output(['--kubeconfig', file, 'exec', 'demo', '--', 'echo', 'yes']), 'yes\n');
  return stderr.trim();
}

async function rightsRemoved(stage: Stage): Promise<string> {
  const seen: string[] = [];
  for (const way of ['kexer', 'aggregated'] as const) {
    await stage.kubectl.output(['create', 'rolebinding', 'late', '--clusterrole=edit', '--user=late']);
    const exec = stage.kubectl.start(['exec', 'demo', '--', 'sh', '-c', 'echo in; sleep 300'], {
      context: contextOf(way, 'late'),
    });
    await until('it is in', async () => exec.output().includes('in'));
    const from = Date.now();
    await stage.kubectl.output(['delete', 'rolebinding', 'late']);
    const { code, stderr } = await exec.ended;
    same(`the exit code by ${way}`, code, 1);
    matches(`what it says by ${way}`, stderr, /may no longer|no longer|forbidden/i);
    seen.push(`${way}: after ${Date.now() - from} ms, ${stderr.trim()}`);
  }
  return seen.join('; ');
}

export const resourceChecks: readonly Check[] = [
  { name: 'resources: kubectl get clusters', run: clusters },
  { name: 'resources: sessions are listed and ended by delete', needsNode: true, run: sessions },
  { name: 'resources: kexer doctor finds nothing wrong', run: doctor },
  { name: 'resources: kexer kubeconfig makes one that works', needsNode: true, run: kubeconfig },
  { name: 'rights: a session ends when its user may no longer have it', needsNode: true, run: rightsRemoved },
];
