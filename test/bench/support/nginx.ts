// nginx as a TLS-to-TLS stream proxy: the peer that a user would pick instead. One process, so that its CPU is one number. It is taken
// from the PATH (packages nginx and libnginx-mod-stream), or Debian's packages are unpacked, without installing, into the bench's cache.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface NginxBinary {
  readonly binary: string;
  readonly streamModule: string;
  readonly version: string;
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

/** @throws with what to install, if there is none and Debian's cannot be fetched. */
export async function findNginx(cacheDir: string): Promise<NginxBinary> {
  const own = join(cacheDir, 'nginx');
  if (!(await exists('/usr/sbin/nginx')) && !(await exists(join(own, 'usr/sbin/nginx')))) await fetchNginx(own);
  for (const root of ['/', own]) {
    const binary = join(root, 'usr/sbin/nginx');
    const streamModule = join(root, 'usr/lib/nginx/modules/ngx_stream_module.so');
    if (!(await exists(binary)) || !(await exists(streamModule))) continue;
    const { stderr } = await run(binary, ['-v']);
    return { binary, streamModule, version: stderr.trim().replace('nginx version: ', '') };
  }
  throw new Error('Cannot find nginx with its stream module: want `apt-get install nginx libnginx-mod-stream`');
}

async function fetchNginx(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true });
  try {
    await run('apt-get', ['download', 'nginx', 'nginx-common', 'libnginx-mod-stream'], { cwd: dir });
    await run('sh', ['-c', 'for package in *.deb; do dpkg-deb -x "$package" .; done'], { cwd: dir });
  } catch (error) {
    throw new Error('Cannot fetch nginx: want `apt-get install nginx libnginx-mod-stream`, or apt-get update first', {
      cause: error,
    });
  }
}

export class Nginx {
  readonly #process: ChildProcess;
  /** One for each backend. */
  readonly ports: readonly number[];

  private constructor(process: ChildProcess, ports: readonly number[]) {
    this.#process = process;
    this.ports = ports;
  }

  static async start(
    nginx: NginxBinary,
    options: { dir: string; certFile: string; keyFile: string; to: readonly number[] },
  ): Promise<Nginx> {
    const ports = await Promise.all(options.to.map(freePort));
    const configFile = join(options.dir, 'nginx.conf');
    const config = `
load_module ${nginx.streamModule};
daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid ${options.dir}/nginx.pid;
error_log ${options.dir}/nginx.log;
events { worker_connections 19000; }
stream {
${options.to.map((to, index) => serverBlock(options, { port: ports[index] ?? 0, to })).join('')}}
`;
    await writeFile(configFile, config);
    // -e: Debian's default log cannot be written by everybody.
    const child = spawn(nginx.binary, ['-p', options.dir, '-e', `${options.dir}/nginx.log`, '-c', configFile], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    const ended = once(child, 'exit').then(([code]) => {
      throw new Error(`nginx ended with ${code}; see ${options.dir}/nginx.log`);
    });
    ended.catch(() => {});
    await Promise.race([Promise.all(ports.map(answers)), ended]);
    return new Nginx(child, ports);
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGTERM');
    await ended;
  }
}

function serverBlock(files: { certFile: string; keyFile: string }, { port, to }: { port: number; to: number }): string {
  return `  server {
    listen 127.0.0.1:${port} ssl backlog=8192;
    ssl_certificate ${files.certFile};
    ssl_certificate_key ${files.keyFile};
    proxy_pass 127.0.0.1:${to};
    proxy_ssl on;
    proxy_timeout 1h;
    tcp_nodelay on;
  }
`;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** nginx says nowhere that it listens. */
async function answers(port: number): Promise<void> {
  for (;;) {
    const socket = connect({ host: '127.0.0.1', port });
    const isOpen = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'error').then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (isOpen) return;
    await new Promise((resolve) => {
      setTimeout(resolve, 20);
    });
  }
}
