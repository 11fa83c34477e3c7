// One container image, busybox, put together from the static program: imported into containerd, once as `busybox` and once as the pause image
// that every pod's sandbox runs, and served by a registry of one image, because a pod that says `busybox` alone has it pulled every time.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { chmod, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';

import type { Scope } from '../../src/base/scope.ts';

const run = promisify(execFile);

export const busyboxImage = 'docker.io/library/busybox:latest';
export const pauseImage = 'registry.k8s.io/pause:real';

/** Waits for its end without a CPU; busybox `sleep` as PID 1 would ignore SIGTERM. */
const pauseCommand = ['/bin/sh', '-c', 'trap "exit 0" TERM INT; while :; do sleep 3600 & wait $!; done'];

/** Writes a `docker save` archive with both images. @param busybox a static busybox @returns the archive's file */
export async function makeImageArchive(dir: string, busybox: string): Promise<string> {
  const root = join(dir, 'root');
  for (const folder of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev', 'root', 'var']) {
    await mkdir(join(root, folder), { recursive: true });
  }
  await copyFile(busybox, join(root, 'bin/busybox'));
  await chmod(join(root, 'bin/busybox'), 0o755);
  await chmod(join(root, 'tmp'), 0o1777);
  const { stdout } = await run(busybox, ['--list']);
  const names = stdout.split('\n').filter((name) => name !== '' && name !== 'busybox');
  await Promise.all(names.map((name) => run('ln', ['-sf', 'busybox', join(root, 'bin', name)])));
  await writeFile(
    join(root, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  );
  await writeFile(join(root, 'etc/group'), 'root:x:0:\n');

  const layer = join(dir, 'layer.tar');
  await run('tar', ['--owner=0', '--group=0', '-C', root, '-cf', layer, '.']);
  const diffId = `sha256:${createHash('sha256').update(readFileSync(layer)).digest('hex')}`;
  const images = [
    { tag: busyboxImage, file: 'busybox.json', command: ['/bin/sh'] },
    { tag: pauseImage, file: 'pause.json', command: pauseCommand },
  ];
  for (const { file, command } of images) {
    const config = {
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: { Cmd: command, Env: ['PATH=/bin'] },
      rootfs: { type: 'layers', diff_ids: [diffId] },
    };
    await writeFile(join(dir, file), JSON.stringify(config));
  }
  const manifest = images.map(({ tag, file }) => ({ Config: file, RepoTags: [tag], Layers: ['layer.tar'] }));
  await writeFile(join(dir, 'manifest.json'), JSON.stringify(manifest));
  const archive = join(dir, 'images.tar');
  await run('tar', ['-C', dir, '-cf', archive, 'manifest.json', 'layer.tar', ...images.map(({ file }) => file)]);
  return archive;
}

/** Serves what `makeImageArchive` wrote into `dir` as library/busybox, by the distribution API. @returns its URL */
export async function serveImage(scope: Scope, dir: string): Promise<string> {
  const digestOf = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const blobs = new Map<string, { type: string; bytes: Buffer }>();
  const add = (type: string, bytes: Buffer): { mediaType: string; size: number; digest: string } => {
    const digest = digestOf(bytes);
    blobs.set(digest, { type, bytes });
    return { mediaType: type, size: bytes.length, digest };
  };
  const oci = 'application/vnd.oci.image';
  const config = add(`${oci}.config.v1+json`, readFileSync(join(dir, 'busybox.json')));
  const layers = [add(`${oci}.layer.v1.tar`, readFileSync(join(dir, 'layer.tar')))];
  const manifest = add(
    `${oci}.manifest.v1+json`,
    Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: `${oci}.manifest.v1+json`, config, layers })),
  );
  const server = createServer((request, response) => {
    const [, kind, reference = ''] = /\/(manifests|blobs)\/([^/?]+)/.exec(request.url ?? '') ?? [];
    const digest = kind === 'manifests' && !reference.startsWith('sha256:') ? manifest.digest : reference;
    const blob = blobs.get(digest);
    if (kind !== undefined && blob === undefined) {
      response.writeHead(404).end();
      return;
    }
    response.setHeader('Content-Type', blob?.type ?? 'application/json');
    response.setHeader('Content-Length', blob?.bytes.length ?? 2);
    if (blob !== undefined) response.setHeader('Docker-Content-Digest', digest);
    response.end(request.method === 'HEAD' ? undefined : (blob?.bytes ?? '{}'));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.add(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return `http://127.0.0.1:${address.port}`;
}
